/**
 * A tenant's master keys: what every wire face calls. Hot calls return a value at once when the key is cached and a
 * promise only when the keystore has to be asked.
 */
import type { CacheConfig } from '../config/model.ts';
import { hasCode, SelloError } from '../errors.ts';
import type { Keystore, ListOptions, NamePage } from '../keystores/index.ts';
import { KeyCache } from './cache.ts';
import { issueDataKey, open, seal, mac, type DataKey } from './ciphertext.ts';
import type { KeyAlgorithm } from './algorithm.ts';
import { formatInstant, instantFromDate } from './instant.ts';
import { MasterKey, type KeyFacts } from './material.ts';
import type { KeyName } from './names.ts';
import { formatStoredKey, parseStoredKey } from './stored-key.ts';

export interface KeyDescription {
  readonly algorithm: KeyAlgorithm;
  /** RFC 3339 with nanoseconds, UTC. */
  readonly createdAt: string;
  /** Identity of the maker; empty when nobody is known. */
  readonly createdBy: string;
}

type StoreOperation = 'create' | 'read' | 'delete' | 'list' | 'health';

export interface TenantKeysOptions {
  /** Called when a key of this tenant ends or changes here, for the other processes. */
  readonly onInvalidate?: (name: KeyName) => void;
  /** Told how long each keystore call took, and how it ended. */
  readonly metrics?: ((operation: StoreOperation, outcome: string, seconds: number) => void) | undefined;
  /** How often keys in memory are compared with the store: half of `propagation`. */
  readonly revalidateMs?: number;
}

export class TenantKeys {
  readonly #store: Keystore;
  #cache: KeyCache<MasterKey>;
  readonly #onInvalidate: ((name: KeyName) => void) | undefined;
  readonly #observe: TenantKeysOptions['metrics'];
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #ends: (() => void)[] = [];

