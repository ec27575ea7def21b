/**
 * Sello's own ciphertext (docs/formats/key-envelope.md): names its key and version, and commits to the bytes that sealed it.
 * Written for every version of a key but the first one in KES's layout.
 *
 *    0  8  magic "SELLOWRP"        12 16  key id              96  s  source's own part
 *    8  1  format, 1 or 2          28  4  version, big-endian 96+s 4  format 2: number in its series
 *    9  1  algorithm               32 32  salt                ..   n  ciphertext
 *   10  1  face                    64 32  commitment          ..  16  tag
 *   11  1  source
 *
 * Message key and commitment are K(1) and K(2) of the counter-mode KDF of NIST SP 800-108r1 §4.1 with HMAC-SHA256, whose
 * context is the first 64 bytes: a fresh 32-byte salt in them makes each message key one of a kind. In format 1 it seals one message,
 * so its nonce is zero; in format 2 those of one request, whose nonces are their numbers (series.ts). The 2^32 messages of SP 800-38D
 * §8.3 are out of reach. A commitment for two keys would be a collision of HMAC-SHA256.
 */
import { hash } from 'node:crypto';
import {
  aeadOpen,
  aeadSealInto,
  aeadTagBytes,
  equalSecrets,
  framed,
  seriesNonce,
  takeRandom,
  wipe,
  type Aead,
} from '../crypto/index.ts';
import type { Face } from '../access/operations.ts';
import type { KeyAlgorithm } from './algorithm.ts';

const magic = Buffer.from('SELLOWRP');
const magicWords = [magic.readUInt32BE(0), magic.readUInt32BE(4)] as const;
/** One message under its key, or a series of them. */
const formats = { alone: 1, series: 2 } as const;
const numberBytes = 4;

export const keyIdBytes = 16;
/** What the KDF sees: everything before the commitment. */
export const envelopeSeedBytes = 64;
export const intermediateIdBytes = 16;

const at = { format: 8, algorithm: 9, face: 10, source: 11, keyId: 12, version: 28, salt: 32, commitment: 64, body: 96 } as const; // prettier-ignore

/** What an envelope whose key is at hand is longer than its plaintext. */
export const envelopeOverheadBytes = at.body + aeadTagBytes;

/** Faces that seal. Numbers are part of the format. */
export type SealingFace = Exclude<Face, 'admin'>;
const faceNumbers: Readonly<Record<SealingFace, number>> = { kes: 1, transit: 2, objects: 3 };
const faceOfNumber = new Map(
  Object.entries(faceNumbers).map(([face, number]) => [number, face as SealingFace]),
);

const algorithmNumbers: Readonly<Record<KeyAlgorithm, number>> = { AES256: 1, ChaCha20: 2 };
const algorithmOfNumber = new Map(
  Object.entries(algorithmNumbers).map(([name, number]) => [number, name as KeyAlgorithm]),
);
const aeads: Readonly<Record<KeyAlgorithm, Aead>> = { AES256: 'aes-256-gcm', ChaCha20: 'chacha20-poly1305' };

/** Where the bytes come from that message key and commitment are derived of. */
export type EnvelopeSource =
  /** The version's own key. */
  | { readonly kind: 'version' }
  /** A key that Transit wrapped for this message alone; its ciphertext is carried along. */
  | { readonly kind: 'wrapped'; readonly wrapped: Buffer }
  /** An intermediate key in the keystore, by its id. */
  | { readonly kind: 'intermediate'; readonly id: Buffer };

export interface EnvelopeFacts {
  readonly keyId: Buffer;
  readonly version: number;
  readonly face: SealingFace;
  readonly algorithm: KeyAlgorithm;
  readonly source: EnvelopeSource;
}

export interface ParsedEnvelope extends EnvelopeFacts {
  readonly seed: Buffer;
  readonly commitment: Buffer;
  /** What is authenticated: everything before the ciphertext and its number. */
  readonly header: Buffer;
  /** Of the message in its series; undefined where it is alone under its key. */
  readonly number: number | undefined;
  readonly sealed: Buffer;
}

/** Message key and commitment of a seed. The key is the caller's, who wipes it. */
export interface DerivedKeys {
  readonly messageKey: Buffer;
  readonly commitment: Buffer;
}

export type Derive = (seed: Buffer) => DerivedKeys;

