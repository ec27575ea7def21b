/**
 * Changes of keys and keyrings in one tenant's keystore, in an order in which no stop in between can lose a key or give a name the
 * keyring of another key. What is read for them, and where each thing lies: keyring-reader.ts.
 */
import { takeRandom } from '../crypto/index.ts';
import { hasCode, SelloError } from '../errors.ts';
import type { KeyCustody, Keystore } from '../keystores/contract.ts';
import { removeRecords } from '../keystores/records.ts';
import type { KeyAlgorithm } from './algorithm.ts';
import { CustodyHead, formatCustodyHead } from './custody-head.ts';
import { CustodyKeys, custodyContext } from './custody-keys.ts';
import { keyIdBytes } from './envelope.ts';
import { instantFromDate, type Instant } from './instant.ts';
import { Keyring } from './keyring.ts';
import {
  isOfRecord,
  KeyringReader,
  newKeyring,
  pathOf,
  unreadable,
  type First,
  type KeyringReaderOptions,
} from './keyring-reader.ts';
import {
  formatKeyring,
  maxVersions,
  parseKeyring,
  type KeyringRecord,
  type TransitSettings,
  type VersionRecord,
} from './keyring-record.ts';
import { isScheduled, KeyringSchedule, type DueWork } from './keyring-schedule.ts';
import { MasterKey, masterKeyBytes, type KeyFacts } from './material.ts';
import type { KeyName } from './names.ts';
import { isOfKey, leavesNothingToSeal, type HoldChange } from './restraint.ts';
import { formatPlaceholder, Placeholder } from './placeholder.ts';
import { settlementOf, withNotes, type OpenHold } from './settle-holds.ts';
import { formatStoredKey } from './stored-key.ts';
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

/** When two change one keyring at once. */
const mostAttempts = 5;
/** A key that is not finished after this long never will be by who began it. */
const abandonedAfterSeconds = 60;

export class KeyringStore {
  readonly #store: Keystore;
  readonly #options: KeyringReaderOptions;
  readonly #now: () => number;
  /** For versions in custody. */
  readonly #custodyKeys: CustodyKeys | undefined;
  readonly #schedule: KeyringSchedule | undefined;
  /** What the store holds, as far as one has to know before a change; and what of it was seen before. */
  readonly reader: KeyringReader;

  constructor(store: Keystore, options: KeyringReaderOptions) {
    this.#store = store;
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.reader = new KeyringReader(store, options);
    const { custody, records } = store;
    this.#schedule = records === undefined ? undefined : new KeyringSchedule(records);
    this.#custodyKeys =
      custody === undefined || records === undefined
        ? undefined
        : new CustodyKeys({ ...custody, records, tenant: options.tenant });
  }

  /** Keys for which something is due. */
  async due(nowSeconds: number): Promise<DueWork[]> {
    return (await this.#schedule?.due(nowSeconds)) ?? [];
  }

  /** @throws SelloError SELLO_KEY_NOT_FOUND, SELLO_STORED_KEY_UNREADABLE, SELLO_KEYRING_ROLLED_BACK, SELLO_STORE_… */
  async load(name: KeyName): Promise<Keyring> {
    const { record, first } = await this.reader.find(name);
    if (first === undefined) {
      if (record?.state === 'deleting') throw new SelloError('SELLO_KEY_DELETION_PENDING');
      throw new SelloError('SELLO_KEY_NOT_FOUND');
    }
    if (record?.state === 'creating' && record.transit !== undefined) {
      first.wipe();
      await this.#settle(name, { by: record.changedBy, at: Math.floor(this.#now() / 1000) });
      return this.load(name);
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
      readVersion: (version) => this.reader.readVersion(record!, version),
    });
  }

