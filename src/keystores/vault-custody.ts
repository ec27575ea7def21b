/**
 * Master keys that stay in Vault's Transit engine: one non-exportable, derived key per master key. Vault gives out keys to seal with,
 * wrapped and in clear, and unwraps them again; the master key itself never leaves.
 *
 * `derived` binds each call's context into the key that Vault uses (HKDF-SHA256), so that a wrapped key opens for its context alone and
 * the 2^32 messages of one AES-GCM key (SP 800-38D §8.3) are counted per context.
 */
import { decodeBase64, encodeBase64, secretCopy, wipe } from '../crypto/index.ts';
import { hasCode, SelloError } from '../errors.ts';
import {
  isVaultProblem,
  pathOf,
  elementAt,
  elementsAt,
  secretJson,
  secretStringAt,
  VaultError,
  type JsonPart,
  type VaultAnswer,
  type VaultConnection,
  type VaultPath,
} from '../vault/index.ts';
import type { KeyCustody, KeyToWrap, Unwrapped, WrappedItem } from './contract.ts';

export interface VaultCustodyOptions {
  /** Mount of the Transit engine. */
  readonly engine: string;
  /** Names of keys begin with it; the id of the master key follows. */
  readonly keyPrefix: string;
}

const keyType = 'aes256-gcm96';
/** Vault takes bodies of 32 MiB; a wrapped key and its context are some 200 bytes. */
const batchSize = 1000;

export class VaultCustody implements KeyCustody {
  readonly #vault: VaultConnection;
  readonly #options: VaultCustodyOptions;

  constructor(vault: VaultConnection, options: VaultCustodyOptions) {
    this.#vault = vault;
    this.#options = options;
  }

  async create(id: string): Promise<void> {
    const body = { type: keyType, derived: true, exportable: false, allow_plaintext_backup: false };
    // A name that exists is no error to Vault, which then ignores all of this: hence the look afterwards.
    await this.#vault.write({ path: this.#path('keys', id), body, isRepeatable: true });
    await this.latestVersion(id);
  }

  async latestVersion(id: string): Promise<number> {
    const data = await this.#read(id);
    if (data['type'] !== keyType || data['derived'] !== true)
      throw adopted(id, `it is ${String(data['type'])}, ${data['derived'] === true ? '' : 'not '}derived`);
    if (data['exportable'] !== false || data['allow_plaintext_backup'] !== false)
      throw adopted(id, 'it can be exported');
    const latest = data['latest_version'];
    if (typeof latest !== 'number') throw malformed('keys');
    return latest;
  }

  async rotate(id: string): Promise<number> {
    await this.#vault.write({ path: this.#path('keys', id, 'rotate'), body: {} });
    return this.latestVersion(id);
  }

