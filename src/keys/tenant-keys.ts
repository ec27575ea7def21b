/**
 * A tenant's master keys: what every wire face calls. Hot calls return a value at once when the key is cached and a
 * promise only when the keystore has to be asked.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Face } from '../access/operations.ts';
import type { CacheConfig } from '../config/model.ts';
import { inSpan } from '../correlation.ts';
import { eachOf } from '../concurrency.ts';
import { wipe } from '../crypto/index.ts';
import { hasCode, SelloError } from '../errors.ts';
import type { Keystore, ListOptions, NamePage, RecordStore } from '../keystores/index.ts';
import { KeyCache } from './cache.ts';
import type { DataKey } from './ciphertext.ts';
import type { KeyAlgorithm } from './algorithm.ts';
import { envelopeVersion, isEnvelope, parseEnvelope } from './envelope.ts';
import { instantFromDate } from './instant.ts';
import { UnknownVersion, type Keyring, type KeyDescription } from './keyring.ts';
import type { DueWork } from './keyring-schedule.ts';
import { KeyringStore } from './keyring-store.ts';
import { newKeyring, type SeenKeyring } from './keyring-reader.ts';
import { defaultTransitSettings, type KeyringRecord, type TransitSettings } from './keyring-record.ts';
import { MasterKey, type KeyFacts } from './material.ts';
import type { MessageSeries } from './series.ts';
import type { KeyName } from './names.ts';
import {
  applyChange,
  destroyVersion,
  isDue,
  sealingVersion,
  versionOf,
  type Change,
  type KeyChange,
} from './transitions.ts';
import { UseLog, type KeyUse } from './use-log.ts';
import type { HoldFiles } from './hold-files.ts';
import type { PeerItem } from './peer-item.ts';
import {
  isHoldChange,
  isOfRecord,
  restrictsMore,
  toldStateOf,
  type Hold,
  type HoldChange,
} from './restraint.ts';
import { hasHold, settlementOf } from './settle-holds.ts';
import { KeyRestraints, type Held } from './restraints.ts';

type StoreOperation = 'create' | 'read' | 'delete' | 'list' | 'health' | 'change';

/** Something a person has to look at now. */
export interface KeyAlarm {
  readonly kind: 'compromised-version-used' | 'rolled-back';
  readonly key: KeyName;
  readonly detail: string;
}

export interface TenantKeysOptions {
  /** Whose keys: bound into every envelope. */
  readonly tenant?: string;
  /** Called when a key of this tenant ends or changes here, for the other processes. */
  readonly onInvalidate?: (name: KeyName) => void;
  readonly onAlarm?: (alarm: KeyAlarm) => void;
  /** Told how long each keystore call took, and how it ended. */
  readonly metrics?: ((operation: StoreOperation, outcome: string, seconds: number) => void) | undefined;
  /** How often keys in memory are compared with the store: half of `propagation`. */
  readonly revalidateMs?: number;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  /** Where holds survive a restart; nowhere unless given. */
  readonly holdFiles?: HoldFiles | undefined;
  /** Told what peers and the other processes of this server have to know of keys; a token for the latter alone. */
  readonly onItem?: (item: PeerItem, origin: 'here' | 'told', token?: string) => void;
  /** Waits a moment for the peers to hear what was told last. */
  readonly spread?: () => Promise<SpreadCount>;
  /** A hold is over because the store has it: for the other processes. */
  readonly onSettled?: (id: string) => void;
}

/** Versions of a key as callers may name them. */
export interface VersionRange {
  /** Ciphertexts of lower ones are refused. */
  readonly least: number;
  readonly latest: number;
  /** Who names a version to seal with may name no lower one. 0: as {@link least}. */
  readonly leastSealing: number;
  /** Of the newest. */
  readonly algorithm: KeyAlgorithm;
}

/** Peers that are known, and those that took what this process had to tell. */
export interface SpreadCount {
  readonly known: number;
  readonly told: number;
}

/** What came of a change that may be held. */
export type ChangeOutcome =
  | { readonly record: KeyringRecord }
  /** The store could not be reached: in force here, and written when it is back. */
  | (Held & { readonly isKnown: boolean })
  /** Holds were taken back that the store had not seen. */
  | { readonly withdrawn: readonly Hold[] };

/** One of a batch to rewrap. */
export interface RewrapItem {
  readonly ciphertext: Buffer;
  readonly context: Buffer;
  /** For a ciphertext in KES's layout, which names none. */
  readonly face?: Exclude<Face, 'admin'> | undefined;
  /** To be sealed with; the newest enabled one unless given. */
  readonly version?: number | undefined;
}