  /** A new key from random bytes, here or with the custodian. @throws SelloError SELLO_KEY_EXISTS */
  async generate(name: KeyName, facts: KeyFacts, by: Change): Promise<void> {
    const { custody } = this.#store;
    if (custody === undefined) return this.create(name, MasterKey.generate(facts), by);
    // The custodian's keys cannot be made and taken back: nothing is begun for a name that is taken.
    if (await this.reader.hasValue(name)) throw new SelloError('SELLO_KEY_EXISTS');
    const id = takeRandom(keyIdBytes).toString('hex');
    await custody.keys.create(id);
    try {
      await this.#createHead(name, id, facts, by, custody.keys);
    } catch (error) {
      if (hasCode(error, 'SELLO_KEY_EXISTS')) await custody.keys.delete(id).catch(() => undefined);
      throw error;
    }
  }

  /**
   * A new key for the Transit face: it has its keyring from the first day, and no version in KES's layout, which does not say by which
   * face it was sealed. Whoever finds a keyring that was begun and has no value finishes what it says: of several who make a key of one
   * name at once all make the same.
   * @throws SelloError SELLO_KEY_EXISTS, SELLO_KEYRING_UNSUPPORTED
   */
  async generateForTransit(
    name: KeyName,
    facts: KeyFacts,
    made: Pick<KeyringRecord, 'rotateAt' | 'rotateEvery'> & { readonly transit: TransitSettings },
    by: Change,
  ): Promise<void> {
    this.#needRecords();
    this.reader.expectRecord(name);
    if (await this.reader.hasValue(name)) throw new SelloError('SELLO_KEY_EXISTS');
    if (await this.#finishBegun(name, facts)) throw new SelloError('SELLO_KEY_EXISTS');
    // Before the keyring: a mark without need costs a look, a need without mark would be forgotten.
    if (made.rotateAt !== 0) await this.#schedule!.mark(name);
    const id = takeRandom(keyIdBytes).toString('hex');
    if (this.#store.custody === undefined) await this.#beginStored(name, id, facts, made, by);
    else await this.#beginInCustody(name, id, facts, made, by);
    // Somebody who had not heard of the keyring may have put another key here: then that one is the key.
    if ((await this.#settle(name, by)).id === id) return;
    await this.#removeVersions(id);
    await this.#store.custody?.keys.delete(id);
    throw new SelloError('SELLO_KEY_EXISTS');
  }

  async #beginStored(
    name: KeyName,
    id: string,
    facts: KeyFacts,
    made: Partial<KeyringRecord>,
    by: Change,
  ): Promise<void> {
    const key = MasterKey.generate({ ...facts, createdAt: instantOf(by.at), createdBy: by.by });
    const value = Placeholder.of(key, facts);
    try {
      const version = await this.#storeVersion(id, 1, key, by);
      const valueFingerprint = value.fingerprint(Buffer.from(id, 'hex'));
      try {
        await this.#announce(name, value, by, { ...made, id, versions: [version], valueFingerprint });
      } catch (error) {
        // Of any other failure nobody knows whether the keyring was written, and names these bytes.
        if (hasCode(error, 'SELLO_KEY_EXISTS')) await this.#removeVersions(id).catch(() => undefined);
        throw error;
      }
      await this.#placeValue(name, value);
    } finally {
      key.wipe();
      value.wipe();
    }
  }

  async #beginInCustody(
    name: KeyName,
    id: string,
    facts: KeyFacts,
    made: Partial<KeyringRecord>,
    by: Change,
  ): Promise<void> {
    if (facts.algorithm !== 'AES256')
      throw new SelloError('SELLO_KEYRING_UNSUPPORTED', {
        detail: 'versions that the custodian makes are AES-256',
      });
    const { keys } = this.#store.custody!;
    await keys.create(id);
    const head = await this.#newHead(id, facts, keys);
    try {
      await this.#announce(name, this.reader.headOf(head), by, made);
    } catch (error) {
      if (hasCode(error, 'SELLO_KEY_EXISTS')) await keys.delete(id).catch(() => undefined);
      throw error;
    }
    await this.#place(name, head);
  }

  /** Puts the value to a keyring of the Transit face that was begun. @returns false when there is none */
  async #finishBegun(name: KeyName, facts: KeyFacts): Promise<boolean> {
    const found = await this.reader.readRecord(name);
    if (found === undefined) return false;
    const record = parseKeyring(found.value);
    if (record.state !== 'creating' || record.transit === undefined) return false;
    const { custody } = this.#store;
    if (custody === undefined) {
      const key = await this.reader.readVersion(record, record.versions[0]!);
      const value = Placeholder.of(key, { ...facts, algorithm: key.algorithm });
      try {
        await this.#placeValue(name, value);
      } finally {
        key.wipe();
        value.wipe();
      }
    } else await this.#place(name, await this.#newHead(record.id, facts, custody.keys));
    return true;
  }

  async #placeValue(name: KeyName, value: Placeholder): Promise<void> {
    const stored = formatPlaceholder(value);
    try {
      await this.#place(name, stored);
    } finally {
      stored.fill(0);
    }
  }

