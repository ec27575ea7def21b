/**
 * Keys and keyrings in one tenant's keystore: reads both as one, writes them in an order in which no stop in between can lose a key or
 * give a name the keyring of another key, and refuses a keyring that is older than one seen before.
 *
 *   NAME                        the key, in KES's layout, at KES's own place
 *   keyrings/NAME               its keyring record; present once the key was rotated or changed
 *   versions/ID/NUMBER.RANDOM   a later version's bytes. A version that lost a race leaves one that no keyring names.
 *   scheduled/NAME              present where the keyring has something to do at a time
 *   control/restore             when an administrator accepted an older state of the whole store
 */
import { hash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { takeRandom } from '../crypto/index.ts';
import { hasCode, SelloError } from '../errors.ts';
import type { Keystore, RecordStore, StoredRecord } from '../keystores/contract.ts';
import { keyIdBytes } from './envelope.ts';
import { instantFromDate, type Instant } from './instant.ts';
import type { KeyAlgorithm } from './algorithm.ts';
import { Keyring } from './keyring.ts';
import {
  formatKeyring,
  maxVersions,
  parseKeyring,
  type KeyringRecord,
  type VersionRecord,
} from './keyring-record.ts';
import { MasterKey } from './material.ts';
import type { KeyName } from './names.ts';
import { formatStoredKey, parseStoredKey } from './stored-key.ts';
import {
  addVersion,
  applyChange,
  beginDeletion,
  destroyVersion,
  hasOtherSealing,
  next,
  sealingVersion,
  type Change,
  type KeyChange,
} from './transitions.ts';

export interface KeyringStoreOptions {
  /** How old the list of names with a keyring may be. */
  readonly indexLifeMs: number;
  /** An older keyring than one seen before is in the store. */
  readonly onRollback: (name: KeyName, detail: string) => void;
  readonly now?: () => number;
}

/** The latest state of a keyring that this process has seen. */
interface Seen {
  readonly generation: number;
  readonly digest: string;
}

/** What is to be done with a key now. */
export interface DueWork {
  readonly name: KeyName;
  readonly kind: 'rotate' | 'delete';
}

interface Found {
  readonly record: KeyringRecord | undefined;
  /** 0: no record. */
  readonly revision: number;
  /** Version 1, where its bytes are. */
  readonly first: MasterKey | undefined;
}

const listPage = 1024;

/** Before a keyring is called older than it was. */
const secondLookMs = 250;

export const keyringFolder = 'keyrings';
const scheduleFolder = 'scheduled';
const restorePath = 'control/restore';

export class KeyringStore {
  readonly #store: Keystore;
  readonly #options: KeyringStoreOptions;
  readonly #now: () => number;
  readonly #seen = new Map<KeyName, Seen>();
  /** Names with a keyring record. A name that is not among them costs no second read. */
  #index = new Set<string>();
  #indexReadMs = -Infinity;
  #indexing: Promise<void> | undefined;
  /** When an older state was accepted last, as far as this process took note of it. */
  #acceptedAt = 0;

  constructor(store: Keystore, options: KeyringStoreOptions) {
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

  /** Names with a keyring, as of the last look at the store. */
  get recorded(): ReadonlySet<string> {
    return this.#index;
  }

  /** @throws SelloError SELLO_KEY_NOT_FOUND, SELLO_STORED_KEY_UNREADABLE, SELLO_KEYRING_ROLLED_BACK, SELLO_STORE_… */
  async load(name: KeyName): Promise<Keyring> {
    const { record, first } = await this.#find(name);
    if (first === undefined) {
      if (record?.state === 'deleting') throw new SelloError('SELLO_KEY_DELETION_PENDING');
      throw new SelloError('SELLO_KEY_NOT_FOUND');
    }
    return new Keyring({
      record,
      first,
      readVersion: (version) => this.#readVersion(record!, version),
    });
  }

  /** Takes `key` over and wipes it. @throws SelloError SELLO_KEY_EXISTS */
  async create(name: KeyName, key: MasterKey, by: Change): Promise<void> {
    const stored = formatStoredKey(key);
    try {
      if (this.hasRecords && (await this.#mayHaveRecord(name))) await this.#announce(name, key, by);
      await this.#store.create(name, stored);
    } finally {
      key.wipe();
      stored.fill(0);
    }
  }

  /** A name whose keyring is a leftover gets a new one before its value, so that it can only be this value's. */
  async #announce(name: KeyName, key: MasterKey, by: Change): Promise<void> {
    const found = await this.#readRecord(name);
    if (found === undefined) return;
    const before = parseKeyring(found.value);
    if (before.state !== 'deleted') {
      const isFree = before.state === 'creating' && !(await this.#hasValue(name));
      if (!isFree) throw new SelloError('SELLO_KEY_EXISTS');
    }
    const id = takeRandom(keyIdBytes);
    const record = next({ ...newKeyring(id, key, by), generation: before.generation }, by, {
      state: 'creating',
    });
    try {
      await this.#records.write(pathOf(name), formatKeyring(record), found.revision);
    } catch (error) {
      throw hasCode(error, 'SELLO_RECORD_CONFLICT')
        ? new SelloError('SELLO_KEY_EXISTS', { cause: error })
        : error;
    }
    this.#note(name, record);
  }

  /**
   * Ends the key at once, as KES does. Run again, it finishes what a stop left.
   * @throws SelloError SELLO_KEY_NOT_FOUND, SELLO_KEY_DELETION_PENDING for a key whose deletion is scheduled
   */
  async delete(name: KeyName, by: Change, isDue = false): Promise<void> {
    const recorded = this.hasRecords && (await this.#mayHaveRecord(name));
    const found = recorded ? await this.#readRecord(name) : undefined;
    if (found === undefined) {
      await this.#store.delete(name);
      return;
    }
    const before = parseKeyring(found.value);
    checkSeen(this.#seen.get(name), before);
    if (before.state === 'pending-deletion' && !isDue) throw new SelloError('SELLO_KEY_DELETION_PENDING');
    let { revision } = found;
    let record = before;
    if (before.state !== 'deleted') {
      record = isDue
        ? beginDeletion(before, by)
        : next(before, by, { state: 'deleting', deletion: undefined });
      revision = await this.#records.write(pathOf(name), formatKeyring(record), revision);
      this.#note(name, record);
      await this.#removeVersions(record.id);
    }
    let wasThere = true;
    try {
      await this.#store.delete(name);
    } catch (error) {
      if (!hasCode(error, 'SELLO_KEY_NOT_FOUND')) throw error;
      wasThere = false;
    }
    if (before.state === 'deleted') {
      if (!wasThere) throw new SelloError('SELLO_KEY_NOT_FOUND');
      return;
    }
    const ended = next(record, by, { state: 'deleted', versions: [] });
    await this.#records.write(pathOf(name), formatKeyring(ended), revision);
    this.#note(name, ended);
    if (!wasThere && before.state === 'creating') throw new SelloError('SELLO_KEY_NOT_FOUND');
  }

  /**
   * A new newest version, which seals from now on.
   * @param isDue tells whether it is still wanted, by the record as it is read for the change
   * @returns undefined when it was not wanted any more
   */
  async rotate(
    name: KeyName,
    by: Change,
    isDue?: (record: KeyringRecord) => boolean,
  ): Promise<KeyringRecord | undefined> {
    return this.#change(name, by, async (record, first) => {
      if (isDue?.(record) === false) return undefined;
      return this.#withNewVersion(
        record,
        (sealingVersion(record) ?? record.versions.at(-1))?.algorithm ?? first.algorithm,
        by,
      );
    });
  }

  /** @returns the record as it is now */
  async change(name: KeyName, changes: readonly KeyChange[], by: Change): Promise<KeyringRecord> {
    const changed = await this.#change(name, by, async (record) => {
      let changed = record;
      for (const change of changes) {
        // A key of which nothing may seal any more would stop every write: a new version takes over in the same change.
        if (endsLastSealing(changed, change))
          changed = await this.#withNewVersion(changed, sealingVersion(changed)!.algorithm, by);
        changed = applyChange(changed, change, by);
      }
      return { ...changed, generation: record.generation + 1 };
    });
    return changed!;
  }

  /** Ends a version's bytes for good, once {@link destroyVersion} allows it. */
  async destroy(name: KeyName, version: number, by: Change): Promise<KeyringRecord> {
    let place: string | undefined;
    const changed = await this.#change(name, by, async (record) => {
      const { custody, place: at } = record.versions[version - 1] ?? {};
      const destroyed = destroyVersion(record, version, by);
      if (custody === 'kes')
        throw new SelloError('SELLO_KEY_CHANGE_REFUSED', {
          detail:
            "version 1 lies at the key's own place, with its HMAC key: it can be disabled, and ends with the key",
        });
      place = at;
      return destroyed;
    });
    const path = `versions/${changed!.id}/${place!}`;
    const found = await this.#records.read(path);
    if (found !== undefined) {
      found.value.fill(0);
      await this.#records.delete(path, found.revision);
    }
    return changed!;
  }

  /** Keys for which something is due. Marks that no keyring needs any more are removed. */
  async due(nowSeconds: number): Promise<DueWork[]> {
    const { records } = this.#store;
    if (records === undefined) return [];
    const due: DueWork[] = [];
    let after: string | undefined;
    do {
      const page = await records.list(scheduleFolder, {
        limit: listPage,
        ...(after === undefined ? {} : { after }),
      });
      for (const text of page.names) {
        const name = text as KeyName;
        const found = await this.#readRecord(name);
        const record = found === undefined ? undefined : parseKeyring(found.value);
        if (record === undefined || !isScheduled(record)) {
          await this.#unmark(name);
          continue;
        }
        const { deletion, rotateAt, state } = record;
        if (state === 'deleting' || (deletion !== undefined && nowSeconds >= deletion.after))
          due.push({ name, kind: 'delete' });
        else if (state === 'enabled' && rotateAt !== 0 && nowSeconds >= rotateAt)
          due.push({ name, kind: 'rotate' });
      }
      after = page.more ? page.names.at(-1) : undefined;
    } while (after !== undefined);
    return due;
  }

  async #mark(name: KeyName): Promise<void> {
    try {
      await this.#records.write(`${scheduleFolder}/${name}`, Buffer.from('1'), 0);
    } catch (error) {
      if (!hasCode(error, 'SELLO_RECORD_CONFLICT')) throw error; // it is there
    }
  }

  async #unmark(name: KeyName): Promise<void> {
    const path = `${scheduleFolder}/${name}`;
    const found = await this.#records.read(path);
    if (found === undefined) return;
    await this.#records.delete(path, found.revision);
    // A change that came in between relied on the mark.
    const record = await this.#readRecord(name);
    if (record !== undefined && isScheduled(parseKeyring(record.value))) await this.#mark(name);
  }

  /** The keyring as administrators see it; of a key without a record what it amounts to. */
  async record(name: KeyName): Promise<KeyringRecord & { readonly isImplicit: boolean }> {
    const { record, first } = await this.#find(name);
    try {
      if (record !== undefined && (record.state === 'deleting' || first !== undefined)) {
        const state = record.state === 'creating' ? 'enabled' : record.state;
        return { ...record, state, isImplicit: false };
      }
      if (first === undefined) throw new SelloError('SELLO_KEY_NOT_FOUND');
      const at = first.createdAt.seconds;
      return {
        ...newKeyring(Buffer.alloc(keyIdBytes), first, { by: first.createdBy, at }),
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
    let after: string | undefined;
    do {
      const page = await records.list(keyringFolder, {
        limit: listPage,
        ...(after === undefined ? {} : { after }),
      });
      for (const name of page.names) names.add(name);
      after = page.more ? page.names.at(-1) : undefined;
    } while (after !== undefined);
    // What was seen once is looked for again: a record that vanished is not "no keyring".
    for (const name of this.#seen.keys()) names.add(name);
    this.#index = names;
    this.#indexReadMs = readMs;
  }

  async #mayHaveRecord(name: KeyName): Promise<boolean> {
    if (performance.now() - this.#indexReadMs > this.#options.indexLifeMs) await this.refreshIndex();
    return this.#index.has(name);
  }

  async #find(name: KeyName, isSecondLook = false): Promise<Found> {
    // What was seen when the read began: a change that overtakes it makes nothing older.
    const seen = this.#seen.get(name);
    const recorded = this.hasRecords && (await this.#mayHaveRecord(name));
    const [first, found] = await Promise.all([
      this.#readFirst(name),
      recorded ? this.#readRecord(name) : undefined,
    ]);
    let record: KeyringRecord | undefined;
    try {
      record = found === undefined ? undefined : parseKeyring(found.value);
      if (recorded) checkSeen(seen, record);
      this.#checkValue(record, first);
    } catch (error) {
      first?.wipe();
      if (!hasCode(error, 'SELLO_KEYRING_ROLLED_BACK')) throw error;
      if (!isSecondLook) {
        // A standby that lags behind its leader is no rollback.
        await delay(secondLookMs);
        return this.#find(name, true);
      }
      if (await this.#isAccepted()) return this.#find(name);
      this.#options.onRollback(name, error.detail ?? '');
      throw error;
    }
    if (record !== undefined) this.#note(name, record);
    return { record, revision: found?.revision ?? 0, first };
  }

  /** A keyring belongs to one value. */
  #checkValue(record: KeyringRecord | undefined, first: MasterKey | undefined): void {
    if (record === undefined || record.state === 'deleting') return;
    const version = record.versions[0];
    if (record.state === 'deleted') {
      if (first !== undefined)
        throw unreadable(
          'the key was deleted, and a value is at its place again: delete it once more, or restore its keyring',
        );
      return;
    }
    if (version?.custody !== 'kes') return;
    if (first === undefined) {
      if (record.state !== 'creating') throw unreadable('the value of version 1 is gone, its keyring is not');
    } else if (first.fingerprint(Buffer.from(record.id, 'hex')) !== version.fingerprint) {
      throw unreadable('the value is not the one its keyring was made for');
    }
  }

  #note(name: KeyName, record: KeyringRecord): void {
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

  async #change(
    name: KeyName,
    by: Change,
    make: (record: KeyringRecord, first: MasterKey) => Promise<KeyringRecord | undefined>,
  ): Promise<KeyringRecord | undefined> {
    if (!this.hasRecords)
      throw new SelloError('SELLO_KEYRING_UNSUPPORTED', {
        detail: `the ${this.#store.kind} keystore has no compare-and-set`,
      });
    // Whoever changes a key looks whether it has a keyring, however old the list of them.
    this.#index.add(name);
    const { record, revision, first } = await this.#find(name);
    try {
      if (record?.state === 'deleting') throw new SelloError('SELLO_KEY_DELETION_PENDING');
      if (first === undefined) throw new SelloError('SELLO_KEY_NOT_FOUND');
      const before = record ?? { ...newKeyring(takeRandom(keyIdBytes), first, by), generation: 0 };
      const settled = before.state === 'creating' ? { ...before, state: 'enabled' as const } : before;
      const changed = await make(settled, first);
      if (changed === undefined) return undefined;
      // Before the keyring: a mark without need costs a look, a need without mark would be forgotten.
      if (isScheduled(changed) && !isScheduled(before)) await this.#mark(name);
      await this.#records.write(pathOf(name), formatKeyring(changed), revision);
      this.#note(name, changed);
      return changed;
    } finally {
      first?.wipe();
    }
  }

  async #withNewVersion(record: KeyringRecord, algorithm: KeyAlgorithm, by: Change): Promise<KeyringRecord> {
    const number = record.versions.length + 1;
    if (number > maxVersions)
      throw new SelloError('SELLO_KEY_CHANGE_REFUSED', {
        detail: `a key has at most ${String(maxVersions)} versions`,
      });
    const key = MasterKey.generate({ algorithm, createdBy: by.by, createdAt: instantOf(by.at) });
    const stored = formatStoredKey(key);
    const place = `${String(number)}.${takeRandom(8).toString('hex')}`;
    const version: VersionRecord = {
      version: number,
      state: 'enabled',
      custody: 'stored',
      algorithm,
      createdAt: by.at,
      changedAt: by.at,
      place,
      fingerprint: key.fingerprint(Buffer.from(record.id, 'hex')),
    };
    key.wipe();
    const changed = addVersion(record, version, by);
    try {
      await this.#records.write(`versions/${record.id}/${place}`, stored, 0);
    } finally {
      stored.fill(0);
    }
    return changed;
  }

  async #readVersion(record: KeyringRecord, version: VersionRecord): Promise<MasterKey> {
    const found = await this.#records.read(`versions/${record.id}/${version.place!}`);
    if (found === undefined) throw unreadable(`version ${String(version.version)} is gone`);
    const key = parsed(found.value);
    if (key.fingerprint(Buffer.from(record.id, 'hex')) === version.fingerprint) return key;
    key.wipe();
    throw unreadable(`version ${String(version.version)} is not the one its keyring was made for`);
  }

  /** Undefined: there is none. */
  async #readFirst(name: KeyName): Promise<MasterKey | undefined> {
    try {
      return parsed(await this.#store.read(name));
    } catch (error) {
      if (hasCode(error, 'SELLO_KEY_NOT_FOUND')) return undefined;
      throw error;
    }
  }

  async #hasValue(name: KeyName): Promise<boolean> {
    const first = await this.#readFirst(name);
    first?.wipe();
    return first !== undefined;
  }

  #readRecord(name: KeyName): Promise<StoredRecord | undefined> {
    return this.#records.read(pathOf(name));
  }

  async #removeVersions(id: string): Promise<void> {
    const folder = `versions/${id}`;
    for (;;) {
      const { names } = await this.#records.list(folder, { limit: listPage });
      if (names.length === 0) return;
      for (const name of names) {
        const found = await this.#records.read(`${folder}/${name}`);
        if (found === undefined) continue;
        found.value.fill(0);
        await this.#records.delete(`${folder}/${name}`, found.revision);
      }
    }
  }

  get #records(): RecordStore {
    return this.#store.records!;
  }
}

/** The keyring that a key without a record amounts to: version 1, enabled. */
function newKeyring(id: Buffer, first: MasterKey, by: Change): KeyringRecord {
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
        custody: 'kes',
        algorithm: first.algorithm,
        createdAt,
        changedAt: by.at,
        fingerprint: first.fingerprint(id),
      },
    ],
    minDecryptionVersion: 1,
    rewrapOnly: false,
    crossFace: false,
    rotateEvery: 0,
    rotateAt: 0,
  };
}

function endsLastSealing(record: KeyringRecord, change: KeyChange): boolean {
  return (
    change.kind === 'set-version' &&
    change.state === 'compromised' &&
    sealingVersion(record)?.version === change.version &&
    !hasOtherSealing(record, change.version)
  );
}

function isScheduled({ deletion, rotateAt, state }: KeyringRecord): boolean {
  return state === 'deleting' || deletion !== undefined || (rotateAt !== 0 && state !== 'deleted');
}

function pathOf(name: KeyName): string {
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
    return parseStoredKey(value);
  } finally {
    value.fill(0);
  }
}

function instantOf(seconds: number): Instant {
  return instantFromDate(new Date(seconds * 1000));
}

function unreadable(detail: string): SelloError {
  return new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail });
}
