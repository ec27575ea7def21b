/**
 * API keys, as KES's clients know them: `kes:v1:` and the base64 of a zero byte and the 32-byte seed of an Ed25519
 * key. The key never travels: a client builds a throw-away certificate from it and proves possession in the TLS
 * handshake; the server knows the identity, the hash of the public key.
 */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { inspect } from 'node:util';
import {
  decodeBase64Into,
  encodeBase64,
  secretBytes,
  secretCopy,
  takeRandom,
  wipe,
} from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import { identityOfPublicKey } from './certificate.ts';
import type { Identity } from './identity.ts';
import { issueCertificate, type IssuedCertificate } from './issue-certificate.ts';

const prefix = 'kes:v1:';

/** The first byte says which kind of key follows; Ed25519 is the only one there is. */
const ed25519Kind = 0x00;
const seedBytes = 32;
const decodedBytes = 1 + seedBytes;

/** PKCS#8 of an Ed25519 key up to its seed (RFC 8410 §7). */
const pkcs8Prefix = Buffer.from('302e020100300506032b657004220420', 'hex');

/** What kms-go gives the certificates it makes. */
const certificateDays = 90;
const dayMs = 86_400_000;

/** An API key that cannot be printed or serialised by accident; `reveal` is the one way to its text. */
export class ApiKey {
  readonly identity: Identity;
  readonly privateKey: KeyObject;
  readonly #seed: Buffer;

  constructor(seed: Uint8Array) {
    this.#seed = secretCopy(seed);
    const pkcs8 = secretBytes(pkcs8Prefix.length + seedBytes);
    pkcs8.set(pkcs8Prefix);
    pkcs8.set(seed, pkcs8Prefix.length);
    this.privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
    wipe(pkcs8);
    this.identity = identityOfPublicKey(
      createPublicKey(this.privateKey).export({ format: 'der', type: 'spki' }),
    );
  }

  /** The text to hand to a person, once. */
  reveal(): string {
    const bytes = secretBytes(decodedBytes);
    bytes[0] = ed25519Kind;
    bytes.set(this.#seed, 1);
    const text = encodeBase64(bytes);
    const revealed = prefix + text.toString('latin1');
    wipe(bytes, text);
    return revealed;
  }

  toString(): string {
    return '[ApiKey]';
  }

  toJSON(): string {
    return '[ApiKey]';
  }

  [inspect.custom](): string {
    return '[ApiKey]';
  }
}

export function generateApiKey(): ApiKey {
  const seed = takeRandom(seedBytes);
  const apiKey = new ApiKey(seed);
  wipe(seed);
  return apiKey;
}

/**
 * Reads an API key; the prefix may be missing. The error's `detail` is what KES's command line says.
 * @throws SelloError SELLO_API_KEY_INVALID
 */
export function parseApiKey(text: string): ApiKey {
  const encoded = Buffer.from(text.startsWith(prefix) ? text.slice(prefix.length) : text);
  const decoded = secretBytes(Math.floor(encoded.length / 4) * 3);
  try {
    const length = decodeBase64Into(decoded, encoded, 0, encoded.length);
    if (length < 0) throw invalidApiKey(`illegal base64 data at input byte ${-1 - length}`);
    if (length !== decodedBytes) throw invalidApiKey('kes: invalid API key: invalid length');
    if (decoded[0] !== ed25519Kind) throw invalidApiKey('kes: invalid API key: unsupported type');
    return new ApiKey(decoded.subarray(1, decodedBytes));
  } finally {
    wipe(encoded, decoded);
  }
}

/** The client certificate a KES client presents for an API key. Every call makes another one, of the same identity. */
export function certificateOf(apiKey: ApiKey, now = new Date()): IssuedCertificate {
  return issueCertificate({
    commonName: apiKey.identity,
    notBefore: now,
    notAfter: new Date(now.getTime() + certificateDays * dayMs),
    privateKey: apiKey.privateKey,
    extendedKeyUsage: ['clientAuth'],
  });
}

function invalidApiKey(detail: string): SelloError {
  return new SelloError('SELLO_API_KEY_INVALID', { detail });
}
