/**
 * Keys and keyrings in one tenant's keystore: reads both as one, writes them in an order in which no stop in between can lose a key or
 * give a name the keyring of another key, and refuses a keyring that is older than one seen before.
 *
 *   NAME                        the key, in KES's layout, at KES's own place
 *   keyrings/NAME               its keyring record; present once the key was rotated or changed
 *   versions/ID/NUMBER.RANDOM   a later version's bytes. A version that lost a race leaves one that no keyring names.
 *   intermediate/ID/ID          keys that seal from memory for a key in custody, wrapped (custody-keys.ts)
 *   scheduled/NAME              present where the keyring has something to do at a time
 *   control/restore             when an administrator accepted an older state of the whole store
 */
import { hash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { takeRandom } from '../crypto/index.ts';
import { hasCode, SelloError } from '../errors.ts';
import type { KeyCustody, Keystore, RecordStore, StoredRecord } from '../keystores/contract.ts';
import { CustodyHead, formatCustodyHead, isCustodyHead, parseCustodyHead } from './custody-head.ts';
import { CustodyKeys, custodyContext } from './custody-keys.ts';
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
import { MasterKey, masterKeyBytes, type KeyFacts } from './material.ts';
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
  /** Bound into what a custodian keeps. */
  readonly tenant: string;
  /** How old the list of names with a keyring may be. */
  readonly indexLifeMs: number;
  /** An older keyring than one seen before is in the store. */
  readonly onRollback: (name: KeyName, detail: string) => void;
  readonly now?: () => number;
}

