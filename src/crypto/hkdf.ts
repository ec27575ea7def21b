/**
 * HKDF (RFC 5869): with SHA-256 through node:crypto, with SHA-512 over one-shot digests, because node's takes at most 1,024 bytes of
 * info (an object's name alone may have that) and has no expand step of its own.
 */
import { hash, hkdfSync } from 'node:crypto';
import { secretBytes, wipe } from './secret.ts';

/** `length` bytes derived from `inputKey`, in memory of their own; the caller wipes them. At most 255 × 32 bytes. */
export function hkdfSha256(inputKey: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Buffer {
  return Buffer.from(hkdfSync('sha256', inputKey, salt, info, length));
}

const blockBytes = 128;
const digestBytes = 64;

/** RFC 5869 §2.3: one byte that counts the blocks. */
const counters = Array.from({ length: 256 }, (_, i) => Uint8Array.of(i));

/** Laid out anew for each MAC, and wiped after it: memory outside V8's heap costs more than the digests. */
const inner = secretBytes(1024);
const outer = secretBytes(blockBytes + digestBytes);

/** HMAC-SHA512 (RFC 2104) of the parts, joined, under a key of at most one block; the caller wipes it when it is a key. */
export function hmacSha512(key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer {
  /* Precondition: longer keys would have to be hashed first, and none of ours is longer. */
  if (key.length > blockBytes)
    throw new TypeError(`HMAC key: expected at most ${blockBytes} bytes, got ${key.length}`);
  let length = blockBytes;
  for (const part of parts) length += part.length;
  // A manifest is a message of its own size; everything else is short.
  const block = length <= inner.length ? inner.subarray(0, length) : secretBytes(length);
  block.fill(0x36, 0, blockBytes);
  outer.fill(0x5c, 0, blockBytes);
  for (let i = 0; i < key.length; i++) {
    block[i]! ^= key[i]!;
    outer[i]! ^= key[i]!;
  }
  let at = blockBytes;
  for (const part of parts) {
    block.set(part, at);
    at += part.length;
  }
  const digest = hash('sha512', block, 'buffer');
  outer.set(digest, blockBytes);
  const mac = hash('sha512', outer, 'buffer');
  wipe(block, outer, digest);
  return mac;
}

/** HKDF-Expand with SHA-512 from a key that is uniformly random. The caller wipes the result. */
export function hkdfExpandSha512(key: Uint8Array, info: Uint8Array, length: number): Buffer {
  /* Precondition: one byte counts the blocks. */
  if (length > 255 * digestBytes) throw new RangeError(`HKDF length: got ${length}`);
  const output = secretBytes(length);
  let block: Buffer = Buffer.alloc(0);
  for (let at = 0, count = 1; at < length; at += digestBytes, count++) {
    const next = hmacSha512(key, block, info, counters[count]!);
    wipe(block);
    block = next;
    output.set(block.subarray(0, Math.min(digestBytes, length - at)), at);
  }
  wipe(block);
  return output;
}

/** HKDF with SHA-512: extract, then expand. The caller wipes the result. */
export function hkdfSha512(inputKey: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Buffer {
  // RFC 5869 §2.2 keys the MAC with the salt; the input key is its message.
  const extracted = hmacSha512(salt, inputKey);
  const output = hkdfExpandSha512(extracted, info, length);
  wipe(extracted);
  return output;
}
