/**
 * Keys of one tenant, held in memory so that the hot path asks no keystore. An entry has a bounded life, in all
 * and unused; a name that does not exist is remembered for a short time; while the store is down, keys are
 * served past their life for a bounded time; what leaves the cache is handed to `dispose` for wiping.
 *
 * Wiping: `dispose` runs in a later turn of the event loop (setImmediate), never while the caller that got the
 * value still runs. So a value is good for the synchronous work that follows {@link KeyCache.getFresh}, and for
 * the promise callbacks that follow {@link KeyCache.load}; a caller that does input or output in between has to
 * ask again.
 */
import { SelloError, hasCode } from '../errors.ts';
import type { KeyName } from './names.ts';

export interface KeyCacheOptions<T> {
  /** Asks the keystore. SELLO_KEY_NOT_FOUND is remembered; a retryable error starts stale service. */
  readonly load: (name: KeyName) => Promise<T>;
  /** Wipes a value that nobody can get any more. */
  readonly dispose?: (value: T) => void;
  readonly maxEntries: number;
  /** Life since the load. 0: no limit. */
  readonly expiryMs: number;
  /** Life since the last use. 0: no limit. */
  readonly unusedMs: number;
  /** How long past its life an entry is served while the store is down. 0: not at all. */
  readonly offlineMs: number;
  /** How long an absent name is remembered. 0: not at all. */
  readonly negativeMs: number;
  /** Absent names remembered at most: a caller can invent names without end. */
  readonly maxNegativeEntries?: number;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
  /** 0 ≤ x < 1, for jitter. */
  readonly random?: () => number;
}

/** Counted since the cache was made; `entries` and `negativeEntries` are what it holds now. */
export interface KeyCacheCounters {
  readonly hits: number;
  readonly misses: number;
  /** Calls to the store, and those of them that failed for another reason than an absent key. */
  readonly loads: number;
  readonly loadErrors: number;
  /** Entries that left for want of room or at the end of their life. */
  readonly evictions: number;
  /** Values served past their life. */
  readonly stale: number;
  /** "Not found" answers from memory. */
  readonly negative: number;
  readonly entries: number;
  readonly negativeEntries: number;
}

interface Entry<T> {
  readonly value: T;
  /** End of life by age. */
  readonly expiresAtMs: number;
  /** This entry's share of `unusedMs`, after jitter. */
  readonly unusedMs: number;
  usedAtMs: number;
  /** When it was last moved to the young end of the map. */
  movedAtMs: number;
  /** Set once the store failed: stale service without asking again until then. */
  retryAtMs: number | undefined;
}

interface Load<T> {
  readonly promise: Promise<T>;
  /** False once an invalidation overtook it: its result is not kept. */
  current: boolean;
}

/** A life is shortened by up to this share, so that keys loaded together are not loaded again together. */
const jitterShare = 0.1;

/** While the store is down, it is asked for one key at most this often. */
const retryEveryMs = 1000;

/** Order of use is kept to this resolution: a hit that moves its entry costs ten times one that does not. */
const moveEveryMs = 1000;

/** A load overtaken by an invalidation is begun again at most this often before its waiters get an error. */
const mostRestarts = 8;

/** The sweeper runs a tenth of the shortest life apart, within these bounds. */
const sweepMs = { least: 100, most: 10_000 };

const defaultMaxNegativeEntries = 1024;

export class KeyCache<T> {
  readonly #options: KeyCacheOptions<T>;
  readonly #now: () => number;
  readonly #random: () => number;
  /** Oldest use first. */
  readonly #entries = new Map<KeyName, Entry<T>>();
  /** Absent names and until when they are believed absent, oldest first. */
  readonly #absent = new Map<KeyName, number>();
  readonly #loads = new Map<KeyName, Load<T>>();
  readonly #garbage: T[] = [];
  #garbageScheduled = false;
  #sweeper: NodeJS.Timeout | undefined;
  readonly #counts = { hits: 0, misses: 0, loads: 0, loadErrors: 0, evictions: 0, stale: 0, negative: 0 };

