/**
 * AES-256-GCM (NIST SP 800-38D) and ChaCha20-Poly1305 (RFC 8439) over node:crypto, with a 12-byte nonce and a
 * 16-byte tag always. The key is passed as bytes, not as KeyObject: that saves one native object per message.
 *
 * Limits: a (key, nonce) pair is used once. With random nonces that bounds a key to 2^32 messages (SP 800-38D
 * §8.3); our callers derive a fresh key per message. Neither cipher commits to its key: who needs that adds a
 * commitment (docs/formats).
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';

export type Aead = 'aes-256-gcm' | 'chacha20-poly1305';

export const aeadKeyBytes = 32;
export const aeadNonceBytes = 12;
export const aeadTagBytes = 16;

/** Without an explicit length node:crypto has accepted tags of 4 bytes (DEP0182). */
const tagOptions = { authTagLength: aeadTagBytes };

/**
 * Encrypts `plaintext` and writes ciphertext ‖ tag into `target` at `offset`.
 * @returns the offset after the tag
 */
export function aeadSealInto(
  target: Buffer,
  offset: number,
  aead: Aead,
  key: Uint8Array,
  nonce: Uint8Array,
  associatedData: Uint8Array,
  plaintext: Uint8Array,
): number {
  /* Precondition: room for ciphertext and tag. */
  if (target.length - offset < plaintext.length + aeadTagBytes) {
    throw new RangeError(
      `AEAD target: expected ${plaintext.length + aeadTagBytes} bytes, got ${target.length - offset}`,
    );
  }
  // TypeScript has one overload per cipher name; the options are the same.
  const cipher = createCipheriv(aead as 'aes-256-gcm', key, nonce, tagOptions);
  if (associatedData.length > 0) cipher.setAAD(associatedData);
  target.set(cipher.update(plaintext), offset);
  cipher.final(); // both are stream ciphers: nothing is left to write
  target.set(cipher.getAuthTag(), offset + plaintext.length);
  return offset + plaintext.length + aeadTagBytes;
}

/**
 * Decrypts ciphertext ‖ tag.
 * @returns the plaintext in memory of its own (the caller wipes it), or undefined when it is not authentic
 */
export function aeadOpen(
  aead: Aead,
  key: Uint8Array,
  nonce: Uint8Array,
  associatedData: Uint8Array,
  sealed: Uint8Array,
): Buffer | undefined {
  /* Precondition: a whole tag and a whole nonce; anything else was not made by aeadSealInto. */
  if (sealed.length < aeadTagBytes || nonce.length !== aeadNonceBytes) return undefined;
  const tagStart = sealed.length - aeadTagBytes;
  const decipher = createDecipheriv(aead as 'aes-256-gcm', key, nonce, tagOptions);
  decipher.setAuthTag(sealed.subarray(tagStart));
  if (associatedData.length > 0) decipher.setAAD(associatedData);
  const plaintext = decipher.update(sealed.subarray(0, tagStart));
  try {
    decipher.final();
  } catch {
    /* Postcondition: no byte of an unauthenticated plaintext leaves. */
    plaintext.fill(0);
    return undefined;
  }
  return plaintext;
}
