/**
 * HMAC-SHA256 (RFC 2104, FIPS 198-1; SHA-256: FIPS 180-4) under one key over many messages of one fixed length.
 *
 * A padded key block is one block of SHA-256, so its state after that block is computed once, and a short message then
 * takes two compressions: 0.7 µs, where a Hmac object takes 5 and two one-shot digests of node:crypto 2.5. Nothing with a
 * native half is made: such objects, when they die young, make every young-generation collection slow (several
 * milliseconds at the tail of a busy server).
 *
 * The compression has no branch and no index that depends on data, so its time tells nothing of the key.
 */
import { secretBytes, secretSlice, wipe } from './secret.ts';

const blockBytes = 64;
const digestBytes = 32;
const stateWords = 8;
/** Bytes of padding at the least: the bit that ends the message, and its length in 64 bits (FIPS 180-4 §5.1.1). */
const leastPaddingBytes = 9;

/** The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4 §4.2.2). */
const constants = Int32Array.from(fractions(64, Math.cbrt));

/** Of the square roots of the first eight (§5.3.3). */
const initialState = Int32Array.from(fractions(stateWords, Math.sqrt));

/** The message schedule W of the compression at hand. Secret while it lasts. */
const schedule = new Int32Array(secretBytes(256).buffer, 0, 64);

export class PreparedHmac {
  /** States after (key ⊕ ipad) and (key ⊕ opad): as secret as the key. */
  readonly #inner = secretState();
  readonly #outer = secretState();
  readonly #state = secretState();
  /** The message's place, with SHA-256's padding behind it. */
  readonly #blocks: Buffer;
  readonly #messageBytes: number;

  /** @param key at most one block (64 bytes): longer keys would have to be hashed first, and none of ours is longer. */
  constructor(key: Uint8Array, messageBytes: number) {
    if (key.length > blockBytes)
      throw new TypeError(`HMAC key: expected at most ${blockBytes} bytes, got ${key.length}`);
    const padded = secretBytes(blockBytes);
    for (const [state, pad] of [
      [this.#inner, 0x36],
      [this.#outer, 0x5c],
    ] as const) {
      padded.fill(pad);
      for (let i = 0; i < key.length; i++) padded[i]! ^= key[i]!;
      state.set(initialState);
      loadBlock(padded, 0);
      compress(state);
    }
    wipe(padded);
    const blocks = Math.ceil((messageBytes + leastPaddingBytes) / blockBytes);
    this.#messageBytes = messageBytes;
    this.#blocks = secretBytes(blocks * blockBytes).fill(0);
    this.#blocks[messageBytes] = 0x80;
    this.#blocks.writeUInt32BE((blockBytes + messageBytes) * 8, this.#blocks.length - 4);
  }

  /** The 32-byte MAC of `message`; the caller wipes it when it is a key. It is not to be kept for long (see `secretSlice`). */
  digest(message: Uint8Array): Buffer {
    /* Precondition: the message fills its place exactly, else bytes of an earlier one would be authenticated. */
    if (message.length !== this.#messageBytes) {
      throw new TypeError(`HMAC message: expected ${this.#messageBytes} bytes, got ${message.length}`);
    }
    const state = this.#state;
    const blocks = this.#blocks;
    blocks.set(message);
    state.set(this.#inner);
    for (let at = 0; at < blocks.length; at += blockBytes) {
      loadBlock(blocks, at);
      compress(state);
    }
    // The outer message is the inner digest, padded: 96 bytes with the key's block.
    for (let i = 0; i < stateWords; i++) schedule[i] = state[i]!;
    schedule[8] = 0x80000000 | 0;
    for (let i = 9; i < 15; i++) schedule[i] = 0;
    schedule[15] = (blockBytes + digestBytes) * 8;
    state.set(this.#outer);
    compress(state);
    const mac = secretSlice(digestBytes);
    for (let i = 0; i < stateWords; i++) {
      const word = state[i]!;
      mac[4 * i] = word >>> 24;
      mac[4 * i + 1] = word >>> 16;
      mac[4 * i + 2] = word >>> 8;
      mac[4 * i + 3] = word;
    }
    state.fill(0);
    schedule.fill(0);
    return mac;
  }

  /** Overwrites the key's states. The object must not be used afterwards; its owner guards that. */
  wipe(): void {
    this.#inner.fill(0);
    this.#outer.fill(0);
    this.#blocks.fill(0);
  }
}

/** Outside V8's heap, where no collection leaves a copy behind. */
function secretState(): Int32Array {
  const bytes = secretBytes(2 * blockBytes).fill(0);
  return new Int32Array(bytes.buffer, bytes.byteOffset, stateWords);
}

function loadBlock(bytes: Uint8Array, at: number): void {
  for (let i = 0; i < 16; i++) {
    const b = at + 4 * i;
    schedule[i] = (bytes[b]! << 24) | (bytes[b + 1]! << 16) | (bytes[b + 2]! << 8) | bytes[b + 3]!;
  }
}

/** SHA-256's compression of the block in {@link schedule} (FIPS 180-4 §6.2.2). */
function compress(state: Int32Array): void {
  const w = schedule;
  for (let t = 16; t < 64; t++) {
    const x = w[t - 15]!;
    const y = w[t - 2]!;
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    w[t] = (w[t - 16]! + s0 + w[t - 7]! + s1) | 0;
  }
  let a = state[0]!;
  let b = state[1]!;
  let c = state[2]!;
  let d = state[3]!;
  let e = state[4]!;
  let f = state[5]!;
  let g = state[6]!;
  let h = state[7]!;
  for (let t = 0; t < 64; t++) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + constants[t]! + w[t]!) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  state[0] = (state[0]! + a) | 0;
  state[1] = (state[1]! + b) | 0;
  state[2] = (state[2]! + c) | 0;
  state[3] = (state[3]! + d) | 0;
  state[4] = (state[4]! + e) | 0;
  state[5] = (state[5]! + f) | 0;
  state[6] = (state[6]! + g) | 0;
  state[7] = (state[7]! + h) | 0;
}

/** The first 32 bits of the fractional parts of `root` of the first `count` primes: doubles have 52. */
function fractions(count: number, root: (prime: number) => number): number[] {
  const primes: number[] = [];
  for (let n = 2; primes.length < count; n++) if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  return primes.map((prime) => ((root(prime) % 1) * 2 ** 32) | 0);
}
