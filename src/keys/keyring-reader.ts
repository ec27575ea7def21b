/**
 * Keys and keyrings as one tenant's keystore holds them: a key's value and its keyring record read as one, held against each other, and
 * against what was seen before. Nothing is written here but an administrator's word that an older state is the right one.
 *
 *   NAME                        the key, in KES's layout, at KES's own place; or the head of a key in custody
 *   keyrings/NAME               its keyring record; present once the key was rotated or changed
 *   versions/ID/NUMBER.RANDOM   a later version's bytes. A version that lost a race leaves one that no keyring names.
 *   control/restore             when an administrator accepted an older state of the whole store
 */
import { hash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { takeRandom } from '../crypto/index.ts';
import { hasCode, SelloError } from '../errors.ts';
import type { Keystore, RecordStore, StoredRecord } from '../keystores/contract.ts';
import { recordNames } from '../keystores/records.ts';
import { CustodyHead, isCustodyHead, parseCustodyHead } from './custody-head.ts';
import { keyIdBytes } from './envelope.ts';
import { formatKeyring, parseKeyring, type KeyringRecord, type VersionRecord } from './keyring-record.ts';
import type { MasterKey } from './material.ts';
import type { KeyName } from './names.ts';
import { isPlaceholder, parsePlaceholder, Placeholder } from './placeholder.ts';
import { parseStoredKey } from './stored-key.ts';
import type { Change } from './transitions.ts';

export interface KeyringReaderOptions {
  /** Bound into what a custodian keeps. */
  readonly tenant: string;
  /** How old the list of names with a keyring may be. */
  readonly indexLifeMs: number;
  /** An older keyring than one seen before is in the store. */
  readonly onRollback: (name: KeyName, detail: string) => void;
  readonly now?: () => number;
}

/** What stands at a key's own place. */
export type First = MasterKey | CustodyHead;

/** The latest state of a keyring that this process has seen. */
interface Seen {
  readonly generation: number;
  readonly digest: string;
}

export interface Found {
  readonly record: KeyringRecord | undefined;
  /** 0: no record. */
  readonly revision: number;
  /** What stands at the key's own place. */
  readonly first: First | undefined;
}

/** Before a keyring is called older than it was. */
const secondLookMs = 250;

const keyringFolder = 'keyrings';
const restorePath = 'control/restore';

export class KeyringReader {
  readonly #store: Keystore;
  readonly #options: KeyringReaderOptions;
  readonly #now: () => number;
  readonly #seen = new Map<KeyName, Seen>();
  /** Names with a keyring record. A name that is not among them costs no second read. */
  #index = new Set<string>();
  #indexReadMs = -Infinity;
  #indexing: Promise<void> | undefined;
  /** When an older state was accepted last, as far as this process took note of it. */
  #acceptedAt = 0;

  constructor(store: Keystore, options: KeyringReaderOptions) {
    this.#store = store;
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  get hasRecords(): boolean {
    return this.#store.records !== undefined;
  }

  /** Another process made or changed a keyring of this name. */
  expectRecord(name: string): void {
    this.#index.add(name);
  }

  /** The keyring as administrators see it; of a key without a record what it amounts to. */
  async record(name: KeyName): Promise<KeyringRecord & { readonly isImplicit: boolean }> {
    const { record, first } = await this.find(name);
    try {
      if (
        record !== undefined &&
        (record.generation === 0 || record.state === 'deleting' || first !== undefined)
      ) {
        const state = record.state === 'creating' ? 'enabled' : record.state;
        return { ...record, state, isImplicit: record.generation === 0 };
      }
      if (first === undefined) throw new SelloError('SELLO_KEY_NOT_FOUND');
      const at = first.createdAt.seconds;
      return {
        ...newKeyring(first, { by: first.createdBy, at }),
        isImplicit: true,
      };
    } finally {
      first?.wipe();
    }
  }

  /** Takes the store as it is, though it is older than what was seen: after a restore, by an administrator's word. */
  async acceptRestore(by: Change): Promise<void> {
    const before = await this.#records.read(restorePath);
    const acceptedAt = this.#now();
    await this.#records.write(
      restorePath,
      Buffer.from(JSON.stringify({ acceptedAt, by: by.by })),
      before?.revision ?? 0,
    );
    this.#acceptedAt = acceptedAt;
    this.#seen.clear();
  }

  /** Looks which names have keyrings. @throws SelloError when the store cannot be asked */
  refreshIndex(): Promise<void> {
    this.#indexing ??= this.#readIndex().finally(() => (this.#indexing = undefined));
    return this.#indexing;
  }

  async #readIndex(): Promise<void> {
    const { records } = this.#store;
    if (records === undefined) return;
    const readMs = performance.now();
    if (this.#acceptedAt === 0) this.#acceptedAt = (await this.#readAcceptance()) || 1;
    const names = new Set<string>();
    for await (const name of recordNames(records, keyringFolder)) names.add(name);
    // What was seen once is looked for again: a record that vanished is not "no keyring".
    for (const name of this.#seen.keys()) names.add(name);
    this.#index = names;
    this.#indexReadMs = readMs;
  }

  async mayHaveRecord(name: KeyName): Promise<boolean> {
    if (performance.now() - this.#indexReadMs > this.#options.indexLifeMs) await this.refreshIndex();
    return this.#index.has(name);
  }

  async find(name: KeyName, isSecondLook = false): Promise<Found> {
    // What was seen when the read began: a change that overtakes it makes nothing older.
    const seen = this.#seen.get(name);
    const recorded = this.hasRecords && (await this.mayHaveRecord(name));
    const [first, found] = await Promise.all([
      this.readFirst(name),
      recorded ? this.readRecord(name) : undefined,
    ]);
    let record: KeyringRecord | undefined;
    try {
      record = found === undefined ? undefined : parseKeyring(found.value);
      if (recorded) checkSeen(seen, record);
      const apart = whyApart(record, first);
      if (apart !== undefined && !isSecondLook && this.hasRecords) {
        first?.wipe();
        // It has a keyring that this process has not heard of yet; or the two were read at once, and written in between.
        this.expectRecord(name);
        if (recorded) await delay(secondLookMs);
        return await this.find(name, recorded);
      }
      if (apart !== undefined) throw unreadable(apart);
    } catch (error) {
      first?.wipe();
      if (!hasCode(error, 'SELLO_KEYRING_ROLLED_BACK')) throw error;
      if (!isSecondLook) {
        // A standby that lags behind its leader is no rollback.
        await delay(secondLookMs);
        return this.find(name, true);
      }
      if (await this.#isAccepted()) return this.find(name);
      this.#options.onRollback(name, error.detail ?? '');
      throw error;
    }
    if (record !== undefined) this.note(name, record);
    return {
      record: await this.#withCustodiansVersions(record, first),
      revision: found?.revision ?? 0,
      first,
    };
  }

  /** Versions of a key in custody are what the custodian has: it may add some on its own, and one that it has not made yet seals nothing. */
  async #withCustodiansVersions(
    record: KeyringRecord | undefined,
    first: First | undefined,
  ): Promise<KeyringRecord | undefined> {
    const { custody } = this.#store;
    if (custody === undefined || first === undefined) return record;
    const known =
      record ??
      (first instanceof CustodyHead ? { ...newKeyring(first, ownChange(first)), generation: 0 } : undefined);
    if (known === undefined || !known.versions.some(({ custody }) => custody === 'transit')) return known;
    const latest = await custody.keys.latestVersion(known.id).catch((error: unknown) => {
      first.wipe();
      throw error;
    });
    const versions = known.versions.filter(
      ({ custody, place }) => custody !== 'transit' || Number(place) <= latest,
    );
    const at = Math.floor(this.#now() / 1000);
    const before = versions.filter(({ custody }) => custody !== 'transit').length;
    for (let place = versions.length - before + 1; place <= latest; place++) {
      const version = versions.length + 1;
      versions.push({
        version,
        state: 'enabled',
        custody: 'transit',
        algorithm: 'AES256',
        createdAt: at,
        changedAt: at,
        place: String(place),
      });
    }
    return { ...known, versions };
  }

  /** @throws SelloError SELLO_KEYRING_ROLLED_BACK when `record` is older than one seen before */
  checkSeen(name: KeyName, record: KeyringRecord): void {
    checkSeen(this.#seen.get(name), record);
  }

  note(name: KeyName, record: KeyringRecord): void {
    this.#index.add(name);
    if (record.generation >= (this.#seen.get(name)?.generation ?? 0))
      this.#seen.set(name, { generation: record.generation, digest: digestOf(record) });
  }

  /** True when an administrator accepted an older store since this process last looked. */
  async #isAccepted(): Promise<boolean> {
    const acceptedAt = await this.#readAcceptance();
    if (acceptedAt <= this.#acceptedAt) return false;
    this.#acceptedAt = acceptedAt;
    this.#seen.clear();
    return true;
  }

  async #readAcceptance(): Promise<number> {
    const found = await this.#records.read(restorePath);
    if (found === undefined) return 0;
    const { acceptedAt } = JSON.parse(found.value.toString()) as { acceptedAt?: unknown };
    return typeof acceptedAt === 'number' ? acceptedAt : 0;
  }

  async readVersion(record: KeyringRecord, version: VersionRecord): Promise<MasterKey> {
    const found = await this.#records.read(`versions/${record.id}/${version.place!}`);
    if (found === undefined) throw unreadable(`version ${String(version.version)} is gone`);
    const key = parsed(found.value);
    if (key.fingerprint(Buffer.from(record.id, 'hex')) === version.fingerprint) return key;
    key.wipe();
    throw unreadable(`version ${String(version.version)} is not the one its keyring was made for`);
  }

  /** Undefined: there is none. */
  async readFirst(name: KeyName): Promise<First | undefined> {
    let value: Buffer;
    try {
      value = await this.#store.read(name);
    } catch (error) {
      if (hasCode(error, 'SELLO_KEY_NOT_FOUND')) return undefined;
      throw error;
    }
    return isCustodyHead(value) ? this.headOf(value) : parsed(value);
  }

  async hasValue(name: KeyName): Promise<boolean> {
    const first = await this.readFirst(name);
    first?.wipe();
    return first !== undefined;
  }

  readRecord(name: KeyName): Promise<StoredRecord | undefined> {
    return this.#records.read(pathOf(name));
  }

  headOf(value: Buffer): CustodyHead {
    const { custody } = this.#store;
    if (custody === undefined)
      throw unreadable(`the key is with a custodian, and the ${this.#store.kind} keystore has none`);
    const { tenant } = this.#options;
    const keepsMac = custody.mode.kind === 'cached';
    return new CustodyHead(parseCustodyHead(value), { custody: custody.keys, tenant, keepsMac });
  }

  get #records(): RecordStore {
    return this.#store.records!;
  }
}

/** A keyring belongs to one value. @returns why these two are not each other's */
function whyApart(record: KeyringRecord | undefined, first: First | undefined): string | undefined {
  if (record === undefined) return first instanceof Placeholder ? 'its keyring is gone' : undefined;
  if (record.state === 'deleting') return undefined;
  if (record.state === 'deleted')
    return first === undefined
      ? undefined
      : 'the key was deleted, and a value is at its place again: delete it once more, or restore its keyring';
  if (first === undefined)
    return record.state === 'creating' ? undefined : 'the value of version 1 is gone, its keyring is not';
  // A keyring of the Transit face that was begun is looked at by who settles it.
  if (record.state === 'creating' && record.transit !== undefined) return undefined;
  return isOfRecord(record, first) ? undefined : 'the value is not the one its keyring was made for';
}

/** Whether a keyring was made for this value. */
export function isOfRecord({ id, valueFingerprint, versions }: KeyringRecord, first: First): boolean {
  const { custody, fingerprint } = versions[0]!;
  return first instanceof CustodyHead
    ? custody === 'transit' && first.id === id
    : first.fingerprint(Buffer.from(id, 'hex')) === (custody === 'kes' ? fingerprint : valueFingerprint);
}

/** The keyring that a key without a record amounts to: version 1, enabled. */
export function newKeyring(first: First, by: Change): KeyringRecord {
  const id = first instanceof CustodyHead ? Buffer.from(first.id, 'hex') : takeRandom(keyIdBytes);
  const createdAt = first.createdAt.seconds > 0 ? first.createdAt.seconds : 0;
  return {
    id: id.toString('hex'),
    generation: 1,
    state: 'enabled',
    createdAt,
    createdBy: first.createdBy,
    changedAt: by.at,
    changedBy: by.by,
    versions: [
      {
        version: 1,
        state: 'enabled',
        algorithm: first.algorithm,
        createdAt,
        changedAt: by.at,
        ...(first instanceof CustodyHead
          ? ({ custody: 'transit', place: '1' } as const)
          : ({ custody: 'kes', fingerprint: first.fingerprint(id) } as const)),
      },
    ],
    minDecryptionVersion: 1,
    rewrapOnly: false,
    crossFace: false,
    rotateEvery: 0,
    rotateAt: 0,
  };
}

function ownChange(first: First): Change {
  return { by: first.createdBy, at: first.createdAt.seconds };
}

export function pathOf(name: KeyName): string {
  return `${keyringFolder}/${name}`;
}

/** @throws SelloError SELLO_KEYRING_ROLLED_BACK */
function checkSeen(seen: Seen | undefined, record: KeyringRecord | undefined): void {
  if (seen === undefined) return;
  const generation = record?.generation ?? 0;
  const isOlder = generation < seen.generation;
  const isForged = generation === seen.generation && digestOf(record!) !== seen.digest;
  if (!isOlder && !isForged) return;
  const detail = isOlder
    ? `generation ${String(generation)}, and ${String(seen.generation)} was seen before`
    : `generation ${String(generation)} is not the one that was seen`;
  throw new SelloError('SELLO_KEYRING_ROLLED_BACK', { detail });
}

function digestOf(record: KeyringRecord): string {
  return hash('sha256', formatKeyring(record));
}

/** Takes `value` over. */
function parsed(value: Buffer): MasterKey {
  try {
    return isPlaceholder(value) ? parsePlaceholder(value) : parseStoredKey(value);
  } finally {
    value.fill(0);
  }
}

export function unreadable(detail: string): SelloError {
  return new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail });
}
