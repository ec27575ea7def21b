/**
 * The keys that seal and open messages of versions whose bytes are with a custodian.
 *
 * `strict`: each message has a key of its own, made here, wrapped by the custodian, and carried by the message. What is asked for in one
 * turn of the event loop goes to the custodian as one call.
 *
 * `cached`: an intermediate key seals many messages from memory. It is stored, wrapped, before its first use, and a message carries its
 * id: whoever can ask the custodian can open it, also when its maker is gone. Age, uses and bytes bound what it seals in one process,
 * and its stay in memory; nothing bounds what it opens but the life of its master key.
 */
import { hash } from 'node:crypto';
import { framed, takeRandom, wipe, type PreparedHmac } from '../crypto/index.ts';
import { eachOf } from '../concurrency.ts';
import { hasCode, SelloError } from '../errors.ts';
import type { CustodyMode, KeyCustody, RecordStore, Unwrapped } from '../keystores/contract.ts';
import { recordNames, recordsAtOnce, removeRecords } from '../keystores/records.ts';
import { intermediateIdBytes, type DerivedKeys, type EnvelopeSource } from './envelope.ts';
import type { VersionRecord } from './keyring-record.ts';
import { deriveEnvelopeKeys, envelopeKeysOf, prepareEnvelopeKeys } from './material.ts';

/** Derives for one message; `done` ends what was made for it alone. */
export interface MessageKey {
  readonly source: EnvelopeSource;
  derive(seed: Buffer): DerivedKeys;
  done(): void;
}

const keyBytes = 32;
/** Opened intermediate keys in memory, of all keys of a tenant. */
const mostOpened = 4096;
/** A new one is made when this share of any bound is used up. */
const renewShare = 0.8;
/** After a renewal failed, while the old one still serves. */
const renewAgainMs = 1000;
const mostAttempts = 5;

interface Intermediate {
  readonly id: Buffer;
  readonly prepared: PreparedHmac;
  readonly sinceMs: number;
  uses: number;
  bytes: number;
}

interface Pool {
  current: Intermediate | undefined;
  renewing: Promise<Intermediate> | undefined;
  retryAtMs: number;
}

export interface CustodyKeysOptions {
  readonly keys: KeyCustody;
  readonly mode: CustodyMode;
  readonly records: RecordStore;
  readonly tenant: string;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
}

/** What a custodian's call is bound to: SHA-256 over label and parts, each with its length before it. */
export function custodyContext(
  purpose: 'hmac' | 'intermediate',
  tenant: string,
  keyId: string,
  ...more: Buffer[]
): Buffer {
  const label = Buffer.from(`sello custody ${purpose} v1`);
  return hash('sha256', framed(label, Buffer.from(tenant), Buffer.from(keyId, 'hex'), ...more), 'buffer');
}

export class CustodyKeys {
  readonly #options: CustodyKeysOptions;
  readonly #now: () => number;
  /** By key id and version. */
  readonly #pools = new Map<string, Pool>();
  /** By key id and intermediate id, oldest first. */
  readonly #opened = new Map<string, Intermediate>();
  readonly #opening = new Map<string, Promise<Intermediate>>();
  readonly #toWrap = new Map<string, Turn<{ key: Buffer; context: Buffer }, Buffer>>();
  readonly #toUnwrap = new Map<string, Turn<{ wrapped: Buffer; context: Buffer }, Unwrapped>>();

