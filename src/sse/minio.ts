/**
 * MinIO's encrypted objects: its key hierarchy and the names of its metadata, over DARE streams (docs/formats/dare.md). Reads what MinIO
 * wrote since 2018, and writes what it reads.
 *
 * - external key: the data key of SSE-S3 and SSE-KMS, the customer's key of SSE-C
 * - object key: `HMAC-SHA256(external key, label ‖ 32 random bytes)`, so random per object
 * - sealing key: `HMAC-SHA256(external key, IV ‖ domain ‖ seal algorithm ‖ bucket/object)`; the object key is stored as a DARE stream under it
 * - part key: `HMAC-SHA256(object key, part number (4, little endian))`
 *
 * The path is in the sealing key: a copy or a rename seals the object key anew and leaves the data alone.
 */
import { createHash } from 'node:crypto';
import path from 'node:path';
import { hmacSha256, secretBytes, takeRandom, wipe, type Aead } from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import {
  DareOpener,
  darePlainLength,
  DareSealer,
  maxPartNumber,
  type DareOpenOptions,
} from '../formats/index.ts';
import { canonicalContext, parseContext, type EncryptionContext } from './context.ts';

export type MinioMode = 'SSE-S3' | 'SSE-KMS' | 'SSE-C';

/** Metadata as it is stored: names of any case, values as text. */
export type MinioMetadata = Readonly<Record<string, string>>;

export interface MinioPlace {
  readonly bucket: string;
  readonly object: string;
}

/** What metadata says of an object's encryption. */
export interface MinioEncryption {
  readonly mode: MinioMode;
  /** Each part is a stream under a key of its own. */
  readonly isMultipart: boolean;
  /**
   * Of an object in parts: its plaintext bytes, which MinIO answers with as the object's length, and breaks off when the parts have another
   * one. Where it is not stated MinIO adds up the parts.
   */
  readonly plainBytes?: number | undefined;
  readonly sealAlgorithm: SealAlgorithm;
  /** 32 bytes. */
  readonly iv: Buffer;
  /** The object key as a DARE stream, 64 bytes. */
  readonly sealedKey: Buffer;
  /** Name of the master key, and the data key's ciphertext; not for SSE-C. */
  readonly keyName?: string | undefined;
  readonly wrappedKey?: Buffer | undefined;
  /** SSE-KMS: the client's own entries. */
  readonly context: EncryptionContext;
}

const prefix = 'X-Minio-Internal-Server-Side-Encryption-';
const names = {
  iv: `${prefix}Iv`,
  sealAlgorithm: `${prefix}Seal-Algorithm`,
  sealedKey: {
    'SSE-C': `${prefix}Sealed-Key`,
    'SSE-S3': `${prefix}S3-Sealed-Key`,
    'SSE-KMS': `${prefix}Kms-Sealed-Key`,
  },
  keyName: `${prefix}S3-Kms-Key-Id`,
  wrappedKey: `${prefix}S3-Kms-Sealed-Key`,
  context: `${prefix}Context`,
  multipart: 'X-Minio-Internal-Encrypted-Multipart',
  plainBytes: 'X-Minio-Internal-actual-size',
} as const;

const current = 'DAREv2-HMAC-SHA256';
/** Until 2018; the path is not bound. */
const legacy = 'DARE-SHA256';
export type SealAlgorithm = typeof current | typeof legacy;

const ivBytes = 32;
const keyBytes = 32;
const objectKeyLabel = Buffer.from('object-encryption-key generation');
const etagLabel = Buffer.from('SSE-etag');
const checksumLabel = Buffer.from('object-checksum');

/**
 * What an object's metadata says of its encryption.
 * @returns undefined when it is not encrypted
 * @throws SelloError SELLO_OBJECT_FORMAT_UNKNOWN when something is missing, malformed, or there twice
 */
export function parseMinioMetadata(metadata: MinioMetadata): MinioEncryption | undefined {
  const values = new Map<string, string>();
  for (const [name, value] of Object.entries(metadata)) {
    const known = name.toLowerCase();
    /* Precondition: two values of one name would be two answers. */
    if (values.has(known)) throw unknown(`${name} is there twice`);
    values.set(known, value);
  }
  const read = (name: string): string | undefined => values.get(name.toLowerCase());
  const modes = (['SSE-S3', 'SSE-KMS', 'SSE-C'] as const).filter(
    (mode) => read(names.sealedKey[mode]) !== undefined,
  );
  const [mode] = modes;
  if (mode === undefined) {
    if (read(names.iv) !== undefined || read(names.wrappedKey) !== undefined) throw unknown('no sealed key');
    return undefined;
  }
  if (modes.length > 1) throw unknown('sealed keys of more than one mode');
  const sealAlgorithm = read(names.sealAlgorithm);
  if (sealAlgorithm !== current && sealAlgorithm !== legacy) throw unknown('seal algorithm');
  const iv = base64(read(names.iv), 'IV');
  if (iv.length !== ivBytes) throw unknown('IV');
  const sealedKey = base64(read(names.sealedKey[mode]), 'sealed key');
  if (darePlainLength(sealedKey.length) !== keyBytes) throw unknown('sealed key');
  const parts = partsOf(read(names.multipart) !== undefined, read(names.plainBytes));
  if (mode === 'SSE-C') return { mode, ...parts, sealAlgorithm, iv, sealedKey, context: {} };
  const keyName = read(names.keyName);
  if (keyName === undefined || keyName === '') throw unknown('name of the master key');
  const contextText = mode === 'SSE-KMS' ? read(names.context) : undefined;
  const context = contextText === undefined ? {} : parseContext(base64(contextText, 'context'));
  if (context === undefined) throw unknown('context');
  const wrappedKey = base64(read(names.wrappedKey), 'wrapped data key');
  return { mode, ...parts, sealAlgorithm, iv, sealedKey, keyName, wrappedKey, context };
}