/** True for what can only be an envelope: KES's ciphertexts begin with random bytes (1 in 2^64), `{` or a msgpack array. */
export function isEnvelope(ciphertext: Buffer): boolean {
  return (
    ciphertext.length >= magic.length &&
    ciphertext.readUInt32BE(0) === magicWords[0] &&
    ciphertext.readUInt32BE(4) === magicWords[1]
  );
}

function isOfKnownForm(ciphertext: Buffer): boolean {
  if (!isEnvelope(ciphertext) || ciphertext.length < envelopeOverheadBytes) return false;
  return ciphertext[at.format] === formats.alone || ciphertext[at.format] === formats.series;
}

/** The version that an envelope names, without a look at the rest; 0 when it is none of a form that this release knows. */
export function envelopeVersion(ciphertext: Buffer): number {
  return isOfKnownForm(ciphertext) ? ciphertext.readUInt32BE(at.version) : 0;
}

/** @returns undefined when it is none of a form that this release knows */
export function parseEnvelope(ciphertext: Buffer): ParsedEnvelope | undefined {
  if (!isOfKnownForm(ciphertext)) return undefined;
  const algorithm = algorithmOfNumber.get(ciphertext[at.algorithm]!);
  const face = faceOfNumber.get(ciphertext[at.face]!);
  const version = ciphertext.readUInt32BE(at.version);
  const source = parseSource(ciphertext);
  if (algorithm === undefined || face === undefined || version === 0 || source === undefined)
    return undefined;
  const isOfSeries = ciphertext[at.format] === formats.series;
  const end = at.body + sourceBytes(source);
  const start = isOfSeries ? end + numberBytes : end;
  if (ciphertext.length < start + aeadTagBytes) return undefined;
  return {
    algorithm,
    face,
    version,
    source,
    keyId: ciphertext.subarray(at.keyId, at.version),
    seed: ciphertext.subarray(0, envelopeSeedBytes),
    commitment: ciphertext.subarray(at.commitment, at.body),
    header: ciphertext.subarray(0, end),
    number: isOfSeries ? ciphertext.readUInt32BE(end) : undefined,
    sealed: ciphertext.subarray(start),
  };
}

/** Seals `plaintext`, which stays the caller's. `context` is {@link innerContext}. */
export function sealEnvelope(
  facts: EnvelopeFacts,
  derive: Derive,
  context: Buffer,
  plaintext: Uint8Array,
): Buffer {
  const start = at.body + sourceBytes(facts.source);
  const envelope = Buffer.allocUnsafe(start + plaintext.length + aeadTagBytes);
  writeHeader(envelope, formats.alone, facts);
  const { messageKey, commitment } = derive(envelope.subarray(0, envelopeSeedBytes));
  envelope.set(commitment, at.commitment);
  const associated = associatedOf(envelope, start, context);
  aeadSealInto(envelope, start, aeads[facts.algorithm], messageKey, zeroNonce, associated, plaintext);
  wipe(messageKey);
  return envelope;
}

function writeHeader(envelope: Buffer, format: number, facts: EnvelopeFacts): void {
  magic.copy(envelope);
  envelope[at.format] = format;
  envelope[at.algorithm] = algorithmNumbers[facts.algorithm];
  envelope[at.face] = faceNumbers[facts.face];
  writeSource(envelope, facts.source);
  envelope.set(facts.keyId, at.keyId);
  envelope.writeUInt32BE(facts.version, at.version);
  envelope.set(takeRandom(at.commitment - at.salt), at.salt);
}

/** The header that all envelopes of a series have, with a salt of its own, and the key that seals them; the caller wipes it. */
export function beginSeries(
  facts: EnvelopeFacts,
  derive: Derive,
): { readonly header: Buffer; readonly messageKey: Buffer } {
  const header = Buffer.alloc(at.body + sourceBytes(facts.source));
  writeHeader(header, formats.series, facts);
  const { messageKey, commitment } = derive(header.subarray(0, envelopeSeedBytes));
  header.set(commitment, at.commitment);
  return { header, messageKey };
}

/** An envelope of a series with room for its ciphertext and tag, which begin at `start`. */
export function numberedEnvelope(
  header: Buffer,
  number: number,
  plaintextBytes: number,
): { readonly envelope: Buffer; readonly start: number } {
  const start = header.length + numberBytes;
  const envelope = Buffer.allocUnsafe(start + plaintextBytes + aeadTagBytes);
  header.copy(envelope);
  envelope.writeUInt32BE(number, header.length);
  return { envelope, start };
}

