/**
 * HChaCha20 (draft-irtf-cfrg-xchacha-03 §2.2): 32-byte key and 16-byte input to a 32-byte subkey.
 * node:crypto has no such function; the core is @noble/ciphers (audited, constant-time by construction: only
 * additions, rotations and exclusive-or). A subkey per random 16-byte input lifts the nonce limits of
 * ChaCha20-Poly1305 (96-bit random nonces) for a long-lived key.
 */
import { hchacha } from '@noble/ciphers/chacha.js';
import { secretBytes } from './secret.ts';

/** "expand 32-byte k" as little-endian words (RFC 8439 §2.3). */
const sigma = new Uint32Array(new Uint8Array(Buffer.from('expand 32-byte k', 'latin1')).buffer);

/** Key, input and subkey as words, in memory that starts on a word boundary. */
const scratch = secretBytes(128);
const keyWords = new Uint32Array(scratch.buffer, 0, 8);
const inputWords = new Uint32Array(scratch.buffer, 32, 4);
const subkeyWords = new Uint32Array(scratch.buffer, 64, 8);

/** The subkey, in memory of its own; the caller wipes it. */
export function hchacha20(key: Uint8Array, input: Uint8Array): Buffer {
  if (key.length !== 32) throw new TypeError(`HChaCha20 key: expected 32 bytes, got ${key.length}`);
  if (input.length !== 16) throw new TypeError(`HChaCha20 input: expected 16 bytes, got ${input.length}`);
  scratch.set(key, 0);
  scratch.set(input, 32);
  hchacha(sigma, keyWords, inputWords, subkeyWords);
  const subkey = secretBytes(32);
  subkey.set(scratch.subarray(64, 96));
  scratch.fill(0);
  return subkey;
}