function partsOf(
  isMultipart: boolean,
  stated: string | undefined,
): Pick<MinioEncryption, 'isMultipart' | 'plainBytes'> {
  if (!isMultipart || stated === undefined) return { isMultipart };
  const plainBytes = Number(stated);
  if (!/^\d+$/.test(stated) || !Number.isSafeInteger(plainBytes)) throw unknown('length');
  return { isMultipart, plainBytes };
}

/** The metadata that MinIO stores for `encryption`. */
export function formatMinioMetadata(encryption: MinioEncryption): Record<string, string> {
  const { mode, isMultipart, plainBytes, sealAlgorithm, iv, sealedKey, keyName, wrappedKey, context } =
    encryption;
  const metadata: Record<string, string> = {
    [names.iv]: iv.toString('base64'),
    [names.sealAlgorithm]: sealAlgorithm,
    [names.sealedKey[mode]]: sealedKey.toString('base64'),
  };
  if (isMultipart) metadata[names.multipart] = '';
  if (isMultipart && plainBytes !== undefined) metadata[names.plainBytes] = String(plainBytes);
  if (mode === 'SSE-C') return metadata;
  /* Precondition: without these nobody opens the object again. */
  if (keyName === undefined || wrappedKey === undefined)
    throw new TypeError(`${mode} needs the master key's name and the wrapped data key`);
  metadata[names.keyName] = keyName;
  metadata[names.wrappedKey] = wrappedKey.toString('base64');
  if (mode === 'SSE-KMS' && Object.keys(context).length > 0)
    metadata[names.context] = canonicalContext(context).toString('base64');
  return metadata;
}

/** The context that MinIO gives its key server with an object's data key: the client's entries, and the place unless one of them has that name. */
export function minioDataKeyContext(place: MinioPlace, context: EncryptionContext = {}): Buffer {
  const whole = Object.assign(Object.create(null) as Record<string, string>, context);
  if (!Object.hasOwn(whole, place.bucket)) whole[place.bucket] = joined(place);
  return canonicalContext(whole);
}

/**
 * The object key. The caller wipes it.
 * @param externalKey data key, or the customer's key
 * @throws SelloError SELLO_OBJECT_NOT_AUTHENTIC for another key, another place, or a changed sealed key
 */
export function openMinioObjectKey(
  encryption: MinioEncryption,
  externalKey: Uint8Array,
  place: MinioPlace,
): Buffer {
  const { sealAlgorithm, sealedKey } = encryption;
  const sealingKey = sealingKeyOf(encryption, externalKey, place);
  try {
    const versions = sealAlgorithm === legacy ? ([1, 2] as const) : ([2] as const);
    return openSmall(sealingKey, sealedKey, { versions, plainBytes: keyBytes });
  } finally {
    wipe(sealingKey);
  }
}

/** A new object key under an external key. The caller wipes it. */
export function newMinioObjectKey(externalKey: Uint8Array): Buffer {
  const nonce = takeRandom(ivBytes);
  const input = secretBytes(objectKeyLabel.length + ivBytes);
  input.set(objectKeyLabel);
  input.set(nonce, objectKeyLabel.length);
  const key = hmacSha256(externalKey, input);
  wipe(nonce, input);
  return key;
}

/** Seals an object key for a place, with a fresh IV: for a new object, a copy, or another external key. */
export function sealMinioObjectKey(
  mode: MinioMode,
  objectKey: Uint8Array,
  externalKey: Uint8Array,
  place: MinioPlace,
  aead?: Aead,
): Pick<MinioEncryption, 'mode' | 'sealAlgorithm' | 'iv' | 'sealedKey'> {
  const iv = Buffer.from(takeRandom(ivBytes));
  const sealingKey = sealingKeyOf({ mode, sealAlgorithm: current, iv }, externalKey, place);
  try {
    return { mode, sealAlgorithm: current, iv, sealedKey: sealSmall(sealingKey, objectKey, aead) };
  } finally {
    wipe(sealingKey);
  }
}