export type Rewrapped =
  | { readonly ciphertext: Buffer; readonly from: number; readonly version: number }
  | { readonly error: SelloError };

/** A keyring is looked up anew for a ciphertext of an unknown version at most this often. */
const refreshEveryMs = 1000;

/** Keys compared with the store at a time. */
const revalidatedAtOnce = 16;

/** The list of names with a keyring is this old at most, where nobody says how fast changes must arrive. */
const defaultIndexLifeMs = 10_000;

/** Until a change that may be held is held, though the store has not answered: so much of `propagation` goes to the peers. */
const holdAfterShare = 0.25;

/** A told state that the store does not confirm is believed for so many times `propagation`. */
const lapseShares = 10;

/** A keyring that changes again and again while one call works with it. */
const mostRestarts = 5;

export class TenantKeys {
  readonly #store: Keystore;
  readonly #keyrings: KeyringStore;
  readonly #tenant: string;
  #cache: KeyCache<Keyring>;
  readonly #uses: UseLog;
  readonly #now: () => number;
  readonly #options: TenantKeysOptions;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #ends: (() => void)[] = [];
  readonly #propagationMs: number;
  /** What keeps keys from being used beside their records. */
  readonly restraints: KeyRestraints;
  /** When a key was looked up anew last, and the look under way. */
  readonly #refreshes = new Map<KeyName, { startedMs: number; running: Promise<void> | undefined }>();