/** @returns the plaintext, which the caller wipes; undefined when key, context or any byte is another */
export function openEnvelope(envelope: ParsedEnvelope, derive: Derive, context: Buffer): Buffer | undefined {
  const { messageKey, commitment } = derive(envelope.seed);
  try {
    // Before any decryption: an AEAD alone may open under two keys.
    if (!equalSecrets(commitment, envelope.commitment)) return undefined;
    return openSealed(envelope, messageKey, context);
  } finally {
    wipe(messageKey);
  }
}

/** Opens with the key whose commitment was compared. */
export function openSealed(
  { algorithm, header, number, sealed }: ParsedEnvelope,
  messageKey: Buffer,
  context: Buffer,
): Buffer | undefined {
  const nonce = number === undefined ? zeroNonce : seriesNonce(number);
  return aeadOpen(aeads[algorithm], messageKey, nonce, associatedOf(header, header.length, context), sealed);
}

/** Seals a message of a series alone. */
export function sealNumbered(
  algorithm: KeyAlgorithm,
  messageKey: Buffer,
  { envelope, start }: { readonly envelope: Buffer; readonly start: number },
  { header, number, context }: { readonly header: Buffer; readonly number: number; readonly context: Buffer },
  plaintext: Uint8Array,
): void {
  const associated = associatedOf(header, header.length, context);
  aeadSealInto(envelope, start, aeads[algorithm], messageKey, seriesNonce(number), associated, plaintext);
}

const zeroNonce = Buffer.alloc(12);

/** Nothing in it is secret, and it is used up before the next is written. */
const associatedRoom = Buffer.alloc(2048);

/** Header and context in one piece, valid until the next call. */
export function associatedOf(header: Buffer, length: number, context: Buffer): Buffer {
  /* Precondition: a header is bounded by {@link maxWrappedBytes}, and a context is a hash. */
  if (length + context.length > associatedRoom.length)
    throw new RangeError(`context of ${context.length} bytes`);
  header.copy(associatedRoom, 0, 0, length);
  context.copy(associatedRoom, length);
  return associatedRoom.subarray(0, length + context.length);
}
const contextLabel = Buffer.from('sello key envelope context v1');

/**
 * What an envelope is bound to besides its header: SHA-256 over a label and each of tenant, key id, face and context with its
 * length before it. Never empty, and no two sets of values give the same bytes.
 */
export function innerContext(tenant: string, keyId: Buffer, face: SealingFace, context: Uint8Array): Buffer {
  return hash(
    'sha256',
    framed(contextLabel, Buffer.from(tenant), keyId, Buffer.from(face), context),
    'buffer',
  );
}

const sourceNumbers = { version: 0, wrapped: 1, intermediate: 2 } as const;
const maxWrappedBytes = 1024;

function parseSource(ciphertext: Buffer): EnvelopeSource | undefined {
  switch (ciphertext[at.source]) {
    case sourceNumbers.version:
      return { kind: 'version' };
    case sourceNumbers.wrapped: {
      const length = ciphertext.readUInt16BE(at.body);
      const start = at.body + 2;
      if (length === 0 || length > maxWrappedBytes || ciphertext.length < start + length) return undefined;
      return { kind: 'wrapped', wrapped: ciphertext.subarray(start, start + length) };
    }
    case sourceNumbers.intermediate:
      if (ciphertext.length < at.body + intermediateIdBytes) return undefined;
      return { kind: 'intermediate', id: ciphertext.subarray(at.body, at.body + intermediateIdBytes) };
    default:
      return undefined;
  }
}

function sourceBytes(source: EnvelopeSource): number {
  if (source.kind === 'version') return 0;
  return source.kind === 'wrapped' ? 2 + source.wrapped.length : intermediateIdBytes;
}

function writeSource(envelope: Buffer, source: EnvelopeSource): void {
  envelope[at.source] = sourceNumbers[source.kind];
  if (source.kind === 'wrapped') {
    /* Precondition: what Transit answers for 32 bytes is far shorter. */
    if (source.wrapped.length > maxWrappedBytes)
      throw new RangeError(`wrapped key of ${source.wrapped.length} bytes`);
    envelope.writeUInt16BE(source.wrapped.length, at.body);
    envelope.set(source.wrapped, at.body + 2);
  } else if (source.kind === 'intermediate') envelope.set(source.id, at.body);
}
