/**
 * AES-256-GCM (NIST SP 800-38D) for many short messages under one key, numbered: a message's nonce is eight zero bytes and its number.
 *
 * A native object for each message costs some 5 µs, more than the work in it. Here one AES object of node:crypto enciphers the counter blocks
 * of a whole series at once, and GHASH runs in constant time beside it (ghash.ts). Associated data that is that of the message before is not
 * hashed again. Results are those of node:crypto, byte for byte.
 *
 * Limits: a number is used once to seal; 2^32 numbers of at most {@link seriesMessageBytes} each are far below SP 800-38D's bounds. Longer messages
 * are for aead.ts.
 */
import { createCipheriv, type Cipheriv } from 'node:crypto';
import { Ghash, secretWords } from './ghash.ts';
import { equalSecrets } from './hmac.ts';
import { secretBytes, wipe } from './secret.ts';
import { aeadNonceBytes, aeadTagBytes } from './aead.ts';

/** Of one message. */
export const seriesMessageBytes = 1024;

const blockBytes = 16;
/** Key stream made at once. */
const mostStreamBytes = 32_768;

/** The nonce of a message, for who opens it alone. */
export function seriesNonce(number: number): Buffer {
  const nonce = Buffer.alloc(aeadNonceBytes);
  nonce.writeUInt32BE(number, aeadNonceBytes - 4);
  return nonce;
}

export class GcmSeries {
  readonly #cipher: Cipheriv;
  readonly #ghash: Ghash;
  /** State of {@link #ghash} after {@link #associated}. */
  readonly #afterAssociated = secretWords(4);
  #associated: Buffer = Buffer.alloc(0);
  #hasAssociated = false;
  /** For each message from {@link #first} on: the block for its tag, then its key stream. */
  #stream: Buffer = Buffer.alloc(0);
  #first = 0;
  #count = 0;
  #blocks = 0;
  readonly #tag = secretBytes(aeadTagBytes);

  /** @param key 32 bytes; the caller wipes its own */
  constructor(key: Uint8Array) {
    this.#cipher = createCipheriv('aes-256-ecb', key, null).setAutoPadding(false);
    const subkey = this.#cipher.update(Buffer.alloc(blockBytes));
    this.#ghash = new Ghash(subkey);
    wipe(subkey);
  }

  /**
   * Writes ciphertext ‖ tag into `target` at `offset`.
   * @param more messages that are likely to follow with the next numbers
   * @returns the offset after the tag
   */
  seal(
    target: Buffer,
    offset: number,
    number: number,
    associated: Buffer,
    plaintext: Uint8Array,
    more: number,
  ): number {
    const at = this.#streamFor(number, plaintext.length, more);
    const end = offset + plaintext.length;
    this.#applyStream(plaintext, 0, plaintext.length, at + blockBytes, target, offset);
    this.#tagOf(at, associated, target, offset, end, target, end);
    return end + aeadTagBytes;
  }

  /**
   * Opens ciphertext ‖ tag.
   * @param more as for {@link seal}
   * @returns the plaintext in memory of its own (the caller wipes it), or undefined when it is not authentic
   */
  open(number: number, associated: Buffer, sealed: Buffer, more: number): Buffer | undefined {
    /* Precondition: a whole tag. */
    if (sealed.length < aeadTagBytes) return undefined;
    const length = sealed.length - aeadTagBytes;
    const at = this.#streamFor(number, length, more);
    this.#tagOf(at, associated, sealed, 0, length, this.#tag, 0);
    /* Postcondition: no byte of an unauthenticated plaintext is made. */
    if (!equalSecrets(this.#tag, sealed.subarray(length))) return undefined;
    const plaintext = secretBytes(length);
    this.#applyStream(sealed, 0, length, at + blockBytes, plaintext, 0);
    return plaintext;
  }

  /** Overwrites what is secret. The object must not be used afterwards; its owner guards that. */
  wipe(): void {
    this.#ghash.wipe();
    this.#afterAssociated.fill(0);
    this.#stream.fill(0);
    this.#stream = Buffer.alloc(0);
    this.#count = 0;
    wipe(this.#tag);
  }

  /** Where the blocks of a message are in {@link #stream}. */
  #streamFor(number: number, length: number, more: number): number {
    const needed = 1 + Math.ceil(length / blockBytes);
    const index = number - this.#first;
    if (index < 0 || index >= this.#count || needed > this.#blocks) {
      this.#makeStream(number, needed, more);
      return 0;
    }
    return index * this.#blocks * blockBytes;
  }

  #makeStream(number: number, blocks: number, more: number): void {
    const each = blocks * blockBytes;
    // Numbers that jump are not foreseen.
    const isNext = this.#count === 0 || number === this.#first + this.#count;
    const count = isNext ? Math.max(1, Math.min(1 + more, Math.floor(mostStreamBytes / each))) : 1;
    const counters = Buffer.alloc(count * each);
    let at = 0;
    for (let i = 0; i < count; i++) {
      for (let block = 1; block <= blocks; block++, at += blockBytes) {
        counters.writeUInt32BE(number + i, at + 8);
        counters.writeUInt32BE(block, at + 12);
      }
    }
    this.#stream.fill(0);
    this.#stream = this.#cipher.update(counters);
    this.#first = number;
    this.#count = count;
    this.#blocks = blocks;
  }

  #applyStream(
    from: Uint8Array,
    start: number,
    length: number,
    streamAt: number,
    to: Uint8Array,
    toAt: number,
  ): void {
    const stream = this.#stream;
    for (let i = 0; i < length; i++) to[toAt + i] = from[start + i]! ^ stream[streamAt + i]!;
  }

  #tagOf(
    at: number,
    associated: Buffer,
    sealed: Uint8Array,
    start: number,
    end: number,
    target: Uint8Array,
    offset: number,
  ): void {
    const ghash = this.#ghash;
    if (this.#hasAssociated && this.#associated.equals(associated)) ghash.reset(this.#afterAssociated);
    else {
      ghash.reset();
      ghash.update(associated, 0, associated.length);
      ghash.saveTo(this.#afterAssociated);
      this.#associated = Buffer.from(associated);
      this.#hasAssociated = true;
    }
    ghash.update(sealed, start, end);
    ghash.finish(associated.length, end - start, target, offset);
    for (let i = 0; i < aeadTagBytes; i++) target[offset + i]! ^= this.#stream[at + i]!;
  }
}
