/**
 * KES's ciphertexts of versions 1 (JSON, v0.6.1 to v0.18) and 2 (MessagePack, v0.19.2 to 2024-01), which name
 * their algorithm and key. Only what KES wrote is accepted, in its exact form: anything looser is refused here and
 * then read as version 3, where it cannot be authentic (docs/formats/kes-ciphertext.md).
 */
import { decodeBase64 } from '../crypto/index.ts';
import { parseAlgorithm, parseFirstAlgorithm, type KeyAlgorithm } from './algorithm.ts';

export interface LegacyCiphertext {
  readonly algorithm: KeyAlgorithm;
  /** hex(SHA-256(key)[0..16]); undefined in ciphertexts before v0.16. */
  readonly keyId: string | undefined;
  readonly salt: Buffer;
  readonly nonce: Buffer;
  /** AEAD output ‖ tag. */
  readonly sealed: Buffer;
}

const saltBytes = 16;
const nonceBytes = 12;
const openBrace = 0x7b;
const arrayOfFive = 0x95;

/** Undefined for everything that is not a version 1 or 2 ciphertext. */
export function parseLegacyCiphertext(ciphertext: Buffer): LegacyCiphertext | undefined {
  switch (ciphertext[0]) {
    case openBrace:
      return parseFirstVersion(ciphertext);
    case arrayOfFive:
      return parseSecondVersion(ciphertext);
    default:
      return undefined;
  }
}

function parseFirstVersion(ciphertext: Buffer): LegacyCiphertext | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(ciphertext.toString('latin1'));
  } catch {
    return undefined;
  }
  const fields = new Map(Object.entries(parsed as Record<string, unknown>));
  const aead = fields.get('aead');
  const keyId = fields.get('id');
  const salt = decodeField(fields.get('iv'));
  const nonce = decodeField(fields.get('nonce'));
  const sealed = decodeField(fields.get('bytes'));
  if (fields.size !== (keyId === undefined ? 4 : 5)) return undefined;
  if (keyId !== undefined && typeof keyId !== 'string') return undefined;
  const algorithm = typeof aead === 'string' ? parseFirstAlgorithm(aead) : undefined;
  if (algorithm === undefined || sealed === undefined) return undefined;
  if (salt?.length !== saltBytes || nonce?.length !== nonceBytes) return undefined;
  return { algorithm, keyId: keyId === '' ? undefined : keyId, salt, nonce, sealed };
}

/** Canonical base64 only: a ciphertext whose unused bits were changed is not the one that KES wrote. */
function decodeField(field: unknown): Buffer | undefined {
  if (typeof field !== 'string') return undefined;
  const bytes = decodeBase64(Buffer.from(field, 'latin1'), 0, field.length, 'pooled');
  return bytes?.toString('base64') === field ? bytes : undefined;
}

function parseSecondVersion(ciphertext: Buffer): LegacyCiphertext | undefined {
  let at = 1;

  /** The content of a str or bin of MessagePack: `fixed` is the base of the short form, where the type has one. */
  function take(first: number, fixed: number | undefined): Buffer | undefined {
    const type = ciphertext[at++];
    if (type === undefined) return undefined;
    let length: number;
    if (fixed !== undefined && (type & 0xe0) === fixed) {
      length = type & 0x1f;
    } else {
      const lengthBytes = type === first ? 1 : type === first + 1 ? 2 : type === first + 2 ? 4 : 0;
      if (lengthBytes === 0 || at + lengthBytes > ciphertext.length) return undefined;
      length = ciphertext.readUIntBE(at, lengthBytes);
      at += lengthBytes;
    }
    if (length > ciphertext.length - at) return undefined;
    at += length;
    return ciphertext.subarray(at - length, at);
  }

  const string8 = 0xd9;
  const fixedString = 0xa0;
  const binary8 = 0xc4;
  const name = take(string8, fixedString);
  const keyId = take(string8, fixedString);
  const salt = take(binary8, undefined);
  const nonce = take(binary8, undefined);
  const sealed = take(binary8, undefined);
  if (name === undefined || keyId === undefined || sealed === undefined || at !== ciphertext.length)
    return undefined;
  if (salt?.length !== saltBytes || nonce?.length !== nonceBytes) return undefined;
  const algorithm = parseAlgorithm(name.toString('latin1'));
  if (algorithm === undefined) return undefined;
  return { algorithm, keyId: keyId.length === 0 ? undefined : keyId.toString('latin1'), salt, nonce, sealed };
}