  constructor(options: CustodyKeysOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** A key for one message of `bytes`. At once with `cached` and a warm key. */
  forSealing(
    keyId: string,
    version: VersionRecord,
    context: Buffer,
    bytes: number,
  ): MessageKey | Promise<MessageKey> {
    if (this.#options.mode.kind === 'strict') return this.#fresh(keyId, version, context);
    const pool = this.#poolOf(keyId, version);
    const { current } = pool;
    if (current === undefined || !this.#fits(current, bytes, 1))
      return this.#renewed(pool, keyId, version, bytes);
    if (!this.#fits(current, bytes, renewShare)) this.#renewAhead(pool, keyId, version);
    return use(current, bytes);
  }

  /** @returns undefined when the custodian does not know it, or it was not made by this version */
  forOpening(
    keyId: string,
    version: VersionRecord,
    source: EnvelopeSource,
    context: Buffer,
  ): MessageKey | undefined | Promise<MessageKey | undefined> {
    if (source.kind === 'wrapped') {
      // The custodian's number stands in what it made: another one is somebody's invention, and costs no call.
      if (this.#options.keys.versionOf(source.wrapped) !== Number(version.place)) return undefined;
      return this.#unwrapped(keyId, source, context);
    }
    if (source.kind !== 'intermediate') return undefined;
    const place = placeOf(keyId, source.id);
    const known = this.#opened.get(place);
    if (known !== undefined && this.#now() - known.sinceMs < this.#options.mode.maxAgeMs)
      return use(known, 0);
    return this.#openedOf(keyId, source.id).then((intermediate) =>
      intermediate === undefined ? undefined : use(intermediate, 0),
    );
  }

  /** Puts every stored intermediate key of a master key under its newest version. */
  async rewrapAll(keyId: string): Promise<void> {
    const { keys, records } = this.#options;
    const folder = folderOf(keyId);
    const names: string[] = [];
    for await (const name of recordNames(records, folder)) names.push(name);
    await eachOf(names, recordsAtOnce, async (name) => {
      const path = `${folder}/${name}`;
      const context = custodyContext('intermediate', this.#options.tenant, keyId, Buffer.from(name, 'hex'));
      for (let attempt = 1; ; attempt++) {
        const found = await records.read(path);
        if (found === undefined) return;
        const [wrapped] = await keys.rewrap(keyId, [{ wrapped: found.value, context }]);
        try {
          await records.write(path, wrapped!, found.revision);
          return;
        } catch (error) {
          if (!hasCode(error, 'SELLO_RECORD_CONFLICT') || attempt === mostAttempts) throw error;
        }
      }
    });
  }

  /** Ends all stored intermediate keys of a master key that ends. */
  async removeAll(keyId: string): Promise<void> {
    this.forget(keyId);
    await removeRecords(this.#options.records, folderOf(keyId));
  }

  /** Nothing of this key stays in memory. */
  forget(keyId: string): void {
    for (const [place, pool] of this.#pools) {
      if (!place.startsWith(keyId)) continue;
      this.#pools.delete(place);
      wipeLater(pool.current);
      pool.current = undefined;
    }
    for (const [place, intermediate] of this.#opened) {
      if (!place.startsWith(keyId)) continue;
      this.#opened.delete(place);
      wipeLater(intermediate);
    }
  }

  /** Ends what has been in memory for as long as it may. */
  sweep(): void {
    const bornBefore = this.#now() - this.#options.mode.maxAgeMs;
    for (const pool of this.#pools.values()) {
      if (pool.current === undefined || pool.current.sinceMs > bornBefore) continue;
      wipeLater(pool.current);
      pool.current = undefined;
    }
    for (const [place, { sinceMs }] of this.#opened) if (sinceMs <= bornBefore) this.#drop(place);
  }

  /** Ends everything. */
  wipe(): void {
    for (const place of [...this.#pools.keys(), ...this.#opened.keys()])
      this.forget(place.slice(0, place.indexOf('/')));
  }

  async #fresh(keyId: string, version: VersionRecord, context: Buffer): Promise<MessageKey> {
    const key = takeRandom(keyBytes);
    try {
      const wrapped = await this.#wrap(keyId, Number(version.place), { key, context });
      return {
        source: { kind: 'wrapped', wrapped },
        derive: (seed) => envelopeKeysOf(key, seed),
        done: () => wipe(key),
      };
    } catch (error) {
      wipe(key);
      throw error;
    }
  }

  async #unwrapped(
    keyId: string,
    source: EnvelopeSource & { kind: 'wrapped' },
    context: Buffer,
  ): Promise<MessageKey | undefined> {
    const { wrapped } = source;
    const key = await this.#unwrap(keyId, { wrapped, context });
    if (key?.length !== keyBytes) {
      wipe(key);
      return undefined;
    }
    return { source, derive: (seed) => envelopeKeysOf(key, seed), done: () => wipe(key) };
  }

  #wrap(keyId: string, version: number, item: { key: Buffer; context: Buffer }): Promise<Buffer> {
    return this.#joined(this.#toWrap, `${keyId}/${String(version)}`, item, (items) =>
      this.#options.keys.wrap(keyId, items, version),
    );
  }

  async #unwrap(keyId: string, item: { wrapped: Buffer; context: Buffer }): Promise<Buffer | undefined> {
    const key = await this.#joined(this.#toUnwrap, keyId, item, (items) =>
      this.#options.keys.unwrap(keyId, items),
    );
    if (key instanceof SelloError) throw key;
    return key;
  }

  /** Joins what is asked for in one turn of the event loop into one call. */
  #joined<I, O>(
    turns: Map<string, Turn<I, O>>,
    name: string,
    item: I,
    call: (items: readonly I[]) => Promise<O[]>,
  ): Promise<O> {
    let turn = turns.get(name);
    if (turn === undefined) {
      const items: I[] = [];
      const outcome = new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
        turns.delete(name);
        return call(items);
      });
      turns.set(name, (turn = { items, outcome }));
    }
    const position = turn.items.push(item) - 1;
    return turn.outcome.then((results) => results[position]!);
  }

  #poolOf(keyId: string, { version }: VersionRecord): Pool {
    const place = `${keyId}/${String(version)}`;
    let pool = this.#pools.get(place);
    if (pool === undefined) {
      // One version of a key seals; what sealed before is not needed any more.
      for (const [before, { current }] of this.#pools) {
        if (!before.startsWith(`${keyId}/`)) continue;
        wipeLater(current);
        this.#pools.delete(before);
      }
      this.#pools.set(place, (pool = { current: undefined, renewing: undefined, retryAtMs: 0 }));
    }
    return pool;
  }

