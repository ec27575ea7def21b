/**
 * GHASH (NIST SP 800-38D §6.3, §6.4) in time that tells nothing of its key or its data: no branch and no index depends on either.
 *
 * For many short messages only, where a native object for each costs more than its work (gcm-series.ts): 0.15 µs a block.
 *
 * A block is a polynomial over GF(2) whose coefficient of x^i is its bit i, counted from the first byte's highest. Polynomials of 32
 * coefficients are multiplied with `Math.imul`, each split in four that have a coefficient at every fourth place alone: at most eight
 * products meet in one place, and a sum of eight carries into the three places after it, which are masked away (T. Pornin describes this
 * for BearSSL). That gives the lower 32 coefficients of 63; the upper ones are the lower ones of the product of the mirrored factors.
 * Karatsuba's way makes nine such products of 32 by 32 out of one of 128 by 128.
 */
import { secretBytes } from './secret.ts';

const blockBytes = 16;
const blockWords = 4;
/** Factors of Karatsuba's products, and the same mirrored. */
const products = 9;
const factorWords = 2 * products;

const every0 = 0x11111111;
const every1 = 0x22222222;
const every2 = 0x44444444;
const every3 = 0x88888888 | 0;

/** Of the product at hand. Secret while it lasts. */
const factors = secretWords(factorWords);
const lower = secretWords(factorWords);

export class Ghash {
  /** The hash subkey H, as factors. */
  readonly #subkey = secretWords(factorWords);
  readonly #state = secretWords(blockWords);

  /** @param subkey H, 16 bytes; the caller wipes its own */
  constructor(subkey: Uint8Array) {
    /* Precondition: one block. */
    if (subkey.length !== blockBytes)
      throw new TypeError(`GHASH subkey: expected ${blockBytes} bytes, got ${subkey.length}`);
    split(this.#subkey, wordOf(subkey, 12), wordOf(subkey, 8), wordOf(subkey, 4), wordOf(subkey, 0));
  }

  /** Begins anew; `from`: where {@link saveTo} left off. */
  reset(from?: Int32Array): void {
    if (from === undefined) this.#state.fill(0);
    else this.#state.set(from);
  }

  /** Keeps the state, as secret as the key; four words. */
  saveTo(state: Int32Array): void {
    state.set(this.#state);
  }

  /** Takes the bytes from `start` to `end` in, with zeros up to a whole block. */
  update(bytes: Uint8Array, start: number, end: number): void {
    let at = start;
    for (; end - at >= blockBytes; at += blockBytes)
      this.#multiply(wordOf(bytes, at + 12), wordOf(bytes, at + 8), wordOf(bytes, at + 4), wordOf(bytes, at));
    if (at === end) return;
    let w0 = 0;
    let w1 = 0;
    let w2 = 0;
    let w3 = 0;
    for (let i = 0; at < end; i++, at++) {
      const byte = bytes[at]! << (24 - 8 * (i & 3));
      // How long a message is, is no secret.
      if (i < 4) w3 |= byte;
      else if (i < 8) w2 |= byte;
      else if (i < 12) w1 |= byte;
      else w0 |= byte;
    }
    this.#multiply(w0, w1, w2, w3);
  }

  /** Takes the last block in, the lengths in bytes of associated data and ciphertext, and writes the hash. */
  finish(associatedBytes: number, ciphertextBytes: number, target: Uint8Array, offset: number): void {
    this.#multiply(
      ciphertextBytes << 3,
      ciphertextBytes >>> 29,
      associatedBytes << 3,
      associatedBytes >>> 29,
    );
    for (let i = 0; i < blockWords; i++) {
      const word = this.#state[blockWords - 1 - i]!;
      const at = offset + 4 * i;
      target[at] = word >>> 24;
      target[at + 1] = word >>> 16;
      target[at + 2] = word >>> 8;
      target[at + 3] = word;
    }
  }

  /** Overwrites key and state. The object must not be used afterwards; its owner guards that. */
  wipe(): void {
    this.#subkey.fill(0);
    this.#state.fill(0);
    factors.fill(0);
    lower.fill(0);
  }

  /** The state plus a block, times H. Words count from a block's end: `w3` is its first four bytes. */
  #multiply(w0: number, w1: number, w2: number, w3: number): void {
    const state = this.#state;
    split(factors, state[0]! ^ w0, state[1]! ^ w1, state[2]! ^ w2, state[3]! ^ w3);
    const subkey = this.#subkey;
    for (let i = 0; i < factorWords; i++) {
      const x = factors[i]!;
      const y = subkey[i]!;
      const x0 = x & every0;
      const x1 = x & every1;
      const x2 = x & every2;
      const x3 = x & every3;
      const y0 = y & every0;
      const y1 = y & every1;
      const y2 = y & every2;
      const y3 = y & every3;
      const z0 = Math.imul(x0, y0) ^ Math.imul(x1, y3) ^ Math.imul(x2, y2) ^ Math.imul(x3, y1);
      const z1 = Math.imul(x0, y1) ^ Math.imul(x1, y0) ^ Math.imul(x2, y3) ^ Math.imul(x3, y2);
      const z2 = Math.imul(x0, y2) ^ Math.imul(x1, y1) ^ Math.imul(x2, y0) ^ Math.imul(x3, y3);
      const z3 = Math.imul(x0, y3) ^ Math.imul(x1, y2) ^ Math.imul(x2, y1) ^ Math.imul(x3, y0);
      lower[i] = (z0 & every0) | (z1 & every1) | (z2 & every2) | (z3 & every3);
    }
    reduce(state);
  }
}

