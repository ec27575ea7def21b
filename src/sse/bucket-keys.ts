/**
 * Data keys that serve a bucket for a bounded time and number of objects, so that a burst of small objects costs one call to the
 * keystore. Held in memory only, per process; every object still has a key of its own, sealed with a fresh salt.
 * Opening needs no such state: the data key's ciphertext is in each envelope, and what was unwrapped is kept as long as a key that
 * seals would be.
 */
import { wipe } from '../crypto/index.ts';

interface Held {
  readonly plaintext: Buffer;
  readonly ciphertext: Buffer;
  readonly sinceMs: number;
  uses: number;
}

export interface BucketKeyLimits {
  readonly maxAgeMs: number;
  readonly maxObjects: number;
}

/** A cluster has buckets in the thousands; what is least used goes first. */
const maxHeld = 10_000;

export class BucketKeys {
  readonly #held = new Map<string, Held>();
  readonly #limits: BucketKeyLimits;
  readonly #now: () => number;

  /** @param now milliseconds of a clock that never steps back */
  constructor(limits: BucketKeyLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
  }

  /**
   * The data key of a bucket under a master key: the one in use, or a new one from `issue`. The caller wipes the copy it gets.
   */
  async take(
    keyName: string,
    bucket: string,
    issue: () => Promise<{ plaintext: Buffer; ciphertext: Buffer }>,
  ): Promise<{ plaintext: Buffer; ciphertext: Buffer; isFresh: boolean }> {
    const name = `seal\0${keyName}\0${bucket}`;
    const known = this.#usable(name);
    if (known !== undefined) {
      known.uses++;
      return { plaintext: Buffer.from(known.plaintext), ciphertext: known.ciphertext, isFresh: false };
    }
    const { plaintext, ciphertext } = await issue();
    this.#keep(name, plaintext, ciphertext);
    return { plaintext, ciphertext, isFresh: true };
  }

  /** The plaintext of a bucket's data key that an envelope carries. The caller wipes the copy it gets. */
  async unwrap(
    keyName: string,
    bucket: string,
    ciphertext: Buffer,
    unwrap: () => Promise<Buffer>,
  ): Promise<Buffer> {
    const name = `open\0${keyName}\0${bucket}\0${ciphertext.toString('latin1')}`;
    const known = this.#usable(name);
    if (known !== undefined) {
      known.uses++;
      return Buffer.from(known.plaintext);
    }
    const plaintext = await unwrap();
    this.#keep(name, plaintext, ciphertext);
    return plaintext;
  }

  /** Forgets the data keys of a master key: it was disabled, deleted or rotated. */
  forget(keyName: string): void {
    for (const [name, held] of this.#held) {
      if (name.split('\0')[1] === keyName) this.#drop(name, held);
    }
  }

  close(): void {
    for (const [name, held] of this.#held) this.#drop(name, held);
  }

  #usable(name: string): Held | undefined {
    const held = this.#held.get(name);
    if (held === undefined) return undefined;
    const { maxAgeMs, maxObjects } = this.#limits;
    if (this.#now() - held.sinceMs < maxAgeMs && held.uses < maxObjects) return held;
    this.#drop(name, held);
    return undefined;
  }

  #keep(name: string, plaintext: Buffer, ciphertext: Buffer): void {
    const before = this.#held.get(name);
    if (before !== undefined) this.#drop(name, before);
    for (const [oldest, held] of this.#held) {
      if (this.#held.size < maxHeld) break;
      this.#drop(oldest, held);
    }
    const own = Buffer.allocUnsafeSlow(plaintext.length);
    own.set(plaintext);
    this.#held.set(name, {
      plaintext: own,
      ciphertext: Buffer.from(ciphertext),
      sinceMs: this.#now(),
      uses: 1,
    });
  }

  #drop(name: string, held: Held): void {
    wipe(held.plaintext);
    this.#held.delete(name);
  }
}