  constructor(store: Keystore, config: CacheConfig, options: TenantKeysOptions = {}) {
    this.#store = store;
    this.#onInvalidate = options.onInvalidate;
    this.#observe = options.metrics;
    if (options.revalidateMs !== undefined) {
      let isRunning = false;
      this.#timer = setInterval(() => {
        if (isRunning) return;
        isRunning = true;
        void this.revalidate().finally(() => (isRunning = false));
      }, options.revalidateMs).unref();
    }
    this.#cache = this.#cacheOf(config);
  }

  /** Goes on with other cache settings: nothing that was held stays, the store stays open. */
  useCache(config: CacheConfig): void {
    const before = this.#cache;
    this.#cache = this.#cacheOf(config);
    before.clear();
  }

  #cacheOf(config: CacheConfig): KeyCache<MasterKey> {
    return new KeyCache({
      ...config,
      load: (name) => this.#read(name),
      dispose: (key) => key.wipe(),
    });
  }

  /**
   * Compares every key in memory with the store, so that what another replica deleted or replaced ends here too: within two of
   * these rounds. A store that cannot be asked leaves things as they are; `offline` bounds that.
   */
  async revalidate(): Promise<void> {
    for (const [name, key] of this.#cache.entries()) {
      let stored: MasterKey;
      try {
        stored = await this.#read(name);
      } catch (error) {
        if (hasCode(error, 'SELLO_KEY_NOT_FOUND')) this.#cache.invalidate(name);
        continue;
      }
      if (key.isWiped || !key.equals(stored)) this.#cache.invalidate(name);
      stored.wipe();
    }
  }

  async #read(name: KeyName): Promise<MasterKey> {
    const stored = await this.#timed('read', () => this.#store.read(name));
    try {
      return parseStoredKey(stored);
    } finally {
      stored.fill(0);
    }
  }

  /** Runs a keystore call and tells how long it took and how it ended. */
  async #timed<T>(operation: StoreOperation, call: () => Promise<T>): Promise<T> {
    const observe = this.#observe;
    if (observe === undefined) return call();
    const startMs = performance.now();
    let outcome = 'ok';
    try {
      return await call();
    } catch (error) {
      outcome = error instanceof SelloError ? error.code : 'SELLO_INTERNAL';
      throw error;
    } finally {
      observe(operation, outcome, (performance.now() - startMs) / 1000);
    }
  }

  get cache(): KeyCache<MasterKey> {
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
    await this.#write(name, MasterKey.generate(factsNow('AES256', by)));
  }

  /** Copies `bytes`; the caller wipes its own. */
  async importKey(name: KeyName, bytes: Buffer, algorithm: KeyAlgorithm, by: string): Promise<void> {
    await this.#write(name, MasterKey.import(bytes, factsNow(algorithm, by)));
  }

  async #write(name: KeyName, key: MasterKey): Promise<void> {
    const stored = formatStoredKey(key);
    key.wipe();
    try {
      await this.#timed('create', () => this.#store.create(name, stored));
    } finally {
      stored.fill(0);
      // Whatever was believed of this name, absence included, is out of date now.
      this.#ended(name);
    }
  }

  describe(name: KeyName): KeyDescription | Promise<KeyDescription> {
    const key = this.#key(name);
    return key instanceof Promise ? key.then(describeKey) : describeKey(key);
  }

  async delete(name: KeyName): Promise<void> {
    // Use ends before the store is asked and again after, for a load that began in between.
    this.#cache.invalidate(name);
    try {
      await this.#timed('delete', () => this.#store.delete(name));
    } finally {
      this.#ended(name);
    }
  }

  /** Another process changed this key: what is held of it must not be used again. */
  forget(name: string): void {
    this.#cache.invalidate(name as KeyName);
  }

  #ended(name: KeyName): void {
    this.#cache.invalidate(name);
    this.#onInvalidate?.(name);
  }

  list(options: ListOptions): Promise<NamePage> {
    return this.#timed('list', () => this.#store.list(options));
  }

  health(): Promise<void> {
    return this.#timed('health', () => this.#store.health());
  }

  issue(name: KeyName, context: Buffer): DataKey | Promise<DataKey> {
    const key = this.#key(name);
    return key instanceof Promise
      ? key.then((loaded) => issueDataKey(loaded, context))
      : issueDataKey(key, context);
  }

  encrypt(name: KeyName, plaintext: Buffer, context: Buffer): Buffer | Promise<Buffer> {
    const key = this.#key(name);
    return key instanceof Promise
      ? key.then((loaded) => seal(loaded, plaintext, context))
      : seal(key, plaintext, context);
  }

  /** @throws SelloError SELLO_CIPHERTEXT_NOT_AUTHENTIC */
  unwrap(name: KeyName, ciphertext: Buffer, context: Buffer): Buffer | Promise<Buffer> {
    const key = this.#key(name);
    return key instanceof Promise
      ? key.then((loaded) => open(loaded, ciphertext, context))
      : open(key, ciphertext, context);
  }

  /** All or nothing: one that does not open fails the batch, and nothing of it is released. */
  unwrapAll(
    name: KeyName,
    items: readonly (readonly [ciphertext: Buffer, context: Buffer])[],
  ): Buffer[] | Promise<Buffer[]> {
    const key = this.#key(name);
    return key instanceof Promise ? key.then((loaded) => openAll(loaded, items)) : openAll(key, items);
  }

  /** @throws SelloError SELLO_KEY_WITHOUT_MAC */
  mac(name: KeyName, message: Buffer): Buffer | Promise<Buffer> {
    const key = this.#key(name);
    return key instanceof Promise ? key.then((loaded) => mac(loaded, message)) : mac(key, message);
  }

  #key(name: KeyName): MasterKey | Promise<MasterKey> {
    return this.#cache.getFresh(name) ?? this.#cache.load(name);
  }

  /** Runs `ended` when these keys are closed. */
  onClose(ended: () => void): void {
    this.#ends.push(ended);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (const ended of this.#ends) ended();
    this.#cache.clear();
    await this.#store.close();
  }

  /** Creates the named keys that do not exist yet (KES's `keys` section). */
  async ensure(names: readonly KeyName[], by: string): Promise<void> {
    for (const name of names) {
      try {
        await this.create(name, by);
      } catch (error) {
        if (!(error instanceof SelloError && error.code === 'SELLO_KEY_EXISTS')) throw error;
      }
    }
  }
}

function describeKey(key: MasterKey): KeyDescription {
  return { algorithm: key.algorithm, createdAt: formatInstant(key.createdAt), createdBy: key.createdBy };
}

/** KES stamps nanoseconds; the clock's own are milliseconds, the rest tells keys of one millisecond apart. */
function factsNow(algorithm: KeyAlgorithm, createdBy: string): KeyFacts {
  const { seconds, nanoseconds } = instantFromDate(new Date());
  const sub = Number(process.hrtime.bigint() % 1_000_000n);
  return { algorithm, createdBy, createdAt: { seconds, nanoseconds: nanoseconds + sub } };
}

function openAll(key: MasterKey, items: readonly (readonly [Buffer, Buffer])[]): Buffer[] {
  const opened: Buffer[] = [];
  try {
    for (const [ciphertext, context] of items) opened.push(open(key, ciphertext, context));
    return opened;
  } catch (error) {
    for (const plaintext of opened) plaintext.fill(0);
    throw error;
  }
}
