/**
 * Sealing and opening of object streams: `sello/sse`. Runs without our server: data keys come from `sello/client`, from any KES
 * server, or the program holds its keys itself.
 *
 * ```ts
 * import { createClient } from 'sello/client';
 * import { clientDataKeys, open, seal } from 'sello/sse';
 *
 * const keys = clientDataKeys(createClient({ endpoints: ['kes.example:7373'], apiKey }));
 * const place = { tenant: 'acme', bucket: 'photos', object: 'cat.jpg' };
 * const object = await seal({ place, protection: { mode: 'sse-s3', keys, keyName: 'photos-key' } });
 * await pipeline(createReadStream('cat.jpg'), object.seal().node(), createWriteStream('cat.sealed'));
 * // … store object.metadata beside the sealed bytes …
 * const again = await open(object.envelope, { place, protection: { mode: 'sse-s3', keys } });
 * await pipeline(createReadStream('cat.sealed'), again.open().node(), createWriteStream('cat2.jpg'));
 * ```
 *
 * Plaintext comes out only once its segment has been authenticated, and a stream that is damaged or cut fails: whoever stores or
 * forwards plaintext must not take it for whole before the stream has ended without an error.
 */
import { SelloError } from '../errors.ts';
import { planStream, type ByteSpan, type ObjectBinding } from '../formats/index.ts';
import { newSealedObject, openSealedObject, type ObjectStream, type SealedObject } from './object.ts';
import type { Protection } from './protection.ts';

export { SelloError } from '../errors.ts';
export {
  ChunkedOpener,
  ChunkedSealer,
  DareOpener,
  darePlainLength,
  DareSealer,
  dareSealedLength,
  defaultSegmentBytes,
  maxObjectBytes,
  maxPartNumber,
  objectHeaderBytes,
  parseStreamHeader,
  plainStreamLength,
  planDare,
  planParts,
  planStream,
  sealedObjectLength,
  sealedStreamLength,
  type ByteSpan,
  type Envelope,
  type Manifest,
  type ManifestPart,
  type ObjectBinding,
  type PartPlan,
  type SealedPart,
  type SealOptions,
  type SegmentBytes,
  type StreamHeader,
  type StreamPlan,
} from '../formats/index.ts';
export { canonicalContext, type EncryptionContext } from './context.ts';
export { inspect, inspectedBytes, type Inspection } from './inspect.ts';
export { minioPlaintext, readMinioObject, type MinioKeySource, type MinioObject } from './minio-drive.ts';
export { minioPartPlainBytes, planMinio, type MinioPart, type MinioPartPlan } from './minio-range.ts';
export type { DriveCopy } from './xl-data.ts';
export type { XlPart, XlVersion } from './xl-meta.ts';
export {
  formatMinioMetadata,
  minioDataKeyContext,
  minioPartKey,
  minioStreamKey,
  minioVersions,
  newMinioObjectKey,
  openMinioChecksum,
  openMinioEtag,
  openMinioObjectKey,
  parseMinioMetadata,
  sealMinioEtag,
  sealMinioObjectKey,
  type MinioEncryption,
  type MinioMetadata,
  type MinioMode,
  type MinioPlace,
} from './minio.ts';
export { ObjectStream, SealedObject } from './object.ts';
export {
  clientDataKeys,
  type DataKeyClient,
  type DataKeys,
  type MasterKeyProtection,
  type OwnKeyProtection,
  type Protection,
} from './protection.ts';
export { EngineTransform, engineTransformStream, type Engine } from './streams.ts';

/** Where an object is and whose key protects it. */
export interface Placed {
  readonly place: ObjectBinding;
  readonly protection: Protection;
}

/** A new object with a key of its own. Seal its stream, or its parts, with what this returns. */
export function seal({ place, protection }: Placed): Promise<SealedObject> {
  return newSealedObject(place, protection);
}

/**
 * An object that was sealed before.
 * @param envelope bytes, or the text of a metadata value
 * @throws SelloError SELLO_OBJECT_NOT_AUTHENTIC for another key, another place or a changed envelope
 */
export function open(envelope: Buffer | string, { place, protection }: Placed): Promise<SealedObject> {
  return openSealedObject(envelopeBytes(envelope), place, protection);
}

/**
 * A range of an object that is one stream: `sealed` says which bytes of it to feed, header first, then the segments.
 * `segmentBytes` stands in the stream's header ({@link parseStreamHeader}).
 * @param range plaintext bytes
 */
export async function openRange(
  envelope: Buffer | string,
  range: ByteSpan,
  {
    place,
    protection,
    segmentBytes,
    plainBytes,
  }: Placed & { readonly segmentBytes: number; readonly plainBytes?: number },
): Promise<{ readonly sealed: ByteSpan; readonly stream: ObjectStream }> {
  using object = await openSealedObject(envelopeBytes(envelope), place, protection);
  return { sealed: planStream(range, segmentBytes, plainBytes).sealed, stream: object.openRange(range) };
}

/** Copy, rename, change of key: a new envelope, the same sealed bytes. */
export async function resealEnvelope(envelope: Buffer | string, from: Placed, to: Placed): Promise<Buffer> {
  using object = await openSealedObject(envelopeBytes(envelope), from.place, from.protection);
  return object.reseal(to);
}

function envelopeBytes(envelope: Buffer | string): Buffer {
  if (typeof envelope !== 'string') return envelope;
  const bytes = Buffer.from(envelope, 'base64url');
  /* Precondition: Node's decoder skips what is not base64; a metadata value has one text. */
  if (bytes.toString('base64url') !== envelope)
    throw new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', { detail: 'envelope' });
  return bytes;
}
