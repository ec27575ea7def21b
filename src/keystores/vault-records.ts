/**
 * Records on KV version 2: Vault's `cas` is the compare, its version the revision. Values are base64, or what the tenant's Transit key
 * made of them.
 *
 * KV has no conditional delete. So a record ends in two steps: a last version that says "ended" is written under `cas`, and who
 * succeeds with that removes the entry with all its versions. One that was left between the two reads as absent, and is removed by the
 * next write once its maker can no longer be at work.
 */
import { wipe } from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import {
  isVaultProblem,
  numberAt,
  pathOf,
  secretJson,
  secretStringAt,
  VaultError,
  type VaultConnection,
  type VaultPath,
} from '../vault/index.ts';
import { maxRecordBytes, type RecordPage, type RecordStore, type StoredRecord } from './contract.ts';
import { checkListOptions, checkRecordPath } from './limits.ts';
import { pageOf } from './name-index.ts';
import { isCasConflict } from './vault-layout.ts';
import { markedBytes, type ValueForm } from './vault-value.ts';

export interface VaultRecordsOptions {
  readonly engine: string;
  /** Folder that KES never lists. */
  readonly prefix: string;
  readonly form: ValueForm;
  /** Values are encrypted by Transit. */
  readonly wrapped: boolean;
  /** A policy that does not allow records is not an error: there are none then. Told once. */
  readonly onForbidden?: (() => void) | undefined;
}

/** Longer than any call lives: who wrote an "ended" this long ago has removed the entry, or never will. */
const abandonedAfterMs = 120_000;

type Found =
  | { readonly kind: 'record'; readonly stored: Buffer; readonly revision: number }
  | { readonly kind: 'ended'; readonly isAbandoned: boolean }
  | undefined;

export class VaultRecordStore implements RecordStore {
  readonly #vault: VaultConnection;
  readonly #options: VaultRecordsOptions;
  #isTold = false;

  constructor(vault: VaultConnection, options: VaultRecordsOptions) {
    this.#vault = vault;
    this.#options = options;
  }