/** Bytes `at` to `at + 3`, big endian. */
function wordOf(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

/** Karatsuba's factors of a block: its halves' words and their sums, and the same of the sum of its halves. */
function split(target: Int32Array, w0: number, w1: number, w2: number, w3: number): void {
  splitOnce(target, 0, w0, w1, w2, w3);
  splitOnce(target, products, mirrored(w0), mirrored(w1), mirrored(w2), mirrored(w3));
}

function splitOnce(target: Int32Array, at: number, w0: number, w1: number, w2: number, w3: number): void {
  target[at] = w0;
  target[at + 1] = w1;
  target[at + 2] = w0 ^ w1;
  target[at + 3] = w2;
  target[at + 4] = w3;
  target[at + 5] = w2 ^ w3;
  target[at + 6] = w0 ^ w2;
  target[at + 7] = w1 ^ w3;
  target[at + 8] = w0 ^ w1 ^ w2 ^ w3;
}

/** Puts the nine products together, and takes the result modulo x^128 + x^7 + x^2 + x + 1 (SP 800-38D §6.3). */
function reduce(state: Int32Array): void {
  const l = lower;
  const u = products;
  // Of each product of 64 by 64: the lower words of its three parts, then the upper ones, mirrored still.
  const a0 = l[0]!;
  const a2 = l[1]!;
  const a1 = l[2]! ^ a0 ^ a2;
  const c0 = l[3]!;
  const c2 = l[4]!;
  const c1 = l[5]! ^ c0 ^ c2;
  const b0 = l[6]! ^ a0 ^ c0;
  const b2 = l[7]! ^ a2 ^ c2;
  const b1 = l[8]! ^ l[6]! ^ l[7]! ^ a1 ^ c1;
  const d0 = l[u]!;
  const d2 = l[u + 1]!;
  const d1 = l[u + 2]! ^ d0 ^ d2;
  const f0 = l[u + 3]!;
  const f2 = l[u + 4]!;
  const f1 = l[u + 5]! ^ f0 ^ f2;
  const e0 = l[u + 6]! ^ d0 ^ f0;
  const e2 = l[u + 7]! ^ d2 ^ f2;
  const e1 = l[u + 8]! ^ l[u + 6]! ^ l[u + 7]! ^ d1 ^ f1;
  // A product has 63 coefficients: mirrored, they begin one place too high.
  const p0 = a0;
  const p1 = a1 ^ (mirrored(d0) >>> 1);
  const p2 = a2 ^ b0 ^ (mirrored(d1) >>> 1);
  const p3 = b1 ^ (mirrored(d2 ^ e0) >>> 1);
  const p4 = b2 ^ c0 ^ (mirrored(e1) >>> 1);
  const p5 = c1 ^ (mirrored(e2 ^ f0) >>> 1);
  const p6 = c2 ^ (mirrored(f1) >>> 1);
  const p7 = mirrored(f2) >>> 1;
  // Of 255 coefficients that of x^0 stands at the top, so one place higher.
  let z3 = (p3 << 1) | (p2 >>> 31);
  const z2 = (p2 << 1) | (p1 >>> 31);
  const z1 = (p1 << 1) | (p0 >>> 31);
  const z0 = p0 << 1;
  let z7 = (p7 << 1) | (p6 >>> 31);
  let z6 = (p6 << 1) | (p5 >>> 31);
  let z5 = (p5 << 1) | (p4 >>> 31);
  let z4 = (p4 << 1) | (p3 >>> 31);
  // x^(128 + i) is x^i + x^(i + 1) + x^(i + 2) + x^(i + 7); what goes beyond a word falls into the one below.
  z4 ^= z0 ^ (z0 >>> 1) ^ (z0 >>> 2) ^ (z0 >>> 7);
  z3 ^= (z0 << 31) ^ (z0 << 30) ^ (z0 << 25);
  z5 ^= z1 ^ (z1 >>> 1) ^ (z1 >>> 2) ^ (z1 >>> 7);
  z4 ^= (z1 << 31) ^ (z1 << 30) ^ (z1 << 25);
  z6 ^= z2 ^ (z2 >>> 1) ^ (z2 >>> 2) ^ (z2 >>> 7);
  z5 ^= (z2 << 31) ^ (z2 << 30) ^ (z2 << 25);
  z7 ^= z3 ^ (z3 >>> 1) ^ (z3 >>> 2) ^ (z3 >>> 7);
  z6 ^= (z3 << 31) ^ (z3 << 30) ^ (z3 << 25);
  state[0] = z4;
  state[1] = z5;
  state[2] = z6;
  state[3] = z7;
}

/** The bits of a word in the other order. */
function mirrored(word: number): number {
  let x = ((word & 0x55555555) << 1) | ((word >>> 1) & 0x55555555);
  x = ((x & 0x33333333) << 2) | ((x >>> 2) & 0x33333333);
  x = ((x & 0x0f0f0f0f) << 4) | ((x >>> 4) & 0x0f0f0f0f);
  x = ((x & 0x00ff00ff) << 8) | ((x >>> 8) & 0x00ff00ff);
  return (x << 16) | (x >>> 16);
}

/** Outside V8's heap, where no collection leaves a copy behind. */
export function secretWords(count: number): Int32Array {
  return new Int32Array(secretBytes(Math.max(128, 4 * count)).fill(0).buffer, 0, count);
}