  constructor(options: KeyCacheOptions<T>) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#random = options.random ?? Math.random;
  }

  get counters(): KeyCacheCounters {
    return { ...this.#counts, entries: this.#entries.size, negativeEntries: this.#absent.size };
  }

  /** The value when it may be used at once: within its life, or the store is known to be down. Hot path. */
  getFresh(name: KeyName): T | undefined {
    const entry = this.#entries.get(name);
    if (entry === undefined) return undefined;
    const nowMs = this.#now();
    if (nowMs >= this.#endOfLife(entry)) {
      if (entry.retryAtMs === undefined || nowMs >= entry.retryAtMs || nowMs >= this.#endOfStale(entry)) {
        return undefined;
      }
      this.#counts.stale++;
      return entry.value;
    }
    entry.usedAtMs = nowMs;
    if (nowMs - entry.movedAtMs >= moveEveryMs) {
      entry.movedAtMs = nowMs;
      this.#entries.delete(name);
      this.#entries.set(name, entry);
    }
    this.#counts.hits++;
    return entry.value;
  }

  /** As {@link getFresh}, but counts nothing and does not lengthen the entry's life. */
  peek(name: KeyName): T | undefined {
    const entry = this.#entries.get(name);
    return entry !== undefined && this.#now() < this.#endOfLife(entry) ? entry.value : undefined;
  }

  /**
   * The value, from memory or from the store; any number of callers share one load, and its error.
   * @throws SelloError what `load` throws, and SELLO_KEY_NOT_FOUND from memory
   */
  async load(name: KeyName): Promise<T> {
    for (let attempt = 0; attempt < mostRestarts; attempt++) {
      const fresh = this.getFresh(name);
      if (fresh !== undefined) return fresh;
      this.#counts.misses++;
      this.#refuseAbsent(name);
      const load = this.#loads.get(name) ?? this.#begin(name);
      const entry = this.#entries.get(name);
      if (entry?.retryAtMs !== undefined && this.#now() < this.#endOfStale(entry)) {
        // The store was down a moment ago: the load goes on behind, nobody waits for it.
        load.promise.catch(() => undefined);
        this.#counts.stale++;
        return entry.value;
      }
      try {
        const value = await load.promise;
        if (load.current) return value;
      } catch (error) {
        if (!load.current) continue;
        const stale = this.#staleAfter(name, error);
        if (stale !== undefined) return stale;
        throw error;
      }
    }
    throw new SelloError('SELLO_STORE_FAILED', { detail: 'key changed again and again while it was loaded' });
  }

  /** What is held of this name, in its life or past it, without any effect. */
  held(name: KeyName): T | undefined {
    return this.#entries.get(name)?.value;
  }

  /** What is held, for a look at whether it still is what the store holds. */
  entries(): [name: KeyName, value: T][] {
    return [...this.#entries].map(([name, entry]) => [name, entry.value]);
  }

  /** Ends all use of what is known of `name`, absence included; a load in flight does not bring it back. */
  invalidate(name: KeyName): void {
    const load = this.#loads.get(name);
    if (load !== undefined) {
      load.current = false;
      this.#loads.delete(name);
    }
    this.#absent.delete(name);
    this.#remove(name);
  }

  /** As {@link invalidate} for every name: at the end of the tenant, or when the store was changed as a whole. */
  clear(): void {
    for (const load of this.#loads.values()) load.current = false;
    this.#loads.clear();
    this.#absent.clear();
    for (const name of [...this.#entries.keys()]) this.#remove(name);
    clearTimeout(this.#sweeper);
    this.#sweeper = undefined;
  }

  /** Forgets what is past all use. Runs by itself; called directly where time is injected. */
  sweep(): void {
    const nowMs = this.#now();
    for (const [name, entry] of this.#entries) {
      if (nowMs >= this.#endOfStale(entry)) this.#evict(name);
    }
    for (const [name, untilMs] of this.#absent) if (nowMs >= untilMs) this.#absent.delete(name);
  }

  #begin(name: KeyName): Load<T> {
    this.#counts.loads++;
    const load: Load<T> = { promise: this.#loadInto(name, () => load.current), current: true };
    this.#loads.set(name, load);
    return load;
  }

  async #loadInto(name: KeyName, isCurrent: () => boolean): Promise<T> {
    // Begun in a microtask, so that `load` is registered before any of its outcomes.
    await undefined;
    try {
      const value = await this.#options.load(name);
      if (isCurrent()) this.#store(name, value);
      else this.#discard(value);
      return value;
    } catch (error) {
      if (isCurrent()) this.#noteFailure(name, error);
      throw error;
    } finally {
      if (isCurrent()) this.#loads.delete(name);
    }
  }

  #store(name: KeyName, value: T): void {
    this.#remove(name);
    this.#absent.delete(name);
    const { expiryMs, unusedMs, maxEntries } = this.#options;
    const nowMs = this.#now();
    const share = 1 - this.#random() * jitterShare;
    this.#entries.set(name, {
      value,
      expiresAtMs: expiryMs > 0 ? nowMs + expiryMs * share : Infinity,
      unusedMs: unusedMs > 0 ? unusedMs * share : Infinity,
      usedAtMs: nowMs,
      movedAtMs: nowMs,
      retryAtMs: undefined,
    });
    while (this.#entries.size > maxEntries) this.#evict(this.#entries.keys().next().value!);
    this.#scheduleSweep();
  }

  #noteFailure(name: KeyName, error: unknown): void {
    if (hasCode(error, 'SELLO_KEY_NOT_FOUND')) {
      this.#remove(name);
      this.#rememberAbsent(name);
      return;
    }
    this.#counts.loadErrors++;
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    const nowMs = this.#now();
    if (meansDown(error) && nowMs < this.#endOfStale(entry)) entry.retryAtMs = nowMs + retryEveryMs;
    // A key that the store holds but cannot give any more is not served from memory either.
    else this.#evict(name);
  }

  #staleAfter(name: KeyName, error: unknown): T | undefined {
    const entry = this.#entries.get(name);
    if (!meansDown(error) || entry === undefined || this.#now() >= this.#endOfStale(entry)) return undefined;
    this.#counts.stale++;
    return entry.value;
  }

  #rememberAbsent(name: KeyName): void {
    const { negativeMs, maxNegativeEntries = defaultMaxNegativeEntries } = this.#options;
    if (negativeMs <= 0) return;
    this.#absent.delete(name);
    this.#absent.set(name, this.#now() + negativeMs);
    while (this.#absent.size > maxNegativeEntries) this.#absent.delete(this.#absent.keys().next().value!);
    this.#scheduleSweep();
  }

  #refuseAbsent(name: KeyName): void {
    const untilMs = this.#absent.get(name);
    if (untilMs === undefined) return;
    if (this.#now() < untilMs) {
      this.#counts.negative++;
      throw new SelloError('SELLO_KEY_NOT_FOUND');
    }
    this.#absent.delete(name);
  }

  /** By age or by disuse, whichever is first. Stale service is no use: it never lengthens a life. */
  #endOfLife(entry: Entry<T>): number {
    return Math.min(entry.expiresAtMs, entry.usedAtMs + entry.unusedMs);
  }

  #endOfStale(entry: Entry<T>): number {
    return this.#endOfLife(entry) + this.#options.offlineMs;
  }

  #evict(name: KeyName): void {
    this.#counts.evictions++;
    this.#remove(name);
  }

  #remove(name: KeyName): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    this.#entries.delete(name);
    this.#discard(entry.value);
  }

  #discard(value: T): void {
    if (this.#options.dispose === undefined) return;
    this.#garbage.push(value);
    if (this.#garbageScheduled) return;
    this.#garbageScheduled = true;
    setImmediate(() => {
      this.#garbageScheduled = false;
      for (const garbage of this.#garbage.splice(0)) this.#options.dispose?.(garbage);
    });
  }

  #scheduleSweep(): void {
    if (this.#sweeper !== undefined) return;
    const { expiryMs, unusedMs, negativeMs } = this.#options;
    const lives = [expiryMs, unusedMs, negativeMs].filter((lifeMs) => lifeMs > 0);
    const delayMs = Math.min(Math.max(Math.min(...lives) / 10, sweepMs.least), sweepMs.most);
    if (lives.length === 0) return;
    this.#sweeper = setTimeout(() => {
      this.#sweeper = undefined;
      this.sweep();
      if (this.#entries.size + this.#absent.size > 0) this.#scheduleSweep();
    }, delayMs).unref();
  }
}

function meansDown(error: unknown): boolean {
  return error instanceof SelloError && error.retryable;
}