  async read(path: string): Promise<StoredRecord | undefined> {
    const found = await this.#find(path).catch((error: unknown) => this.#none(error, undefined));
    if (found?.kind !== 'record') return undefined;
    return { value: await this.#options.form.fromStored(found.stored), revision: found.revision };
  }

  async write(path: string, value: Buffer, expected: number): Promise<number> {
    if (value.length > maxRecordBytes) {
      throw new RangeError(
        `record: expected at most ${String(maxRecordBytes)} bytes, got ${String(value.length)}`,
      );
    }
    const stored = this.#options.wrapped ? await this.#options.form.toStored(value) : markedBytes(value);
    try {
      return await this.#put(path, stored, expected);
    } catch (error) {
      if (!(error instanceof SelloError) || error.code !== 'SELLO_RECORD_CONFLICT' || expected !== 0)
        throw error;
      const found = await this.#find(path);
      if (found?.kind === 'record') wipe(found.stored);
      if (found?.kind !== 'ended' || !found.isAbandoned) throw error;
      await this.#vault.delete({ path: this.#path('metadata', path) });
      return await this.#put(path, stored, 0);
    } finally {
      wipe(stored);
    }
  }

  async delete(path: string, expected: number): Promise<void> {
    if (expected > 0) {
      try {
        await this.#vault.write({
          path: this.#path('data', path),
          body: { options: { cas: expected }, data: { ended: 'true' } },
        });
        await this.#vault.delete({ path: this.#path('metadata', path) });
        return;
      } catch (error) {
        if (!(error instanceof VaultError) || !isCasConflict(error)) throw error;
      }
    }
    const found = await this.#find(path);
    if (found?.kind === 'record') {
      wipe(found.stored);
      throw new SelloError('SELLO_RECORD_CONFLICT');
    }
  }

  async list(folder: string, { after = '', limit }: { after?: string; limit: number }): Promise<RecordPage> {
    checkListOptions({ limit, prefix: '' });
    let answer;
    try {
      answer = await this.#vault.list({ path: this.#path('metadata', folder, 1) });
    } catch (error) {
      const none = { names: [], more: false };
      if (isVaultProblem(error, 'absent')) return none;
      return this.#none(error, none);
    }
    const { data } = answer.json('list records') as { data?: { keys?: unknown } };
    const keys = Array.isArray(data?.keys) ? (data.keys as unknown[]) : [];
    // Folders end with a slash: they are not names of records.
    const names = keys.filter((key): key is string => typeof key === 'string' && !key.endsWith('/'));
    return pageOf(names.sort(), '', after, limit);
  }

  async #put(path: string, stored: Buffer, expected: number): Promise<number> {
    const body = secretJson(
      `{"options":{"cas":${String(expected)}},"data":{"record":`,
      { secret: stored },
      '}}',
    );
    try {
      const answer = await this.#vault.write({ path: this.#path('data', path), body });
      const revision = numberAt(answer.bytes, ['data', 'version']);
      if (revision === undefined) {
        throw new SelloError('SELLO_STORE_FAILED', {
          detail: `vault: no version for '${path}': is the engine KV version 2?`,
        });
      }
      return revision;
    } catch (error) {
      if (!(error instanceof VaultError)) throw error;
      if (isCasConflict(error)) throw new SelloError('SELLO_RECORD_CONFLICT', { cause: error });
      if (!error.mayBeDone) throw error;
      // No answer came: what is there now tells whether it was done.
      const found = await this.#find(path).catch(() => undefined);
      if (found?.kind !== 'record') throw error;
      const isOurs = found.revision === expected + 1 && found.stored.equals(stored);
      wipe(found.stored);
      if (isOurs) return found.revision;
      throw found.revision > expected ? new SelloError('SELLO_RECORD_CONFLICT', { cause: error }) : error;
    } finally {
      wipe(body);
    }
  }

  async #find(path: string): Promise<Found> {
    let answer;
    try {
      answer = await this.#vault.read({ path: this.#path('data', path) });
    } catch (error) {
      if (isVaultProblem(error, 'absent')) return undefined;
      if (isVaultProblem(error, 'deleted')) {
        throw new SelloError('SELLO_STORED_KEY_UNREADABLE', {
          detail: `record '${path}' is deleted in Vault`,
          cause: error,
        });
      }
      throw error;
    }
    const stored = secretStringAt(answer.bytes, ['data', 'data', 'record']);
    const revision = numberAt(answer.bytes, ['data', 'metadata', 'version']);
    if (stored !== undefined && revision !== undefined) {
      answer.wipe();
      return { kind: 'record', stored, revision };
    }
    if (secretStringAt(answer.bytes, ['data', 'data', 'ended']) !== undefined) {
      const made = Date.parse(
        secretStringAt(answer.bytes, ['data', 'metadata', 'created_time'])?.toString() ?? '',
      );
      // By Vault's clock, which made the time stamp.
      const { date } = answer.headers;
      const nowMs = typeof date === 'string' ? Date.parse(date) : Date.now();
      return { kind: 'ended', isAbandoned: nowMs - made > abandonedAfterMs };
    }
    throw new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail: `record '${path}' is not in our form` });
  }

  /** What a policy of KES's own does not allow is not there, where nobody asked for records. */
  #none<T>(error: unknown, none: T): T {
    const { onForbidden } = this.#options;
    if (onForbidden === undefined || !isVaultProblem(error, 'forbidden')) throw error;
    if (!this.#isTold) onForbidden();
    this.#isTold = true;
    return none;
  }

  #path(part: 'data' | 'metadata', path: string, least?: number): VaultPath {
    return pathOf(this.#options.engine, part, this.#options.prefix, checkRecordPath(path, least));
  }
}
