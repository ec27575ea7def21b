/**
 * A tenant's master keys: what every wire face calls. Hot calls return a value at once when the key is cached and a
 * promise only when the keystore has to be asked.
 */
import type { CacheConfig } from '../config/model.ts';
import { SelloError } from '../errors.ts';
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

export interface TenantKeysOptions {
  /** Called when a key of this tenant ends or changes here, for the other processes. */
  readonly onInvalidate?: (name: KeyName) => void;
  /** Told how long each keystore call took, and how it ended. */
  readonly metrics?: (operation: string, outcome: string, seconds: number) => void;
}

export class TenantKeys {
  readonly #store: Keystore;
  readonly #cache: KeyCache<MasterKey>;
  readonly #onInvalidate: ((name: KeyName) => void) | undefined;

  constructor(store: Keystore, config: CacheConfig, options: TenantKeysOptions = {}) {
    this.#store = store;
    this.#onInvalidate = options.onInvalidate;
    this.#cache = new KeyCache({
      ...config,
      load: async (name) => {
        const stored = await store.read(name);
        try {
          return parseStoredKey(stored);
        } finally {
          stored.fill(0);
        }
      },
      dispose: (key) => key.wipe(),
    });
  }

  get cache(): KeyCache<MasterKey> {
    return this.#cache;
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
      await this.#store.create(name, stored);
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
      await this.#store.delete(name);
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
    return this.#store.list(options);
  }

  health(): Promise<void> {
    return this.#store.health();
  }

  issue(name: KeyName, context: Buffer): DataKey | Promise<DataKey> {
    const key = this.#key(name);
    return key instanceof Promise ? key.then((loaded) => issueDataKey(loaded, context)) : issueDataKey(key, context);
  }

  encrypt(name: KeyName, plaintext: Buffer, context: Buffer): Buffer | Promise<Buffer> {
    const key = this.#key(name);
    return key instanceof Promise ? key.then((loaded) => seal(loaded, plaintext, context)) : seal(key, plaintext, context);
  }

  /** @throws SelloError SELLO_CIPHERTEXT_NOT_AUTHENTIC */
  unwrap(name: KeyName, ciphertext: Buffer, context: Buffer): Buffer | Promise<Buffer> {
    const key = this.#key(name);
    return key instanceof Promise ? key.then((loaded) => open(loaded, ciphertext, context)) : open(key, ciphertext, context);
  }

  /** All or nothing: one that does not open fails the batch, and nothing of it is released. */
  unwrapAll(name: KeyName, items: readonly (readonly [ciphertext: Buffer, context: Buffer])[]): Buffer[] | Promise<Buffer[]> {
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

  async close(): Promise<void> {
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