  async wrap(id: string, items: readonly KeyToWrap[], version: number): Promise<Buffer[]> {
    const wrapped: Buffer[] = [];
    for (let at = 0; at < items.length; at += batchSize)
      wrapped.push(...(await this.#wrapBatch(id, items.slice(at, at + batchSize), version)));
    return wrapped;
  }

  async #wrapBatch(id: string, items: readonly KeyToWrap[], version: number): Promise<Buffer[]> {
    const parts: JsonPart[] = [];
    const encoded: Buffer[] = [];
    const only = items.length === 1;
    if (!only) parts.push('{"batch_input":[');
    for (const [i, { key, context }] of items.entries()) {
      const plaintext = encodeBase64(key);
      encoded.push(plaintext);
      parts.push(
        `${i === 0 ? '' : ','}{"plaintext":`,
        { secret: plaintext },
        `,"context":"${context.toString('base64')}","key_version":${String(version)}}`,
      );
    }
    if (!only) parts.push(']}');
    const body = secretJson(...parts);
    wipe(...encoded);
    const answer = await this.#call(id, 'encrypt', body);
    const results = only
      ? [elementAt(answer.bytes, ['data'])]
      : elementsAt(answer.bytes, ['data', 'batch_results']);
    if (results?.length !== items.length) throw malformed('encrypt');
    return results.map((result) => {
      const wrapped = result === undefined ? undefined : secretStringAt(result, ['ciphertext']);
      if (wrapped === undefined) throw malformed('encrypt');
      return wrapped;
    });
  }

  async unwrap(id: string, items: readonly WrappedItem[]): Promise<Unwrapped[]> {
    const keys: Unwrapped[] = [];
    try {
      for (let at = 0; at < items.length; at += batchSize)
        keys.push(...(await this.#unwrapBatch(id, items.slice(at, at + batchSize))));
      return keys;
    } catch (error) {
      for (const key of keys) if (Buffer.isBuffer(key)) wipe(key);
      throw error;
    }
  }

  async #unwrapBatch(id: string, items: readonly WrappedItem[]): Promise<Unwrapped[]> {
    const batch = items.map(({ wrapped, context }) => ({
      ciphertext: wrapped.toString('latin1'),
      context: context.toString('base64'),
    }));
    const only = batch.length === 1 ? batch[0]! : undefined;
    // A batch in which one item fails is an error to Vault as a whole; with this it answers each.
    const body = only ?? { batch_input: batch, partial_failure_response_code: 200 };
    let answer: VaultAnswer;
    try {
      answer = await this.#call(id, 'decrypt', Buffer.from(JSON.stringify(body)));
    } catch (error) {
      const isNews = hasCode(error, 'SELLO_STORE_UNREACHABLE') && isVaultProblem(error.cause, 'refused');
      if (!isNews && !isVaultProblem(error, 'refused')) throw error;
      if (only === undefined) return await this.#unwrapEach(id, items);
      return [isNews ? error : notOpened((error as VaultError).messages.join(' '))];
    }
    try {
      if (only !== undefined) return [decoded(secretStringAt(answer.bytes, ['data', 'plaintext']))];
      const results = elementsAt(answer.bytes, ['data', 'batch_results']);
      if (results?.length !== batch.length) throw malformed('decrypt');
      return results.map((result) => {
        const failure = secretStringAt(result, ['error'])?.toString() ?? '';
        return failure === '' ? decoded(secretStringAt(result, ['plaintext'])) : notOpened(failure);
      });
    } finally {
      answer.wipe();
    }
  }

  /** A batch of which nothing opens is refused as a whole, whatever was asked for. */
  async #unwrapEach(id: string, items: readonly WrappedItem[]): Promise<Unwrapped[]> {
    const keys: Unwrapped[] = [];
    for (const item of items) keys.push(...(await this.#unwrapBatch(id, [item])));
    return keys;
  }

  versionOf(wrapped: Buffer): number {
    const found = /^vault:v(\d{1,9}):/.exec(wrapped.toString('latin1', 0, 20));
    return found === null ? 0 : Number(found[1]);
  }

  async rewrap(id: string, items: readonly WrappedItem[]): Promise<Buffer[]> {
    const rewrapped: Buffer[] = [];
    for (let at = 0; at < items.length; at += batchSize) {
      const batch = items.slice(at, at + batchSize).map(({ wrapped, context }) => ({
        ciphertext: wrapped.toString('latin1'),
        context: context.toString('base64'),
      }));
      const answer = await this.#call(id, 'rewrap', Buffer.from(JSON.stringify({ batch_input: batch })));
      const { batch_results: results } = answer.json('rewrap').data as {
        batch_results?: { ciphertext?: unknown }[];
      };
      if (results?.length !== batch.length) throw malformed('rewrap');
      for (const { ciphertext } of results) {
        if (typeof ciphertext !== 'string') throw malformed('rewrap');
        rewrapped.push(Buffer.from(ciphertext, 'latin1'));
      }
    }
    return rewrapped;
  }

  async destroyBelow(id: string, version: number): Promise<void> {
    const config = { min_decryption_version: version, min_encryption_version: version };
    await this.#vault.write({ path: this.#path('keys', id, 'config'), body: config, isRepeatable: true });
    await this.#vault.write({
      path: this.#path('keys', id, 'trim'),
      body: { min_available_version: version },
      isRepeatable: true,
    });
  }

  async delete(id: string): Promise<void> {
    try {
      await this.#vault.write({
        path: this.#path('keys', id, 'config'),
        body: { deletion_allowed: true },
        isRepeatable: true,
      });
      await this.#vault.delete({ path: this.#path('keys', id) });
    } catch (error) {
      // "no existing key named …": it is gone.
      if (isVaultProblem(error, 'refused') && /no existing key|not found/i.test(error.messages.join(' ')))
        return;
      if (!isVaultProblem(error, 'absent')) throw error;
    }
  }

  async #read(id: string): Promise<Record<string, unknown>> {
    try {
      const answer = await this.#vault.read({ path: this.#path('keys', id) });
      return (answer.json('read a Transit key').data ?? {}) as Record<string, unknown>;
    } catch (error) {
      if (isVaultProblem(error, 'absent')) throw gone(id, error);
      throw error;
    }
  }

  async #call(id: string, what: string, body: Buffer): Promise<VaultAnswer> {
    try {
      return await this.#vault.write({
        path: pathOf(this.#options.engine, what, this.#nameOf(id)),
        body,
        isRepeatable: true,
      });
    } catch (error) {
      if (!(error instanceof VaultError) || error.problem !== 'refused') throw error;
      const said = error.messages.join(' ');
      if (/encryption key not found|no existing key/i.test(said)) throw gone(id, error);
      // A standby that has not heard of the rotation yet.
      if (/too new/i.test(said))
        throw new SelloError('SELLO_STORE_UNREACHABLE', { detail: error.detail ?? said, cause: error });
      throw error;
    } finally {
      wipe(body);
    }
  }

  #path(...parts: [string, string, ...string[]]): VaultPath {
    const [kind, id, ...rest] = parts;
    return pathOf(this.#options.engine, kind, this.#nameOf(id), ...rest);
  }

  #nameOf(id: string): string {
    return this.#options.keyPrefix + id;
  }
}

function decoded(encoded: Buffer | undefined): Buffer {
  const key = encoded === undefined ? undefined : decodeBase64(encoded);
  wipe(encoded);
  if (key === undefined) throw malformed('decrypt');
  return secretCopy(key);
}

/** Vault says why it opened nothing; all of it means "not authentic" but a version that it holds no more, or not yet. */
function notOpened(said: string): SelloError | undefined {
  if (/too old|disallowed by policy/i.test(said))
    return new SelloError('SELLO_KEY_VERSION_TOO_OLD', { detail: said });
  if (/too new/i.test(said)) return new SelloError('SELLO_STORE_UNREACHABLE', { detail: said });
  return undefined;
}

function malformed(what: string): SelloError {
  return new SelloError('SELLO_STORE_FAILED', {
    detail: `vault: what Transit answers to '${what}' cannot be read`,
  });
}

function gone(id: string, cause: unknown): SelloError {
  return new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail: `its Transit key (…${id}) is gone`, cause });
}

function adopted(id: string, why: string): SelloError {
  return new SelloError('SELLO_STORED_KEY_UNREADABLE', {
    detail: `the Transit key …${id} is not one that Sello made: ${why}`,
  });
}
