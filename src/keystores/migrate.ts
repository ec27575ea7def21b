/**
 * Copies every key from one keystore to another, each read back and compared. Safe to stop and to run again: what
 * is there already is recognised by its bytes. Every key of the source is counted under exactly one outcome.
 */
import { equalSecrets, wipe } from '../crypto/index.ts';
import { eachOf } from '../concurrency.ts';
import { SelloError, hasCode, type ErrorCode } from '../errors.ts';
import type { KeyName } from '../keys/names.ts';
import type { Keystore } from './contract.ts';
import { maxPageNames } from './limits.ts';

export interface MigrateOptions {
  readonly from: Keystore;
  readonly to: Keystore;
  /** Copies what belongs to a key beside its value, before it; may refuse. */
  readonly before?: (name: KeyName, value: Buffer) => Promise<void>;
  /** A differing key of the target stays, and is listed as skipped. */
  readonly merge?: boolean;
  /** A differing key of the target is replaced by the source's. */
  readonly force?: boolean;
  /** An exact name, or a prefix ending in `*`. Undefined: every key. */
  readonly pattern?: string;
  /** Keys under way at a time: fsync latency is shared, not multiplied. */
  readonly concurrency?: number;
  readonly onProgress?: (progress: MigrateProgress) => void;
  /** Stops between two keys; the promise rejects with its reason. */
  readonly signal?: AbortSignal;
}

export interface MigrateProgress {
  readonly done: number;
  readonly copied: number;
  readonly alreadyThere: number;
  readonly replaced: number;
  readonly skipped: number;
  readonly failed: number;
}

/** total = copied + alreadyThere + replaced + skipped.length + failed.length. */
export interface MigrateResult {
  /** Keys of the source that match the pattern. */
  readonly total: number;
  readonly copied: number;
  /** With the same bytes in the target before. */
  readonly alreadyThere: number;
  readonly replaced: number;
  /** In order of names. */
  readonly skipped: readonly { readonly name: KeyName; readonly reason: string }[];
  /** A key that exists in the target with other bytes is here as SELLO_KEY_EXISTS, unless `merge` or `force` is set. */
  readonly failed: readonly { readonly name: KeyName; readonly code: ErrorCode; readonly detail: string }[];
}

type Outcome =
  | { readonly kind: 'copied' | 'alreadyThere' | 'replaced' }
  | { readonly kind: 'skipped'; readonly reason: string }
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly detail: string };

const defaultConcurrency = 16;

/** @throws SelloError when a store is down (run it again to go on), or the signal's reason */
export async function migrateKeys(options: MigrateOptions): Promise<MigrateResult> {
  const { from, to, merge = false, force = false, signal } = options;
  if (merge && force) throw new TypeError('merge and force exclude each other');
  const prefix =
    options.pattern?.endsWith('*') === true ? options.pattern.slice(0, -1) : (options.pattern ?? '');
  const exact = options.pattern !== undefined && !options.pattern.endsWith('*');
  const counts = { copied: 0, alreadyThere: 0, replaced: 0 };
  const skipped: { name: KeyName; reason: string }[] = [];
  const failed: { name: KeyName; code: ErrorCode; detail: string }[] = [];
  let total = 0;
  let done = 0;

  const migrate = async (name: KeyName): Promise<void> => {
    signal?.throwIfAborted();
    const outcome = await migrateKey(from, to, name, { merge, force, before: options.before });
    if (outcome.kind === 'skipped') skipped.push({ name, reason: outcome.reason });
    else if (outcome.kind === 'failed') failed.push({ name, code: outcome.code, detail: outcome.detail });
    else counts[outcome.kind]++;
    done++;
    options.onProgress?.({ done, ...counts, skipped: skipped.length, failed: failed.length });
  };

  for await (const names of pages(from, prefix, exact)) {
    total += names.length;
    await eachOf(names, options.concurrency ?? defaultConcurrency, migrate);
  }
  skipped.sort(byName);
  failed.sort(byName);
  return { total, ...counts, skipped, failed };
}

async function* pages(from: Keystore, prefix: string, exact: boolean): AsyncGenerator<readonly KeyName[]> {
  let after: KeyName | undefined;
  for (;;) {
    const page = await from.list({ prefix, limit: maxPageNames, ...(after === undefined ? {} : { after }) });
    if (exact) {
      // The exact name is the first of those that begin with it.
      yield page.names.filter((name) => name === prefix);
      return;
    }
    yield page.names;
    if (!page.more) return;
    after = page.names.at(-1);
    if (after === undefined)
      throw new SelloError('SELLO_STORE_FAILED', { detail: 'an empty page that is not the last' });
  }
}

async function migrateKey(
  from: Keystore,
  to: Keystore,
  name: KeyName,
  { before, merge, force }: { merge: boolean; force: boolean; before: MigrateOptions['before'] },
): Promise<Outcome> {
  let value: Buffer | undefined;
  try {
    value = await from.read(name);
    try {
      await before?.(name, value);
    } catch (error) {
      if (merge && hasCode(error, 'SELLO_KEY_EXISTS'))
        return {
          kind: 'skipped',
          reason: error.detail ?? 'the target holds another key of this name, which stays',
        };
      throw error;
    }
    try {
      await to.create(name, value);
      return (await holds(to, name, value)) ? { kind: 'copied' } : unverified;
    } catch (error) {
      if (!hasCode(error, 'SELLO_KEY_EXISTS')) throw error;
    }
    const same = await holds(to, name, value).catch((error: unknown) => {
      // A value in the target that nobody can read is replaced by force, and kept otherwise.
      if (hasCode(error, 'SELLO_STORED_KEY_UNREADABLE')) return false;
      throw error;
    });
    if (same) return { kind: 'alreadyThere' };
    if (merge) return { kind: 'skipped', reason: 'the target holds another key of this name, which stays' };
    if (!force)
      return {
        kind: 'failed',
        code: 'SELLO_KEY_EXISTS',
        detail: 'the target holds another key of this name',
      };
    await to.delete(name);
    await to.create(name, value);
    return (await holds(to, name, value)) ? { kind: 'replaced' } : unverified;
  } catch (error) {
    if (!(error instanceof SelloError) || error.retryable) throw error;
    return { kind: 'failed', code: error.code, detail: error.detail ?? error.message };
  } finally {
    wipe(value);
  }
}

const unverified: Outcome = {
  kind: 'failed',
  code: 'SELLO_STORED_KEY_UNREADABLE',
  detail: 'read back from the target, the key was not the one written',
};

async function holds(store: Keystore, name: KeyName, expected: Buffer): Promise<boolean> {
  const actual = await store.read(name);
  try {
    return equalSecrets(actual, expected);
  } finally {
    wipe(actual);
  }
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : 1;
}
