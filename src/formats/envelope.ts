/**
 * The envelope of a sealed object (docs/formats/object-envelope.md): the object's random key, sealed under a key that is derived
 * from a data key or a customer's key and bound to tenant, bucket and object. Copying or renaming an object makes a
 * new envelope and leaves the sealed bytes alone.
 *
 * Envelopes are small: a metadata value, or the bytes in front of a stream.
 */
import {
  aeadKeyBytes,
  aeadOpen,
  aeadSealInto,
  equalSecrets,
  hkdfSha512,
  secretBytes,
  takeRandom,
  wipe,
} from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import { lengthPrefixed } from './encoding.ts';
import { objectIdBytes, saltBytes } from './object.ts';

/** Where an object lies. The version is bound when it is given, and then has to be given to open it. */
export interface ObjectBinding {
  readonly tenant: string;
  readonly bucket: string;
  readonly object: string;
  readonly versionId?: string | undefined;
}

/** Whose key seals the object key: a data key for SSE-S3 and SSE-KMS, the customer's for SSE-C, the program's own for `held`. */
export type EnvelopeMode = 'sse-s3' | 'sse-kms' | 'sse-c' | 'held';

/** What is in an envelope in clear. All of it is authenticated. */
export interface EnvelopeFields {
  readonly mode: EnvelopeMode;
  /** The data key is one of many objects of the bucket. */
  readonly isBucketKey: boolean;
  /** The envelope opens with its version id only. */
  readonly bindsVersion: boolean;
  /** 16 bytes. */
  readonly objectId: Buffer;
  /** Name of the master key; empty for SSE-C and `held`. */
  readonly keyName: string;
  /** The data key's ciphertext; empty for SSE-C and `held`. */
  readonly wrappedKey: Buffer;
  /** SSE-KMS: the client's encryption context, canonical JSON; may be empty. */
  readonly context: Buffer;
}

export interface Envelope extends EnvelopeFields {
  readonly salt: Buffer;
  readonly commitment: Buffer;
  readonly sealedKey: Buffer;
}

const magic = Buffer.from('SELLO-E1', 'latin1');
const label = Buffer.from('sello-envelope@v1+AEAD_AES_256_GCM\0', 'latin1');
const modes: readonly EnvelopeMode[] = ['sse-s3', 'sse-kms', 'sse-c', 'held'];

/** Bytes from magic to sealed key; what follows has lengths of its own. */
const fixedBytes = 144;

/** Fits the headers of a request, base64 included, beside everything else. */
export const maxEnvelopeBytes = 6144;
/** With its label, the longest prefix that tells how long an envelope is. */
export const envelopePrefixBytes = 12;

const flagBucketKey = 1;
const flagVersion = 2;

/** Bytes 0 to 64 and what follows the sealed key: everything that is not derived or sealed itself. */
function associatedData(envelope: Buffer): Buffer {
  return Buffer.concat([envelope.subarray(0, 64), envelope.subarray(fixedBytes)]);
}

/** Sealing key, nonce and commitment, 76 bytes. The caller wipes them. */
function derive(protectingKey: Uint8Array, salt: Buffer, mode: number, binding: ObjectBinding): Buffer {
  /* Precondition: AES-256 and S3 both know keys of 32 bytes only. */
  if (protectingKey.length !== aeadKeyBytes)
    throw new TypeError(`protecting key: expected 32 bytes, got ${protectingKey.length}`);
  const { tenant, bucket, object, versionId } = binding;
  const names = lengthPrefixed(tenant, bucket, object, ...(versionId === undefined ? [] : [versionId]));
  const info = Buffer.concat([label, Buffer.of(mode, versionId === undefined ? 0 : 1), names]);
  return hkdfSha512(protectingKey, salt, info, 76);
}

/**
 * Seals an object key.
 * @param protectingKey 32 bytes: data key, customer key, or the program's own
 * @param salt 32 fresh random bytes; given only to reproduce published vectors
 */
