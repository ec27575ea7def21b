/** Byte formats of sealed objects. Knows nothing of keys' names, HTTP or files. */
export { chunkedHeaderBytes, chunkedSegmentBytes, ChunkedOpener, ChunkedSealer } from './chunked.ts';
export {
  DareOpener,
  dareOverheadBytes,
  darePackageBytes,
  darePlainLength,
  dareSealedLength,
  DareSealer,
  planDare,
  type DareOpenOptions,
  type DarePlan,
  type DareSealOptions,
  type DareWindow,
} from './dare.ts';
export {
  envelopeLength,
  envelopePrefixBytes,
  maxEnvelopeBytes,
  newObjectId,
  newObjectKey,
  openEnvelope,
  parseEnvelope,
  sealEnvelope,
  type Envelope,
  type EnvelopeFields,
  type EnvelopeMode,
  type ObjectBinding,
} from './envelope.ts';
export {
  maxManifestBytes,
  openManifest,
  parseManifest,
  PartsOpener,
  planParts,
  sealedObjectLength,
  sealManifest,
  type Manifest,
  type ManifestPart,
  type ManifestPlace,
  type PartPlan,
} from './manifest.ts';
export {
  defaultSegmentBytes,
  maxObjectBytes,
  maxPartNumber,
  objectHeaderBytes,
  ObjectOpener,
  ObjectSealer,
  parseStreamHeader,
  segmentSizes,
  type SealedPart,
  type SealOptions,
  type SegmentBytes,
  type StreamHeader,
  type StreamPlace,
} from './object.ts';
export {
  plainStreamLength,
  planStream,
  sealedStreamLength,
  type ByteSpan,
  type StreamPlan,
} from './range.ts';
export { SegmentOpener, SegmentSealer, type OpenWindow, type StreamKey } from './segments.ts';