  constructor(store: Keystore, config: CacheConfig, options: TenantKeysOptions = {}) {
    this.#store = store;
    this.#options = options;
    this.#tenant = options.tenant ?? '';
    this.#now = options.now ?? Date.now;
    const { revalidateMs } = options;
    this.#propagationMs = revalidateMs === undefined ? defaultIndexLifeMs : 2 * revalidateMs;
    this.restraints = new KeyRestraints({
      held: (name) => this.#cache.held(name),
      files: options.holdFiles,
      lapseMs: lapseShares * this.#propagationMs,
      now: this.#now,
      onItem: (item, origin, token) => options.onItem?.(item, origin, token),
      onSettled: (id) => options.onSettled?.(id),
    });
    this.#keyrings = new KeyringStore(store, {
      tenant: this.#tenant,
      now: this.#now,
      indexLifeMs: revalidateMs === undefined ? defaultIndexLifeMs : 2 * revalidateMs,
      onRollback: (key, detail) => options.onAlarm?.({ kind: 'rolled-back', key, detail }),
    });
    if (revalidateMs !== undefined) {
      let isRunning = false;
      this.#timer = setInterval(() => {
        if (isRunning) return;
        isRunning = true;
        void this.revalidate().finally(() => (isRunning = false));
      }, revalidateMs).unref();
    }
    this.#cache = this.#cacheOf(config);
    this.#uses = new UseLog(store.records, this.#now);
  }

  /** Goes on with other cache settings: nothing that was held stays, the store stays open. */
  useCache(config: CacheConfig): void {
    const before = this.#cache;
    this.#cache = this.#cacheOf(config);
    before.clear();
  }

  #cacheOf(config: CacheConfig): KeyCache<Keyring> {
    return new KeyCache({
      ...config,
      load: (name) => this.#read(name),
      dispose: (key) => key.wipe(),
    });
  }

  /**
   * Compares every key in memory with the store, so that what another replica deleted, replaced or changed takes effect here too:
   * within two of these rounds. A store that cannot be asked leaves things as they are; `offline` bounds that.
   */
  async revalidate(): Promise<void> {
    this.#keyrings.sweep();
    // Also where the store cannot be asked: a key that was loaded while a hold came in.
    this.restraints.applyAll();
    await this.#keyrings.reader.refreshIndex().catch(() => undefined);
    await eachOf(this.#cache.entries(), revalidatedAtOnce, ([name, key]) => this.#compare(name, key));
  }

  async #compare(name: KeyName, key: Keyring): Promise<void> {
    let stored: Keyring;
    try {
      stored = await this.#read(name);
    } catch (error) {
      // What the store holds and cannot give any more is not served from memory either.
      if (!(error instanceof SelloError && error.retryable)) this.#cache.invalidate(name);
      return;
    }
    if (key.isWiped || !key.equals(stored)) {
      this.#cache.invalidate(name);
      // Another replica may be cut off from the store, and not from this one.
      if (stored.stored !== undefined && stored.generation > key.generation)
        this.#tell(name, stored.stored, 'told');
    } else this.restraints.confirm(name, key);
    stored.wipe();
  }

  async #read(name: KeyName): Promise<Keyring> {
    return this.restraints.read(name, await this.#timed('read', () => this.#keyrings.load(name)));
  }

  #tell(name: KeyName, record: KeyringRecord, origin: 'here' | 'told'): void {
    this.#options.onItem?.({ kind: 'state', key: name, state: toldStateOf(record) }, origin);
  }

  /** Runs a keystore call and tells how long it took and how it ended. */
  async #timed<T>(operation: StoreOperation, call: () => Promise<T>): Promise<T> {
    const observe = this.#options.metrics;
    if (observe === undefined) return call();
    const startMs = performance.now();
    let outcome = 'ok';
    try {
      return await inSpan(
        `keystore ${operation}`,
        { 'sello.keystore.operation': operation, 'sello.tenant': this.#tenant },
        codeOf,
        call,
      );
    } catch (error) {
      outcome = codeOf(error);
      throw error;
    } finally {
      observe(operation, outcome, (performance.now() - startMs) / 1000);
    }
  }

  get cache(): KeyCache<Keyring> {
    return this.#cache;
  }

  /** Keystore calls go to another machine, which should be told whom they are for. */
  get isRemote(): boolean {
    return this.#store.isRemote === true;
  }

  get store(): Keystore {
    return this.#store;
  }

  async create(name: KeyName, by: string): Promise<void> {
    await this.#write(name, by, (change) => this.#keyrings.generate(name, factsNow('AES256', by), change));
  }

  /** Copies `bytes`; the caller wipes its own. */
  async importKey(name: KeyName, bytes: Buffer, algorithm: KeyAlgorithm, by: string): Promise<void> {
    const key = MasterKey.import(bytes, factsNow(algorithm, by));
    await this.#write(name, by, (change) => this.#keyrings.create(name, key, change));
  }

  async #write(name: KeyName, by: string, write: (change: Change) => Promise<void>): Promise<void> {
    try {
      await this.#timed('create', () => write(this.#by(by)));
    } finally {
      // Whatever was believed of this name, absence included, is out of date now.
      this.#ended(name);
    }
  }

  describe(name: KeyName): KeyDescription | Promise<KeyDescription> {
    const key = this.#key(name);
    return key instanceof Promise ? key.then((loaded) => loaded.describe()) : key.describe();
  }

  async delete(name: KeyName, by = ''): Promise<void> {
    const key = this.#cache.held(name);
    const ending =
      key === undefined
        ? undefined
        : (key.stored ?? newKeyring(key.first, { by: key.first.createdBy, at: 0 }));
    // Use ends before the store is asked and again after, for a load that began in between.
    this.#cache.invalidate(name);
    try {
      await this.#timed('delete', () => this.#keyrings.delete(name, this.#by(by)));
      if (ending !== undefined)
        this.#tell(name, { ...ending, state: 'deleted', generation: ending.generation + 2 }, 'here');
    } finally {
      this.#ended(name);
    }
  }

  /** Another process changed this key: what is held of it must not be used again. */
  forget(name: string): void {
    this.#keyrings.reader.expectRecord(name);
    this.#cache.invalidate(name as KeyName);
  }

  #ended(name: KeyName): void {
    this.#cache.invalidate(name);
    this.#options.onInvalidate?.(name);
  }

  list(options: ListOptions): Promise<NamePage> {
    return this.#timed('list', () => this.#store.list(options));
  }

  health(): Promise<void> {
    return this.#timed('health', () => this.#store.health());
  }

  /** A key of the Transit face. @throws SelloError SELLO_KEY_EXISTS, SELLO_KEYRING_UNSUPPORTED */
  async createForTransit(
    name: KeyName,
    {
      algorithm,
      derived,
      rotateEvery = 0,
    }: { readonly algorithm: KeyAlgorithm; readonly derived: boolean; readonly rotateEvery?: number },
    by: string,
  ): Promise<void> {
    const transit = { ...defaultTransitSettings, derived };
    await this.#write(name, by, (change) => {
      const made = { transit, rotateEvery, rotateAt: rotateEvery === 0 ? 0 : change.at + rotateEvery };
      return this.#keyrings.generateForTransit(name, factsNow(algorithm, by), made, change);
    });
  }

  /**
   * What the Transit face has to know of a key before it uses it. A key that another face made gets its keyring here when it is to
   * seal, because what that face seals names the key by its id.
   * @throws SelloError SELLO_KEY_NOT_FOUND, SELLO_KEYRING_UNSUPPORTED
   */
  transitSettings(name: KeyName, willSeal: boolean): TransitSettings | Promise<TransitSettings> {
    const key = this.#cache.getFresh(name);
    if (key !== undefined && (key.record !== undefined || !willSeal))
      return key.record?.transit ?? defaultTransitSettings;
    return this.#transitSettings(name, willSeal);
  }

  /** @param anew looks into the store, once per key and second */
  versionRange(name: KeyName, anew = false): VersionRange | Promise<VersionRange> {
    if (anew)
      return (async () => {
        await this.#refresh(name, await this.#key(name));
        return rangeOf(await this.#key(name));
      })();
    const key = this.#key(name);
    return key instanceof Promise ? key.then(rangeOf) : rangeOf(key);
  }

  async #transitSettings(name: KeyName, willSeal: boolean): Promise<TransitSettings> {
    for (let attempt = 0; attempt < mostRestarts; attempt++) {
      const { record } = await this.#key(name);
      if (record !== undefined || !willSeal) return record?.transit ?? defaultTransitSettings;
      try {
        await this.#changed(name, () => this.#keyrings.change(name, [], this.#by('transit')));
      } catch (error) {
        if (!hasCode(error, 'SELLO_RECORD_CONFLICT')) throw error; // another replica did it
      }
    }
    throw new SelloError('SELLO_STORE_FAILED', { detail: 'key changed again and again while it was used' });
  }

  /** A new data key. `face` is bound to it, with `context`. @param version that seals; the newest enabled one unless given */
  issue(name: KeyName, context: Buffer, face: Face = 'kes', version?: number): DataKey | Promise<DataKey> {
    const binding = { tenant: this.#tenant, face, context };
    return this.#with(name, (key) => {
      this.#noteSealed(name, key, version);
      return key.issue(binding, version);
    });
  }

  /**
   * @param version as for {@link issue}
   * @param series of messages that are sealed together
   */
  encrypt(
    name: KeyName,
    plaintext: Buffer,
    context: Buffer,
    face: Face = 'kes',
    version?: number,
    series?: MessageSeries,
  ): Buffer | Promise<Buffer> {
    const binding = { tenant: this.#tenant, face, context };
    return this.#with(name, (key) => {
      this.#noteSealed(name, key, version);
      return key.encrypt(binding, plaintext, version, series);
    });
  }

  /** @throws SelloError SELLO_CIPHERTEXT_NOT_AUTHENTIC, and what the state of key and version refuses */
  unwrap(
    name: KeyName,
    ciphertext: Buffer,
    context: Buffer,
    face: Face = 'kes',
    series?: MessageSeries,
  ): Buffer | Promise<Buffer> {
    return this.#with(name, (key) => this.#open(name, key, ciphertext, context, face, false, series));
  }

  /** As {@link unwrap}, for a data key that seals nothing more and leaves to nobody: what opens for rewrapping alone opens here. */
  unwrapToRewrap(
    name: KeyName,
    ciphertext: Buffer,
    context: Buffer,
    face: Face = 'kes',
  ): Buffer | Promise<Buffer> {
    return this.#with(name, (key) => this.#open(name, key, ciphertext, context, face, true));
  }

  /** All or nothing: one that does not open fails the batch, and nothing of it is released. */
  unwrapAll(
    name: KeyName,
    items: readonly (readonly [ciphertext: Buffer, context: Buffer])[],
    face: Face = 'kes',
  ): Buffer[] | Promise<Buffer[]> {
    const opened: (Buffer | Promise<Buffer>)[] = [];
    try {
      for (const [ciphertext, context] of items) opened.push(this.unwrap(name, ciphertext, context, face));
    } catch (error) {
      void wipeAll(opened);
      throw error;
    }
    if (!opened.some((each) => each instanceof Promise)) return opened as Buffer[];
    // All at once: what needs a custodian goes to it as one call.
    return Promise.all(opened).catch(async (error: unknown) => {
      await wipeAll(opened);
      throw error;
    });
  }

  /** @throws SelloError SELLO_KEY_WITHOUT_MAC */
  mac(name: KeyName, message: Buffer): Buffer | Promise<Buffer> {
    return this.#with(name, (key) => key.mac(message));
  }

  /**
   * The same data keys under the newest version; none leaves. Each item has its own outcome, in the order given. One that the newest
   * version made already comes back as it is.
   */
  async rewrap(name: KeyName, items: readonly RewrapItem[]): Promise<Rewrapped[]> {
    // A key that cannot seal is one answer, not one of each item.
    void (await this.#key(name)).sealingVersion;
    const outcomes: Rewrapped[] = [];
    for (let at = 0; at < items.length; at += rewrappedAtOnce)
      outcomes.push(
        ...(await Promise.all(
          items.slice(at, at + rewrappedAtOnce).map((item) => this.#rewrapItem(name, item)),
        )),
      );
    return outcomes;
  }

  async #rewrapItem(name: KeyName, item: RewrapItem): Promise<Rewrapped> {
    try {
      return await this.#rewrapOne(name, item);
    } catch (error) {
      if (error instanceof SelloError && itemErrors.has(error.code)) return { error };
      throw error;
    }
  }

  async #rewrapOne(
    name: KeyName,
    { ciphertext, context, face, version: wanted }: RewrapItem,
  ): Promise<Rewrapped> {
    const envelope = parseEnvelope(ciphertext);
    const sealingFace = envelope?.face ?? face ?? 'kes';
    const key = await this.#key(name);
    const version = key.versionToSeal(wanted);
    // Opened even when it is the newest already: what is not authentic is no success.
    const plaintext = await this.#with(name, (held) =>
      this.#open(name, held, ciphertext, context, sealingFace, true),
    );
    try {
      const from = envelope?.version ?? 1;
      if (from === version) return { ciphertext, from, version };
      const binding = { tenant: this.#tenant, face: sealingFace, context };
      const rewrapped = await this.#with(name, (held) => held.encrypt(binding, plaintext, wanted));
      return { ciphertext: rewrapped, from, version: versionOfCiphertext(rewrapped) };
    } finally {
      wipe(plaintext);
    }
  }

  /** A new newest version. @throws SelloError SELLO_RECORD_CONFLICT, SELLO_KEYRING_UNSUPPORTED, SELLO_KEY_NOT_FOUND */
  async rotate(name: KeyName, by: string): Promise<KeyringRecord> {
    return this.#changed(name, async () => (await this.#keyrings.rotate(name, this.#by(by)))!);
  }

  /** @throws SelloError SELLO_KEY_CHANGE_REFUSED, SELLO_RECORD_CONFLICT, SELLO_KEYRING_UNSUPPORTED, SELLO_KEY_NOT_FOUND */
  async change(name: KeyName, change: KeyChange, by: string): Promise<KeyringRecord> {
    return this.#changed(name, () => this.#keyrings.change(name, [change], this.#by(by)));
  }

  /**
   * Ends a version's bytes: it is disabled, its waiting period is over, and nothing was opened with it for `quietSeconds`.
   * @throws as {@link change}; SELLO_KEY_IN_USE
   */
  async destroyVersion(
    name: KeyName,
    version: number,
    by: string,
    quietSeconds: number,
  ): Promise<KeyringRecord> {
    const change = this.#by(by);
    const record = await this.keyring(name);
    destroyVersion(record, version, change); // what its state refuses comes before what its use does
    await this.#uses.flush();
    const openedAt = (await this.#uses.report(name, record.id)).get(version)?.openedAt ?? 0;
    if (change.at - openedAt < quietSeconds) {
      const since = new Date(openedAt * 1000).toISOString();
      throw new SelloError('SELLO_KEY_IN_USE', { detail: `it opened something at ${since}` });
    }
    return this.#changed(name, () => this.#keyrings.destroy(name, version, this.#by(by)));
  }

  /** When each version was used last, of all replicas. */
  async use(name: KeyName): Promise<KeyUse> {
    const { id } = await this.keyring(name);
    return this.#uses.report(name, id);
  }

  /** Keys with a rotation or a deletion that is due. */
  due(): Promise<DueWork[]> {
    return this.#timed('list', () => this.#keyrings.due(this.#by('').at));
  }

  /** Rotates a key on schedule; false when another replica has done it. */
  async rotateWhenDue(name: KeyName, by: string): Promise<boolean> {
    const change = this.#by(by);
    const changed = await this.#changed(name, () =>
      this.#keyrings.rotate(name, change, (record) => isDue(record, change.at)),
    );
    return changed !== undefined;
  }

  /** Writes down what is known of the use of versions. Never throws. */
  flushUses(): Promise<void> {
    return this.#uses.flush();
  }

  /** Keys in memory whose sealing version is older than this. */
  olderThan(seconds: number): KeyName[] {
    const bound = this.#by('').at - seconds;
    return this.#cache
      .entries()
      .filter(([, key]) => {
        const createdAt =
          key.record === undefined
            ? key.first.createdAt.seconds
            : (sealingVersion(key.record)?.createdAt ?? Infinity);
        // Keys that KES imported may have no date.
        return createdAt > 0 && createdAt < bound;
      })
      .map(([name]) => name);
  }

  /**
   * {@link change}; one that only restricts is held where the store cannot be reached, or does not answer in time, and one that takes
   * such a hold back ends it. @throws as {@link change}; SELLO_RATE_LIMITED
   */
  async changeOrHold(name: KeyName, change: KeyChange, by: string, token?: string): Promise<ChangeOutcome> {
    const isMeant = takesBack(change);
    if (isMeant !== undefined && this.restraints.of(name).some((hold) => isMeant(hold.change))) {
      await this.#endSettled(name);
      const { ended, left } = await this.restraints.withdraw(name, isMeant, token);
      if (left.length > 0)
        throw new SelloError('SELLO_KEY_CHANGE_REFUSED', {
          detail: 'a hold of another replica is in force: take it back there, or with its token',
        });
      if (ended.length > 0) return { withdrawn: ended };
    }
    if (!isHoldChange(change) || !this.isRemote || !this.#keyrings.reader.hasRecords)
      return { record: await this.change(name, change, by) };
    const changing = this.#timed('change', () => this.#keyrings.change(name, [change], this.#by(by)));
    const late = Symbol('late');
    const waiting = new AbortController();
    try {
      const record = await Promise.race([
        changing,
        delay(holdAfterShare * this.#propagationMs, late, { signal: waiting.signal, ref: false }),
      ]);
      if (typeof record !== 'symbol') {
        this.#ended(name);
        this.#tell(name, record, 'here');
        return { record };
      }
    } catch (error) {
      if (!(hasCode(error, 'SELLO_STORE_UNREACHABLE') || hasCode(error, 'SELLO_STORE_FAILED'))) {
        this.#ended(name);
        throw error;
      }
    } finally {
      waiting.abort();
    }
    // The key stays in memory: what is held of it is refused, and the rest is served while the store is away.
    changing.then(
      () => this.#ended(name),
      () => undefined,
    );
    const key = this.#cache.held(name);
    if (key !== undefined) refuseNothingNew(key, change, this.#by(by));
    return { ...(await this.restraints.hold(name, change, by)), isKnown: key !== undefined };
  }

  /** Ends the holds that the store has already, if it can be asked now: there is nothing to take back of them. */
  async #endSettled(name: KeyName): Promise<void> {
    const waiting = new AbortController();
    try {
      const record = await Promise.race([
        this.keyring(name),
        delay(holdAfterShare * this.#propagationMs, undefined, { signal: waiting.signal, ref: false }),
      ]);
      if (record === undefined) return;
      for (const hold of this.restraints.of(name))
        if (hasHold(record, hold)) this.restraints.settled(hold.id);
    } catch (error) {
      if (!(error instanceof SelloError)) throw error;
    } finally {
      waiting.abort();
    }
  }

  /** How many peers have heard what was told last. */
  async spread(): Promise<SpreadCount> {
    return (await this.#options.spread?.()) ?? { known: 0, told: 0 };
  }

  /**
   * Writes the holds of a key to the store. @returns the record with them; undefined: nothing was left to write
   * @throws SelloError when the store refuses, or cannot be reached: they stay
   */
  async settle(name: KeyName, by: string): Promise<KeyringRecord | undefined> {
    const holds = this.restraints.open(name);
    const change = this.#by(by);
    let changed: KeyringRecord | undefined;
    let refused: ReadonlySet<string> = new Set();
    let now: KeyringRecord | undefined;
    try {
      changed = await this.#changed(name, async () => {
        const { record, refused: ids } = await this.#keyrings.settle(name, holds, change);
        refused = ids;
        return record;
      });
      now = changed ?? (await this.keyring(name));
    } catch (error) {
      if (!hasCode(error, 'SELLO_KEY_NOT_FOUND')) throw error;
    }
    for (const hold of holds) {
      // Of a key that is gone, or of another key of this name, nothing is left to hold.
      const isLeft =
        now !== undefined &&
        isOfRecord(now, hold) &&
        (refused.has(hold.id) || settlementOf(now, hold, change.at) === 'waits');
      if (!isLeft) this.restraints.settled(hold.id);
    }
    return changed;
  }

  /** Whether {@link settle} has something to do, by a keyring that was read. */
  hasToSettle(name: KeyName, record: KeyringRecord | undefined): boolean {
    const { at } = this.#by('');
    return this.restraints
      .open(name)
      .some(
        (hold) =>
          record === undefined || !isOfRecord(record, hold) || settlementOf(record, hold, at) !== 'waits',
      );
  }

  /** Several settings as one change: all or none. */
  async changeAll(name: KeyName, changes: readonly KeyChange[], by: string): Promise<KeyringRecord> {
    return this.#changed(name, () => this.#keyrings.change(name, changes, this.#by(by)));
  }

  /** Ends a key whose deletion was scheduled and is due. */
  async completeDeletion(name: KeyName, by: string): Promise<void> {
    await this.#changed(name, () => this.#keyrings.delete(name, this.#by(by), true));
  }

  /** The store's small records, for what is kept beside the keys; undefined where it has none. */
  get records(): RecordStore | undefined {
    return this.#store.records;
  }

  /** The keyring as it is in the store now. @throws SelloError SELLO_KEY_NOT_FOUND */
  keyring(name: KeyName): Promise<SeenKeyring> {
    return this.#timed('read', () => this.#keyrings.reader.record(name));
  }

  /** Takes an older state of the store for the right one: after a restore. */
  async acceptRestore(by: string): Promise<void> {
    if (!this.#keyrings.reader.hasRecords) throw new SelloError('SELLO_KEYRING_UNSUPPORTED');
    await this.#keyrings.reader.acceptRestore(this.#by(by));
    this.#cache.clear();
  }

  async #changed<T>(name: KeyName, change: () => Promise<T>): Promise<T> {
    try {
      const result = await this.#timed('change', change);
      if (isRecord(result)) this.#tell(name, result, 'here');
      return result;
    } finally {
      this.#ended(name);
    }
  }

  #key(name: KeyName): Keyring | Promise<Keyring> {
    return this.#cache.getFresh(name) ?? this.#cache.load(name);
  }

  /** Works with a key at once when all it needs is in memory. */
  #with<T>(name: KeyName, use: (key: Keyring) => T | Promise<T>): T | Promise<T> {
    const key = this.#cache.getFresh(name);
    if (key === undefined) return this.#withLoaded(name, use, 0);
    try {
      const result = use(key);
      return result instanceof Promise
        ? result.catch((error: unknown) => this.#again(name, key, error, use, 0))
        : result;
    } catch (error) {
      if (error instanceof UnknownVersion) return this.#again(name, key, error, use, 0);
      throw error;
    }
  }

  async #withLoaded<T>(name: KeyName, use: (key: Keyring) => T | Promise<T>, attempt: number): Promise<T> {
    const key = await this.#cache.load(name);
    try {
      return await use(key);
    } catch (error) {
      return this.#again(name, key, error, use, attempt);
    }
  }

  /** Goes on after a look at the store, where the error came of an old view of the key; throws it otherwise. */
  async #again<T>(
    name: KeyName,
    key: Keyring,
    error: unknown,
    use: (key: Keyring) => T | Promise<T>,
    attempt: number,
  ): Promise<T> {
    if (error instanceof UnknownVersion) {
      if (attempt > 0 && !key.isWiped)
        throw new SelloError('SELLO_CIPHERTEXT_NOT_AUTHENTIC', {
          detail: 'of a version that the key does not have',
        });
      await this.#refresh(name, key);
    } else if (!key.isWiped) throw error;
    if (attempt >= mostRestarts)
      throw new SelloError('SELLO_STORE_FAILED', { detail: 'key changed again and again while it was used' });
    return this.#withLoaded(name, use, attempt + 1);
  }

  /** Looks whether the store has a newer state of the key: one look per key and second, which all who wait share. */
  async #refresh(name: KeyName, key: Keyring): Promise<void> {
    let refresh = this.#refreshes.get(name);
    if (refresh === undefined)
      this.#refreshes.set(name, (refresh = { startedMs: -Infinity, running: undefined }));
    refresh.running ??= this.#lookAnew(name, key, refresh).finally(() => {
      refresh.running = undefined;
      if (this.#refreshes.size > maxRefreshes) this.#refreshes.clear();
    });
    await refresh.running;
  }

  async #lookAnew(name: KeyName, key: Keyring, refresh: { startedMs: number }): Promise<void> {
    const waitMs = refresh.startedMs + refreshEveryMs - performance.now();
    if (waitMs > 0) await delay(waitMs);
    refresh.startedMs = performance.now();
    this.#keyrings.reader.expectRecord(name);
    // Read beside the cache: a store that cannot be asked must not cost the key that is served meanwhile.
    const stored = await this.#read(name);
    if (key.isWiped || !key.equals(stored)) this.#cache.invalidate(name);
    stored.wipe();
  }

  #open(
    name: KeyName,
    key: Keyring,
    ciphertext: Buffer,
    context: Buffer,
    face: Face,
    isRewrap: boolean,
    series?: MessageSeries,
  ): Buffer | Promise<Buffer> {
    const found = key.versionFor(ciphertext, isRewrap);
    const opened = key.open(found, ciphertext, { tenant: this.#tenant, face, context }, series);
    const { record, stored } = key;
    if (record === undefined) return opened;
    if (!isRewrap && stored !== undefined) this.#uses.note(name, stored.id, found.version, 'opened');
    if (record.versions[found.version - 1]?.state !== 'compromised') return opened;
    const tell = (plaintext: Buffer): Buffer => {
      const detail = `version ${String(found.version)} opened a ciphertext${isRewrap ? ' to rewrap it' : ''}`;
      this.#options.onAlarm?.({ kind: 'compromised-version-used', key: name, detail });
      return plaintext;
    };
    return opened instanceof Promise ? opened.then(tell) : tell(opened);
  }

  #noteSealed(name: KeyName, key: Keyring, version = key.sealingVersion): void {
    if (key.stored?.versions[version - 1] !== undefined)
      this.#uses.note(name, key.stored.id, version, 'sealed');
  }

  /** Who changes something, and when. */
  #by(by: string): Change {
    return { by, at: Math.floor(this.#now() / 1000) };
  }

  /** Runs `ended` when these keys are closed. */
  onClose(ended: () => void): void {
    this.#ends.push(ended);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const ended of this.#ends) ended();
    await this.#uses.flush();
    this.#cache.clear();
    this.#keyrings.close();
    await this.#store.close();
  }

  /** Creates the named keys that do not exist yet (KES's `keys` section). */
  async ensure(names: readonly KeyName[], by: string): Promise<void> {
    for (const name of names) {
      try {
        await this.create(name, by);
      } catch (error) {
        if (!hasCode(error, 'SELLO_KEY_EXISTS')) throw error;
      }
    }
  }
}

function rangeOf({ first, record }: Keyring): VersionRange {
  return {
    algorithm: record?.versions.at(-1)?.algorithm ?? first.algorithm,
    least: record?.minDecryptionVersion ?? 1,
    latest: record?.versions.length ?? 1,
    leastSealing: record?.transit?.minEncryptionVersion ?? 0,
  };
}

/** Which holds a change is the opposite of. */
function takesBack(change: KeyChange): ((held: HoldChange) => boolean) | undefined {
  switch (change.kind) {
    case 'enable':
      return ({ kind }) => kind === 'disable';
    case 'cancel-deletion':
      return ({ kind }) => kind === 'schedule-deletion';
    case 'set-version':
      return change.state !== 'enabled'
        ? undefined
        : (held) => held.kind === 'set-version' && held.version === change.version;
    default:
      return undefined;
  }
}

/** What the key in memory has already, or does not have, is no hold. @throws SelloError as the store's answer would be */
function refuseNothingNew({ stored, first }: Keyring, change: HoldChange, by: Change): void {
  const record = stored ?? newKeyring(first, { by: first.createdBy, at: 0 });
  if (change.kind === 'set-version') versionOf(record, change.version);
  if (restrictsMore(record, change)) return;
  applyChange(record, change, by);
  throw new SelloError('SELLO_KEY_CHANGE_REFUSED', {
    detail: 'it refuses more already: ask when the key store is back',
  });
}

function isRecord(value: unknown): value is KeyringRecord {
  return typeof value === 'object' && value !== null && 'generation' in value && 'versions' in value;
}

async function wipeAll(opened: readonly (Buffer | Promise<Buffer>)[]): Promise<void> {
  for (const each of await Promise.allSettled(opened)) if (each.status === 'fulfilled') wipe(each.value);
}

/** Of one batch: a custodian is asked for so many at once. */
const rewrappedAtOnce = 100;

/** Names that were refreshed lately, remembered at most. */
const maxRefreshes = 10_000;

/** What concerns one ciphertext of a batch, and not the key or the store. */
const itemErrors: ReadonlySet<string> = new Set([
  'SELLO_CIPHERTEXT_NOT_AUTHENTIC',
  'SELLO_KEY_VERSION_TOO_OLD',
  'SELLO_KEY_REWRAP_ONLY',
  'SELLO_KEY_DISABLED',
]);

/** The version a ciphertext says it was made with: 1 in KES's layout. For records; says nothing of its authenticity. */
export function versionOfCiphertext(ciphertext: Buffer): number {
  return isEnvelope(ciphertext) ? envelopeVersion(ciphertext) : 1;
}

/** KES stamps nanoseconds; the clock's own are milliseconds, the rest tells keys of one millisecond apart. */
function factsNow(algorithm: KeyAlgorithm, createdBy: string): KeyFacts {
  const { seconds, nanoseconds } = instantFromDate(new Date());
  const sub = Number(process.hrtime.bigint() % 1_000_000n);
  return { algorithm, createdBy, createdAt: { seconds, nanoseconds: nanoseconds + sub } };
}

function codeOf(error: unknown): string {
  return error instanceof SelloError ? error.code : 'SELLO_INTERNAL';
}
