/** HKDF-SHA256 (RFC 5869). At most 255 × 32 bytes of output. */
import { hkdfSync } from 'node:crypto';

/** `length` bytes derived from `inputKey`, in memory of their own; the caller wipes them. */
export function hkdfSha256(inputKey: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Buffer {
  return Buffer.from(hkdfSync('sha256', inputKey, salt, info, length));
}