/** The key of one part. The caller wipes it. */
export function minioPartKey(objectKey: Uint8Array, part: number): Buffer {
  /* Precondition: S3's numbers only. */
  if (!Number.isInteger(part) || part < 1 || part > maxPartNumber)
    throw new RangeError(`part number: got ${part}`);
  const number = Buffer.alloc(4);
  number.writeUInt32LE(part);
  return hmacSha256(objectKey, number);
}

/** Key of the stream that holds an object, or one part of it. The caller wipes it. */
export function minioStreamKey(
  { isMultipart }: MinioEncryption,
  objectKey: Uint8Array,
  part: number,
): Buffer {
  return isMultipart ? minioPartKey(objectKey, part) : Buffer.from(objectKey);
}

/** Objects of before 2018 may be DARE 1.0; those whose key is sealed by today's algorithm are not taken for such. */
export function minioVersions({ sealAlgorithm }: MinioEncryption): readonly (1 | 2)[] {
  return sealAlgorithm === legacy ? [1, 2] : [2];
}

/**
 * What the ETag of an object in one part hides: the MD5 of an SSE-S3 object, random bytes otherwise. For SSE-KMS and SSE-C MinIO
 * shows clients the last 16 bytes of the sealed form as they are.
 * @param etag the stored ETag, hex
 * @returns undefined when it is no sealed one (an object in parts, or none at all)
 * @throws SelloError SELLO_OBJECT_NOT_AUTHENTIC
 */
export function openMinioEtag(objectKey: Uint8Array, etag: string): string | undefined {
  const sealed = Buffer.from(etag, 'hex');
  if (etag.length !== 2 * sealed.length || darePlainLength(sealed.length) !== 16) return undefined;
  const key = hmacSha256(objectKey, etagLabel);
  try {
    return openSmall(key, sealed, { plainBytes: 16 }).toString('hex');
  } finally {
    wipe(key);
  }
}

/** @param md5 16 bytes */
export function sealMinioEtag(objectKey: Uint8Array, md5: Uint8Array, aead?: Aead): string {
  const key = hmacSha256(objectKey, etagLabel);
  try {
    return sealSmall(key, md5, aead).toString('hex');
  } finally {
    wipe(key);
  }
}

/**
 * The checksum that a client sent with an object in one part, stored as `x-minio-internal-crc`.
 * @param sealed the stored bytes
 * @returns MinIO's number of the kind, then the checksum: `02` SHA-256, `04` SHA-1, `08` CRC-32, each with 1 added where it came in a trailer
 * @throws SelloError SELLO_OBJECT_NOT_AUTHENTIC
 */
export function openMinioChecksum(objectKey: Uint8Array, sealed: Buffer): Buffer {
  const key = hmacSha256(objectKey, checksumLabel);
  try {
    return openSmall(key, sealed, {});
  } finally {
    wipe(key);
  }
}

function sealingKeyOf(
  { mode, sealAlgorithm, iv }: Pick<MinioEncryption, 'mode' | 'sealAlgorithm' | 'iv'>,
  externalKey: Uint8Array,
  place: MinioPlace,
): Buffer {
  /* Precondition: AES-256 and S3 both know keys of 32 bytes only. */
  if (externalKey.length !== keyBytes)
    throw new TypeError(`external key: expected 32 bytes, got ${externalKey.length}`);
  if (sealAlgorithm === legacy) return createHash('sha256').update(externalKey).update(iv).digest();
  const message = Buffer.concat([
    iv,
    Buffer.from(mode),
    Buffer.from(sealAlgorithm),
    Buffer.from(joined(place)),
  ]);
  return hmacSha256(externalKey, message);
}

/** As Go's path.Join, which MinIO uses: what names an object twice over is cleaned, and a trailing slash goes. */
function joined({ bucket, object }: MinioPlace): string {
  const text = path.posix.join(bucket, object);
  return text.length > 1 && text.endsWith('/') ? text.slice(0, -1) : text;
}

function openSmall(key: Uint8Array, sealed: Buffer, options: DareOpenOptions): Buffer {
  const opener = new DareOpener(key, options);
  const out: Buffer[] = [];
  opener.update(sealed, out);
  opener.final(out);
  const [plain] = out;
  if (plain === undefined) throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC');
  return plain;
}

function sealSmall(key: Uint8Array, plain: Uint8Array, aead: Aead | undefined): Buffer {
  const sealer = new DareSealer(key, { aead });
  const out: Buffer[] = [];
  sealer.update(plain, out);
  sealer.final(out);
  return Buffer.concat(out);
}

function base64(text: string | undefined, what: string): Buffer {
  const bytes = Buffer.from(text ?? '', 'base64');
  if (bytes.length === 0 || bytes.toString('base64') !== text) throw unknown(what);
  return bytes;
}

function unknown(detail: string): SelloError {
  return new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', { detail: `MinIO metadata: ${detail}` });
}