  /** Puts what belongs at a key's own place, unless somebody else has finished it. */
  async #place(name: KeyName, stored: Buffer): Promise<void> {
    try {
      await this.#store.create(name, stored);
    } catch (error) {
      if (!hasCode(error, 'SELLO_KEY_EXISTS')) throw error;
    }
  }

  /** A keyring that was begun is the value's that is there now, and stays it. @returns the record as it is */
  async #settle(name: KeyName, by: Change): Promise<KeyringRecord> {
    for (let attempt = 1; ; attempt++) {
      const { record, first } = await this.reader.find(name);
      first?.wipe();
      if (first === undefined || record === undefined) throw new SelloError('SELLO_KEY_NOT_FOUND');
      if (record.state !== 'creating') return record;
      try {
        const settled = await this.#change(name, by, async (begun, value) => {
          if (isOfRecord(begun, value)) return next(begun, by, {});
          if (value instanceof Placeholder) throw unreadable('the value is of another keyring');
          return { ...newKeyring(value, by), generation: begun.generation + 1 };
        });
        return settled!;
      } catch (error) {
        if (!hasCode(error, 'SELLO_RECORD_CONFLICT') || attempt === mostAttempts) throw error;
      }
    }
  }

  #needRecords(): void {
    if (!this.reader.hasRecords)
      throw new SelloError('SELLO_KEYRING_UNSUPPORTED', {
        detail: `the ${this.#store.kind} keystore has no compare-and-set`,
      });
  }

  async #createHead(
    name: KeyName,
    id: string,
    facts: KeyFacts,
    by: Change,
    custody: KeyCustody,
  ): Promise<void> {
    const head = await this.#newHead(id, facts, custody);
    if (await this.reader.mayHaveRecord(name)) await this.#announce(name, this.reader.headOf(head), by);
    await this.#store.create(name, head);
  }

  /** The head of a key that the custodian has, with a new HMAC key. */
  async #newHead(id: string, facts: KeyFacts, custody: KeyCustody): Promise<Buffer> {
    const mac = takeRandom(masterKeyBytes);
    const context = custodyContext('hmac', this.#options.tenant, id);
    const [wrappedMac] = await custody.wrap(id, [{ key: mac, context }], 1).finally(() => mac.fill(0));
    const { createdAt, createdBy } = facts;
    return formatCustodyHead({ id, createdAt, createdBy, wrappedMac: wrappedMac! });
  }

  /** Ends keys in memory whose time is over. */
  sweep(): void {
    this.#custodyKeys?.sweep();
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
      if (this.reader.hasRecords && (await this.reader.mayHaveRecord(name)))
        await this.#announce(name, key, by);
      await this.#store.create(name, stored);
    } finally {
      key.wipe();
      stored.fill(0);
    }
  }

  /**
   * A name whose keyring is a leftover gets a new one before its value, so that it can only be this value's. One that has none gets one
   * only with what is `made` for it.
   */
  async #announce(name: KeyName, key: First, by: Change, made?: Partial<KeyringRecord>): Promise<void> {
    const found = await this.reader.readRecord(name);
    if (found === undefined && made === undefined) return;
    const before = found === undefined ? undefined : parseKeyring(found.value);
    if (before !== undefined && before.state !== 'deleted') {
      const isFree = before.state === 'creating' && !(await this.reader.hasValue(name));
      // One of the Transit face may be in use as soon as it has its value: it is finished, never replaced.
      if (isFree && before.transit !== undefined) await this.#finishBegun(name, key);
      if (!isFree || before.transit !== undefined) throw new SelloError('SELLO_KEY_EXISTS');
      // Of somebody who is at it: replaced, it would seal what nobody opens.
      if (made !== undefined && by.at - before.changedAt < abandonedAfterSeconds)
        throw new SelloError('SELLO_KEY_EXISTS');
    }
    const record = next({ ...newKeyring(key, by), ...made, generation: before?.generation ?? 0 }, by, {
      state: 'creating',
    });
    try {
      await this.#store.records!.write(pathOf(name), formatKeyring(record), found?.revision ?? 0);
    } catch (error) {
      throw hasCode(error, 'SELLO_RECORD_CONFLICT')
        ? new SelloError('SELLO_KEY_EXISTS', { cause: error })
        : error;
    }
    this.reader.note(name, record);
  }

  /**
   * Ends the key at once, as KES does. Run again, it finishes what a stop left.
   * @throws SelloError SELLO_KEY_NOT_FOUND, SELLO_KEY_DELETION_PENDING for a key whose deletion is scheduled
   */
  async delete(name: KeyName, by: Change, isDue = false): Promise<void> {
    const recorded = this.reader.hasRecords && (await this.reader.mayHaveRecord(name));
    const found = recorded ? await this.reader.readRecord(name) : undefined;
    if (found === undefined) {
      // Without a keyring nobody can have asked for its end.
      if (isDue)
        throw (await this.reader.hasValue(name)) ? noDeletion() : new SelloError('SELLO_KEY_NOT_FOUND');
      await this.#deleteWithoutRecord(name);
      return;
    }
    const before = parseKeyring(found.value);
    this.reader.checkSeen(name, before);
    if (before.state === 'pending-deletion' && !isDue) throw new SelloError('SELLO_KEY_DELETION_PENDING');
    let { revision } = found;
    let record = before;
    if (before.state !== 'deleted') {
      record = isDue
        ? beginDeletion(before, by)
        : next(before, by, { state: 'deleting', deletion: undefined });
      revision = await this.#store.records!.write(pathOf(name), formatKeyring(record), revision);
      this.reader.note(name, record);
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
    await this.#store.records!.write(pathOf(name), formatKeyring(ended), revision);
    this.reader.note(name, ended);
    if (!wasThere && before.state === 'creating') throw new SelloError('SELLO_KEY_NOT_FOUND');
  }

  async #deleteWithoutRecord(name: KeyName): Promise<void> {
    const first = this.#custodyKeys === undefined ? undefined : await this.reader.readFirst(name);
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

  /**
   * Writes holds into the keyring, each once: what of them {@link settlementOf} says.
   * @returns the record, where it was changed, and the ids of those that its state refuses
   */
  async settle(
    name: KeyName,
    holds: readonly OpenHold[],
    by: Change,
  ): Promise<{ readonly record: KeyringRecord | undefined; readonly refused: ReadonlySet<string> }> {
    const refused = new Set<string>();
    const settled = await this.#change(name, by, async (record, first) => {
      const notes: string[] = [];
      let refusal: unknown;
      let changed = record;
      // Last those that were asked for here: what is remembered longest.
      for (const hold of [...holds].sort((a, b) => Number(a.isOurs) - Number(b.isOurs))) {
        if (!isOfKey({ first, stored: record }, { id: hold.keyId, createdAt: hold.createdAt })) continue;
        const settlement = settlementOf(changed, hold, by.at);
        if (typeof settlement === 'string') continue;
        const { change, note } = settlement;
        try {
          if (change !== undefined)
            changed = await this.#withHold(changed, change, {
              ...by,
              by: hold.isOurs ? hold.by : `a peer, for ${hold.by}`,
            });
          notes.push(note);
        } catch (error) {
          if (!hasCode(error, 'SELLO_KEY_CHANGE_REFUSED')) throw error;
          refusal ??= error;
          refused.add(hold.id);
        }
      }
      if (notes.length === 0 && refusal !== undefined) throw refusal;
      if (notes.length === 0) return undefined;
      return next(
        { ...changed, generation: record.generation },
        { ...by, by: changed.changedBy },
        { holds: withNotes(record, notes) },
      );
    });
    return { record: settled, refused };
  }

  async #withHold(record: KeyringRecord, change: HoldChange, by: Change): Promise<KeyringRecord> {
    // Nobody can be asked any more whether another version shall take over: a restriction comes first.
    const sealing = leavesNothingToSeal(record, change)
      ? await this.#withNewVersion(record, sealingVersion(record)!.algorithm, by)
      : record;
    return applyChange(sealing, change, by);
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
    const found = await this.#store.records!.read(path);
    if (found !== undefined) {
      found.value.fill(0);
      await this.#store.records!.delete(path, found.revision);
    }
    return changed!;
  }

  async #change(
    name: KeyName,
    by: Change,
    make: (record: KeyringRecord, first: First) => Promise<KeyringRecord | undefined>,
  ): Promise<KeyringRecord | undefined> {
    this.#needRecords();
    // Whoever changes a key looks whether it has a keyring, however old the list of them.
    this.reader.expectRecord(name);
    const { record, revision, first } = await this.reader.find(name);
    try {
      if (record?.state === 'deleting') throw new SelloError('SELLO_KEY_DELETION_PENDING');
      if (first === undefined) throw new SelloError('SELLO_KEY_NOT_FOUND');
      const before = record ?? { ...newKeyring(first, by), generation: 0 };
      const settled = before.state === 'creating' ? { ...before, state: 'enabled' as const } : before;
      const changed = await make(settled, first);
      if (changed === undefined) return undefined;
      // Before the keyring: a mark without need costs a look, a need without mark would be forgotten.
      if (isScheduled(changed) && !isScheduled(before)) await this.#schedule!.mark(name);
      await this.#store.records!.write(pathOf(name), formatKeyring(changed), revision);
      this.reader.note(name, changed);
      if (placesOf(changed) > placesOf(before)) await this.#makeInCustody(changed);
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
      const place = placesOf(record) + 1;
      // The first one is the custodian's key itself: a keyring that names it before it is there would not open any more.
      if (place === 1) await this.#store.custody!.keys.create(record.id);
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
    // What its state refuses comes before anything is written.
    addVersion(record, record.versions[0]!, by);
    const key = MasterKey.generate({ algorithm, createdBy: by.by, createdAt: instantOf(by.at) });
    try {
      return addVersion(record, await this.#storeVersion(record.id, number, key, by), by);
    } finally {
      key.wipe();
    }
  }

  /** A version's bytes, stored; no keyring names them yet. */
  async #storeVersion(id: string, number: number, key: MasterKey, by: Change): Promise<VersionRecord> {
    const stored = formatStoredKey(key);
    const place = `${String(number)}.${takeRandom(8).toString('hex')}`;
    try {
      await this.#store.records!.write(`versions/${id}/${place}`, stored, 0);
    } finally {
      stored.fill(0);
    }
    return {
      version: number,
      state: 'enabled',
      custody: 'stored',
      algorithm: key.algorithm,
      createdAt: by.at,
      changedAt: by.at,
      place,
      fingerprint: key.fingerprint(Buffer.from(id, 'hex')),
    };
  }

  #removeVersions(id: string): Promise<void> {
    return removeRecords(this.#store.records!, `versions/${id}`);
  }
}

/** Versions with a custodian. */
function placesOf({ versions }: KeyringRecord): number {
  return versions.filter(({ custody }) => custody === 'transit').length;
}

function endsLastSealing(record: KeyringRecord, change: KeyChange): boolean {
  return (
    change.kind === 'set-version' &&
    change.state === 'compromised' &&
    sealingVersion(record)?.version === change.version &&
    !hasOtherSealing(record, change.version)
  );
}

function instantOf(seconds: number): Instant {
  return instantFromDate(new Date(seconds * 1000));
}

function noDeletion(): SelloError {
  return new SelloError('SELLO_KEY_CHANGE_REFUSED', { detail: 'no deletion is scheduled' });
}
