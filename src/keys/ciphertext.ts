/**
 * KES's ciphertexts: version 3 is written and read, versions 1 and 2 are read (docs/formats/kes-ciphertext.md).
 *
 * Version 3 is `AEAD output ‖ tag (16) ‖ salt (16) ‖ nonce (12)` under a key derived from the master key and the
 * random salt. A (salt, nonce) pair is 224 random bits, so the bound of 2^32 messages per AES-GCM key with random
 * nonces (SP 800-38D §8.3) concerns no master key in practice. Nothing inside names version, algorithm or key.
 */
import {
  aeadNonceBytes,
  aeadOpen,
  aeadSealInto,
  aeadTagBytes,
  takeRandom,
  wipe,
  type Aead,
} from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import type { KeyAlgorithm } from './algorithm.ts';
import { parseLegacyCiphertext } from './legacy-ciphertext.ts';
import { messageSaltBytes, type MasterKey } from './material.ts';

export const dataKeyBytes = 32;

const randomBytes = messageSaltBytes + aeadNonceBytes;

/** What a version 3 ciphertext is longer than its plaintext. */
export const ciphertextOverheadBytes = aeadTagBytes + randomBytes;

const aeads: Readonly<Record<KeyAlgorithm, Aead>> = { AES256: 'aes-256-gcm', ChaCha20: 'chacha20-poly1305' };

export interface DataKey {
  /** 32 secret bytes. The caller wipes them. */
  readonly plaintext: Buffer;
  /** 76 bytes in KES's layout, 144 as an envelope; not secret. */
  readonly ciphertext: Buffer;
  /** Of the master key. */
  readonly version: number;
}

/** A new data key under `key`, bound to `context`. */
export function issueDataKey(key: MasterKey, context: Uint8Array): DataKey {
  const random = takeRandom(dataKeyBytes + randomBytes); // one slice: its two parts are one allocation less
  const plaintext = random.subarray(0, dataKeyBytes);
  return {
    plaintext,
    ciphertext: sealWith(key, plaintext, context, random.subarray(dataKeyBytes)),
    version: 1,
  };
}

/** Encrypts `plaintext` under `key`, bound to `context`. `plaintext` stays the caller's, who wipes it. */
export function seal(key: MasterKey, plaintext: Uint8Array, context: Uint8Array): Buffer {
  return sealWith(key, plaintext, context, takeRandom(randomBytes));
}

function sealWith(key: MasterKey, plaintext: Uint8Array, context: Uint8Array, random: Buffer): Buffer {
  const ciphertext = Buffer.allocUnsafe(plaintext.length + ciphertextOverheadBytes); // not secret: the pool will do
  const messageKey = key.messageKey(key.algorithm, random.subarray(0, messageSaltBytes));
  const nonce = random.subarray(messageSaltBytes);
  const end = aeadSealInto(ciphertext, 0, aeads[key.algorithm], messageKey, nonce, context, plaintext);
  messageKey.fill(0);
  ciphertext.set(random, end);
  return ciphertext;
}

/**
 * Decrypts a ciphertext of any version. The caller wipes the result.
 * @throws SelloError SELLO_CIPHERTEXT_NOT_AUTHENTIC for a ciphertext of another key, another context, or none at all
 */
export function open(key: MasterKey, ciphertext: Buffer, context: Uint8Array): Buffer {
  const legacy = parseLegacyCiphertext(ciphertext);
  if (legacy !== undefined) {
    // The id only says early what the tag would say too: the ciphertext belongs to another key.
    if (legacy.keyId !== undefined && legacy.keyId !== key.id) throw notAuthentic();
    return openWith(key, legacy.algorithm, legacy.salt, legacy.nonce, context, legacy.sealed);
  }
  const saltStart = ciphertext.length - randomBytes;
  if (saltStart < aeadTagBytes) throw notAuthentic();
  const nonceStart = saltStart + messageSaltBytes;
  return openWith(
    key,
    key.algorithm,
    ciphertext.subarray(saltStart, nonceStart),
    ciphertext.subarray(nonceStart),
    context,
    ciphertext.subarray(0, saltStart),
  );
}

function openWith(
  key: MasterKey,
  algorithm: KeyAlgorithm,
  salt: Buffer,
  nonce: Buffer,
  context: Uint8Array,
  sealed: Buffer,
): Buffer {
  const messageKey = key.messageKey(algorithm, salt);
  const plaintext = aeadOpen(aeads[algorithm], messageKey, nonce, context, sealed);
  wipe(messageKey);
  if (plaintext === undefined) throw notAuthentic();
  return plaintext;
}

/** HMAC-SHA256 of `message` under the key's HMAC key. @throws SelloError SELLO_KEY_WITHOUT_MAC */
export function mac(key: MasterKey, message: Uint8Array): Buffer {
  return key.mac(message);
}

function notAuthentic(): SelloError {
  return new SelloError('SELLO_CIPHERTEXT_NOT_AUTHENTIC');
}