export function sealEnvelope(
  fields: Omit<EnvelopeFields, 'bindsVersion'>,
  protectingKey: Uint8Array,
  binding: ObjectBinding,
  objectKey: Uint8Array,
  salt: Buffer = takeRandom(saltBytes),
): Buffer {
  const { mode, isBucketKey, objectId, keyName, wrappedKey, context } = fields;
  const modeId = modes.indexOf(mode) + 1;
  const tail = [Buffer.from(keyName, 'latin1'), wrappedKey, context].flatMap((field) => {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(field.length);
    return [length, field];
  });
  const envelope = Buffer.concat([Buffer.alloc(fixedBytes), ...tail]);
  /* Precondition: it has to travel in a header. */
  if (envelope.length > maxEnvelopeBytes)
    throw new SelloError('SELLO_OBJECT_TOO_LARGE', { detail: 'envelope' });
  magic.copy(envelope);
  envelope.writeUInt32BE(envelope.length, 8);
  envelope[12] = modeId;
  envelope[13] = (isBucketKey ? flagBucketKey : 0) | (binding.versionId === undefined ? 0 : flagVersion);
  objectId.copy(envelope, 16, 0, objectIdBytes);
  salt.copy(envelope, 32, 0, saltBytes);
  const derived = derive(protectingKey, salt, modeId, binding);
  derived.copy(envelope, 64, 44, 76);
  aeadSealInto(
    envelope,
    96,
    'aes-256-gcm',
    derived.subarray(0, 32),
    derived.subarray(32, 44),
    associatedData(envelope),
    objectKey,
  );
  wipe(derived);
  return envelope;
}

/** @throws SelloError SELLO_OBJECT_FORMAT_UNKNOWN */
export function parseEnvelope(envelope: Buffer): Envelope {
  if (envelope.length < fixedBytes + 6 || envelope.length > maxEnvelopeBytes) throw unknown();
  const mode = modes[(envelope[12] ?? 0) - 1];
  const flags = envelope[13]!;
  if (
    !envelope.subarray(0, 8).equals(magic) ||
    envelope.readUInt32BE(8) !== envelope.length ||
    mode === undefined ||
    flags > 3 ||
    envelope.readUInt16BE(14) !== 0
  )
    throw unknown();
  let at = fixedBytes;
  const [keyName, wrappedKey, context] = [0, 0, 0].map(() => {
    if (at + 2 > envelope.length) throw unknown();
    const end = at + 2 + envelope.readUInt16BE(at);
    if (end > envelope.length) throw unknown();
    const field = envelope.subarray(at + 2, end);
    at = end;
    return field;
  }) as [Buffer, Buffer, Buffer];
  if (at !== envelope.length) throw unknown();
  const usesDataKey = mode === 'sse-s3' || mode === 'sse-kms';
  if ((keyName.length > 0 && wrappedKey.length > 0) !== usesDataKey) throw unknown();
  return {
    mode,
    isBucketKey: (flags & flagBucketKey) !== 0,
    bindsVersion: (flags & flagVersion) !== 0,
    objectId: envelope.subarray(16, 32),
    salt: envelope.subarray(32, 64),
    commitment: envelope.subarray(64, 96),
    sealedKey: envelope.subarray(96, fixedBytes),
    keyName: keyName.toString('latin1'),
    wrappedKey,
    context,
  };
}

/** How long the envelope is that begins so; undefined when it is none. `prefix` is its first 12 bytes. */
export function envelopeLength(prefix: Buffer): number | undefined {
  if (!prefix.subarray(0, 8).equals(magic)) return undefined;
  const length = prefix.readUInt32BE(8);
  return length >= fixedBytes + 6 && length <= maxEnvelopeBytes ? length : undefined;
}

/**
 * The object key. The caller wipes it.
 * @throws SelloError SELLO_OBJECT_FORMAT_UNKNOWN, SELLO_OBJECT_NOT_AUTHENTIC for another key, another place, or a changed envelope
 */
export function openEnvelope(envelope: Buffer, protectingKey: Uint8Array, binding: ObjectBinding): Buffer {
  const { mode, salt, commitment, sealedKey, bindsVersion } = parseEnvelope(envelope);
  // An envelope that knows no version opens whatever version is asked for: the caller may always give it.
  const bound = bindsVersion ? binding : { ...binding, versionId: undefined };
  if (bindsVersion && binding.versionId === undefined)
    throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: 'version id' });
  const derived = derive(protectingKey, salt, modes.indexOf(mode) + 1, bound);
  let objectKey: Buffer | undefined;
  /* Precondition: AES-GCM alone opens under more keys than one. */
  if (equalSecrets(derived.subarray(44), commitment)) {
    const data = associatedData(envelope);
    objectKey = aeadOpen('aes-256-gcm', derived.subarray(0, 32), derived.subarray(32, 44), data, sealedKey);
  }
  wipe(derived);
  if (objectKey === undefined) throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: 'envelope' });
  return objectKey;
}

/** A random object key. The caller wipes it. */
export function newObjectKey(): Buffer {
  const key = secretBytes(aeadKeyBytes);
  const random = takeRandom(aeadKeyBytes);
  key.set(random);
  wipe(random);
  return key;
}

export function newObjectId(): Buffer {
  return Buffer.from(takeRandom(objectIdBytes));
}

function unknown(): SelloError {
  return new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', { detail: 'envelope' });
}
