/**
 * HMAC-SHA256 (RFC 2104, FIPS 198-1) under one key over many messages of one fixed length.
 *
 * The padded key blocks are laid out once; each message then takes two one-shot digests and creates no Hmac or
 * KeyObject. Those have a native half, and when they die young they make every young-generation collection
 * slow (several milliseconds at the tail of a busy server).
 */
import { hash } from 'node:crypto';
import { secretBytes } from './secret.ts';

const blockBytes = 64;
const digestBytes = 32;

export class PreparedHmac {
  /** (key ⊕ ipad) ‖ message */
  readonly #inner: Buffer;
  /** (key ⊕ opad) ‖ inner digest */
  readonly #outer: Buffer;

  /** @param key at most one block (64 bytes): longer keys would have to be hashed first, and none of ours is longer. */
  constructor(key: Uint8Array, messageBytes: number) {
    if (key.length > blockBytes)
      throw new TypeError(`HMAC key: expected at most ${blockBytes} bytes, got ${key.length}`);
    this.#inner = secretBytes(blockBytes + messageBytes).fill(0x36, 0, blockBytes);
    this.#outer = secretBytes(blockBytes + digestBytes).fill(0x5c, 0, blockBytes);
    for (let i = 0; i < key.length; i++) {
      this.#inner[i]! ^= key[i]!;
      this.#outer[i]! ^= key[i]!;
    }
  }

  /** The 32-byte MAC of `message`, in memory of its own; the caller wipes it when it is a key. */
  digest(message: Uint8Array): Buffer {
    /* Precondition: the message fills its place exactly, else bytes of an earlier one would be authenticated. */
    if (message.length !== this.#inner.length - blockBytes) {
      throw new TypeError(
        `HMAC message: expected ${this.#inner.length - blockBytes} bytes, got ${message.length}`,
      );
    }
    this.#inner.set(message, blockBytes);
    const innerDigest = hash('sha256', this.#inner, 'buffer');
    this.#outer.set(innerDigest, blockBytes);
    innerDigest.fill(0);
    const mac = hash('sha256', this.#outer, 'buffer');
    this.#outer.fill(0, blockBytes);
    return mac;
  }

  /** Overwrites the key blocks. The object must not be used afterwards; its owner guards that. */
  wipe(): void {
    this.#inner.fill(0);
    this.#outer.fill(0);
  }
}
