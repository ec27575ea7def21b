/** HMAC-SHA256 (RFC 2104) of a message of any length, and the comparison that belongs to it. */
import { createHmac, timingSafeEqual } from 'node:crypto';

export function hmacSha256(key: Uint8Array, message: Uint8Array): Buffer {
  return createHmac('sha256', key).update(message).digest();
}

/** Equality in constant time. Lengths are not secret; node's timingSafeEqual throws when they differ. */
export function equalSecrets(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