type First = MasterKey | CustodyHead;

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
  /** What stands at the key's own place. */
  readonly first: First | undefined;
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
  /** For versions in custody. */
  readonly #custodyKeys: CustodyKeys | undefined;
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
    const { custody, records } = store;
    this.#custodyKeys =
      custody === undefined || records === undefined
        ? undefined
        : new CustodyKeys({ ...custody, records, tenant: options.tenant });
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
    if (this.#mustAdopt(record, first)) {
      first.wipe();
      await this.#adopt(name);
      return this.load(name);
    }
    return new Keyring({
      record,
      first,
      custody: this.#custodyKeys,
      readVersion: (version) => this.#readVersion(record!, version),
    });
  }

  /** A new key from random bytes, here or with the custodian. @throws SelloError SELLO_KEY_EXISTS */
  async generate(name: KeyName, facts: KeyFacts, by: Change): Promise<void> {
    const { custody } = this.#store;
    if (custody === undefined) return this.create(name, MasterKey.generate(facts), by);
    // The custodian's keys cannot be made and taken back: nothing is begun for a name that is taken.
    if (await this.#hasValue(name)) throw new SelloError('SELLO_KEY_EXISTS');
    const id = takeRandom(keyIdBytes).toString('hex');
    await custody.keys.create(id);
    try {
      await this.#createHead(name, id, facts, by, custody.keys);
    } catch (error) {
      if (hasCode(error, 'SELLO_KEY_EXISTS')) await custody.keys.delete(id).catch(() => undefined);
      throw error;
    }
  }

  async #createHead(
    name: KeyName,
    id: string,
    facts: KeyFacts,
    by: Change,
    custody: KeyCustody,
  ): Promise<void> {
    const mac = takeRandom(masterKeyBytes);
    const context = custodyContext('hmac', this.#options.tenant, id);
    const [wrappedMac] = await custody.wrap(id, [{ key: mac, context }], 1).finally(() => mac.fill(0));
    const { createdAt, createdBy } = facts;
    const head = formatCustodyHead({ id, createdAt, createdBy, wrappedMac: wrappedMac! });
    if (await this.#mayHaveRecord(name)) await this.#announce(name, this.#headOf(head), by);
    await this.#store.create(name, head);
  }

  #headOf(value: Buffer): CustodyHead {
    const { custody } = this.#store;
    if (custody === undefined)
      throw unreadable(`the key is with a custodian, and the ${this.#store.kind} keystore has none`);
    const { tenant } = this.#options;
    const keepsMac = custody.mode.kind === 'cached';
    return new CustodyHead(parseCustodyHead(value), { custody: custody.keys, tenant, keepsMac });
  }

  /** Ends what is in memory. */
  close(): void {
    this.#custodyKeys?.wipe();
  }

  /** A key whose bytes were brought here (imported, or migrated) only opens; the custodian seals from now on. */
  #mustAdopt(record: KeyringRecord | undefined, first: First): boolean {
    if (this.#custodyKeys === undefined || !(first instanceof MasterKey)) return false;
    return record === undefined || !record.versions.some(({ custody }) => custody === 'transit');
  }

  async #adopt(name: KeyName): Promise<void> {
    const by = { by: 'custody', at: Math.floor(this.#now() / 1000) };
    try {
      await this.#change(name, by, async (record, first) =>
        this.#mustAdopt(record, first) ? this.#withNewVersion(record, 'AES256', by) : undefined,
      );
    } catch (error) {
      if (!hasCode(error, 'SELLO_RECORD_CONFLICT')) throw error; // another replica did it
    }
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
  async #announce(name: KeyName, key: First, by: Change): Promise<void> {
    const found = await this.#readRecord(name);
    if (found === undefined) return;
    const before = parseKeyring(found.value);
    if (before.state !== 'deleted') {
      const isFree = before.state === 'creating' && !(await this.#hasValue(name));
      if (!isFree) throw new SelloError('SELLO_KEY_EXISTS');
    }
    const record = next({ ...newKeyring(key, by), generation: before.generation }, by, { state: 'creating' });
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
      // Without a keyring nobody can have asked for its end.
      if (isDue) throw (await this.#hasValue(name)) ? noDeletion() : new SelloError('SELLO_KEY_NOT_FOUND');
      await this.#deleteWithoutRecord(name);
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
      await this.#removeCustody(record.id);
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

  async #deleteWithoutRecord(name: KeyName): Promise<void> {
    const first = this.#custodyKeys === undefined ? undefined : await this.#readFirst(name);
    await this.#store.delete(name);
    // Last: a key of which nothing is left but its custodian's part is gone for everybody.
    if (first instanceof CustodyHead) await this.#removeCustody(first.id);
    first?.wipe();
  }

  async #removeCustody(id: string): Promise<void> {
    if (this.#custodyKeys === undefined) return;
    await this.#custodyKeys.removeAll(id);
    await this.#store.custody!.keys.delete(id);
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
    let isInCustody = false;
    const changed = await this.#change(name, by, async (record) => {
      const { custody, place: at } = record.versions[version - 1] ?? {};
      const destroyed = destroyVersion(record, version, by);
      isInCustody = custody === 'transit';
      const kept = record.versions.find(
        (each) => each.custody === 'transit' && each.version < version && each.state !== 'destroyed',
      );
      if (isInCustody && kept !== undefined)
        throw new SelloError('SELLO_KEY_CHANGE_REFUSED', {
          detail: `Vault ends versions in their order: version ${String(kept.version)} is still there`,
        });
      if (custody === 'kes')
        throw new SelloError('SELLO_KEY_CHANGE_REFUSED', {
          detail:
            "version 1 lies at the key's own place, with its HMAC key: it can be disabled, and ends with the key",
        });
      place = at;
      return destroyed;
    });
    if (isInCustody) {
      // What intermediate keys of this version sealed is refused by its state; the keys themselves may serve nobody any more.
      await this.#custodyKeys!.rewrapAll(changed!.id);
      await this.#store.custody!.keys.destroyBelow(changed!.id, Number(place) + 1);
      return changed!;
    }
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
    if (this.#custodyKeys === undefined || first === undefined) return record;
    const known =
      record ??
      (first instanceof CustodyHead ? { ...newKeyring(first, ownChange(first)), generation: 0 } : undefined);
    if (known === undefined || !known.versions.some(({ custody }) => custody === 'transit')) return known;
    const latest = await this.#store.custody!.keys.latestVersion(known.id).catch((error: unknown) => {
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

  /** A keyring belongs to one value. */
  #checkValue(record: KeyringRecord | undefined, first: First | undefined): void {
    if (record === undefined || record.state === 'deleting') return;
    const version = record.versions[0];
    if (record.state === 'deleted') {
      if (first !== undefined)
        throw unreadable(
          'the key was deleted, and a value is at its place again: delete it once more, or restore its keyring',
        );
      return;
    }
    if (version?.custody === 'stored') return;
    if (first === undefined) {
      if (record.state !== 'creating') throw unreadable('the value of version 1 is gone, its keyring is not');
      return;
    }
    const isOfRecord =
      first instanceof CustodyHead
        ? version?.custody === 'transit' && first.id === record.id
        : version?.custody === 'kes' &&
          first.fingerprint(Buffer.from(record.id, 'hex')) === version.fingerprint;
    if (!isOfRecord) {
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
    make: (record: KeyringRecord, first: First) => Promise<KeyringRecord | undefined>,
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
      const before = record ?? { ...newKeyring(first, by), generation: 0 };
      const settled = before.state === 'creating' ? { ...before, state: 'enabled' as const } : before;
      const changed = await make(settled, first);
      if (changed === undefined) return undefined;
      // Before the keyring: a mark without need costs a look, a need without mark would be forgotten.
      if (isScheduled(changed) && !isScheduled(before)) await this.#mark(name);
      await this.#records.write(pathOf(name), formatKeyring(changed), revision);
      this.#note(name, changed);
      await this.#makeInCustody(changed);
      return changed;
    } finally {
      first?.wipe();
    }
  }

  /**
   * The custodian's part of a new version comes after the keyring's, so that of two administrators at once one makes it. One that was
   * not made, because this process ended here, is made with the next.
   */
  async #makeInCustody({ id, versions }: KeyringRecord): Promise<void> {
    const wanted = Number(versions.findLast(({ custody }) => custody === 'transit')?.place ?? 0);
    if (wanted === 0 || this.#custodyKeys === undefined) return;
    const { keys, mode } = this.#store.custody!;
    if (wanted === 1) await keys.create(id);
    let latest = await keys.latestVersion(id);
    const isNew = latest < wanted;
    while (latest < wanted) latest = await keys.rotate(id);
    if (isNew && mode.kind === 'cached') await this.#custodyKeys.rewrapAll(id);
  }

  async #withNewVersion(record: KeyringRecord, algorithm: KeyAlgorithm, by: Change): Promise<KeyringRecord> {
    const number = record.versions.length + 1;
    if (number > maxVersions)
      throw new SelloError('SELLO_KEY_CHANGE_REFUSED', {
        detail: `a key has at most ${String(maxVersions)} versions`,
      });
    if (this.#custodyKeys !== undefined) {
      const place = record.versions.filter(({ custody }) => custody === 'transit').length + 1;
      const inCustody: VersionRecord = {
        version: number,
        state: 'enabled',
        custody: 'transit',
        algorithm: 'AES256',
        createdAt: by.at,
        changedAt: by.at,
        place: String(place),
      };
      return addVersion(record, inCustody, by);
    }
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
  async #readFirst(name: KeyName): Promise<First | undefined> {
    let value: Buffer;
    try {
      value = await this.#store.read(name);
    } catch (error) {
      if (hasCode(error, 'SELLO_KEY_NOT_FOUND')) return undefined;
      throw error;
    }
    return isCustodyHead(value) ? this.#headOf(value) : parsed(value);
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
function newKeyring(first: First, by: Change): KeyringRecord {
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

function noDeletion(): SelloError {
  return new SelloError('SELLO_KEY_CHANGE_REFUSED', { detail: 'no deletion is scheduled' });
}

function unreadable(detail: string): SelloError {
  return new SelloError('SELLO_STORED_KEY_UNREADABLE', { detail });
}
