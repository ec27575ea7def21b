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

/** HMAC-SHA512 (RFC 2104) of the parts, joined, under a key of at most one block; the caller wipes it when it is a key. */
export function hmacSha512(key: Uint8Array, ...parts: readonly Uint8Array[]): Buffer {
  /* Precondition: longer keys would have to be hashed first, and none of ours is longer. */
  if (key.length > blockBytes)
    throw new TypeError(`HMAC key: expected at most ${blockBytes} bytes, got ${key.length}`);
  let length = blockBytes;
  for (const part of parts) length += part.length;
  const inner = secretBytes(length).fill(0x36, 0, blockBytes);
  const outer = secretBytes(blockBytes + digestBytes).fill(0x5c, 0, blockBytes);
  for (let i = 0; i < key.length; i++) {
    inner[i]! ^= key[i]!;
    outer[i]! ^= key[i]!;
  }
  let at = blockBytes;
  for (const part of parts) {
    inner.set(part, at);
    at += part.length;
  }
  const digest = hash('sha512', inner, 'buffer');
  outer.set(digest, blockBytes);
  const mac = hash('sha512', outer, 'buffer');
  wipe(inner, outer, digest);
  return mac;
}

/** HKDF-Expand with SHA-512 from a key that is uniformly random. The caller wipes the result. */
export function hkdfExpandSha512(key: Uint8Array, info: Uint8Array, length: number): Buffer {
  /* Precondition: one byte counts the blocks. */
  if (length > 255 * digestBytes) throw new RangeError(`HKDF length: got ${length}`);
  const output = secretBytes(length);
  let block: Buffer = Buffer.alloc(0);
  for (let at = 0, count = 1; at < length; at += digestBytes, count++) {
    const next = hmacSha512(key, block, info, Uint8Array.of(count));
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