  #fits({ sinceMs, uses, bytes }: Intermediate, more: number, share: number): boolean {
    const { maxAgeMs, maxBytes, maxUses } = this.#options.mode;
    return (
      this.#now() - sinceMs < maxAgeMs * share && uses < maxUses * share && bytes + more <= maxBytes * share
    );
  }

  #renewAhead(pool: Pool, keyId: string, version: VersionRecord): void {
    if (pool.renewing !== undefined || this.#now() < pool.retryAtMs) return;
    pool.retryAtMs = this.#now() + renewAgainMs;
    this.#renew(pool, keyId, version).catch(() => undefined); // the old one serves on, or the next call waits and is told
  }

  async #renewed(pool: Pool, keyId: string, version: VersionRecord, bytes: number): Promise<MessageKey> {
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const made = await this.#renew(pool, keyId, version);
      // Of many who waited for it, the last may come too late.
      if (this.#fits(made, bytes, 1) || made.uses === 0) return use(made, bytes);
    }
    throw new SelloError('SELLO_STORE_FAILED', {
      detail: 'intermediate keys are used up faster than they are made',
    });
  }

  #renew(pool: Pool, keyId: string, version: VersionRecord): Promise<Intermediate> {
    pool.renewing ??= this.#make(keyId, version)
      .then((made) => {
        const before = pool.current;
        pool.current = made;
        wipeLater(before);
        return made;
      })
      .finally(() => (pool.renewing = undefined));
    return pool.renewing;
  }

  async #make(keyId: string, version: VersionRecord): Promise<Intermediate> {
    const id = Buffer.from(takeRandom(intermediateIdBytes));
    const key = takeRandom(keyBytes);
    try {
      const context = custodyContext('intermediate', this.#options.tenant, keyId, id);
      const [wrapped] = await this.#options.keys.wrap(keyId, [{ key, context }], Number(version.place));
      // Stored before its first use: what it seals opens also when this process ends now.
      await this.#options.records.write(`${folderOf(keyId)}/${id.toString('hex')}`, wrapped!, 0);
      const prepared = prepareEnvelopeKeys(key);
      this.#keep(keyId, { id, prepared: prepareEnvelopeKeys(key), sinceMs: this.#now(), uses: 0, bytes: 0 });
      return { id, prepared, sinceMs: this.#now(), uses: 0, bytes: 0 };
    } finally {
      wipe(key);
    }
  }

  async #openedOf(keyId: string, id: Buffer): Promise<Intermediate | undefined> {
    const place = placeOf(keyId, id);
    let opening = this.#opening.get(place);
    if (opening === undefined) {
      opening = this.#read(keyId, Buffer.from(id)).finally(() => this.#opening.delete(place));
      this.#opening.set(place, opening);
    }
    try {
      return await opening;
    } catch (error) {
      if (hasCode(error, 'SELLO_CIPHERTEXT_NOT_AUTHENTIC')) return undefined;
      throw error;
    }
  }

  async #read(keyId: string, id: Buffer): Promise<Intermediate> {
    const found = await this.#options.records.read(`${folderOf(keyId)}/${id.toString('hex')}`);
    // Nobody made it, or not under this key.
    if (found === undefined)
      throw new SelloError('SELLO_CIPHERTEXT_NOT_AUTHENTIC', { detail: 'its intermediate key is not known' });
    const context = custodyContext('intermediate', this.#options.tenant, keyId, id);
    const key = await this.#unwrap(keyId, { wrapped: found.value, context });
    if (key?.length !== keyBytes) {
      wipe(key);
      throw new SelloError('SELLO_STORED_KEY_UNREADABLE', {
        detail: `intermediate key ${id.toString('hex')} is damaged, or another's`,
      });
    }
    const opened = { id, prepared: prepareEnvelopeKeys(key), sinceMs: this.#now(), uses: 0, bytes: 0 };
    wipe(key);
    this.#keep(keyId, opened);
    return opened;
  }

  #keep(keyId: string, intermediate: Intermediate): void {
    const place = placeOf(keyId, intermediate.id);
    this.#drop(place);
    this.#opened.set(place, intermediate);
    const { maxAgeMs } = this.#options.mode;
    for (const [oldest, { sinceMs }] of this.#opened) {
      if (this.#opened.size <= mostOpened && this.#now() - sinceMs < maxAgeMs) break;
      this.#drop(oldest);
    }
  }

  #drop(place: string): void {
    wipeLater(this.#opened.get(place));
    this.#opened.delete(place);
  }
}

/** What is asked of a custodian in one turn. */
interface Turn<I, O> {
  readonly items: I[];
  readonly outcome: Promise<O[]>;
}

function use(intermediate: Intermediate, bytes: number): MessageKey {
  intermediate.uses++;
  intermediate.bytes += bytes;
  const { id, prepared } = intermediate;
  return {
    source: { kind: 'intermediate', id },
    derive: (seed) => deriveEnvelopeKeys(prepared, seed),
    done: () => undefined,
  };
}

/** Whoever just got it uses it in this turn of the event loop. */
function wipeLater(intermediate: Intermediate | undefined): void {
  if (intermediate !== undefined) setImmediate(() => intermediate.prepared.wipe());
}

function folderOf(keyId: string): string {
  return `intermediate/${keyId}`;
}

function placeOf(keyId: string, id: Buffer): string {
  return `${keyId}/${id.toString('hex')}`;
}
