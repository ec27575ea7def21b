/** What can be seen of sealed bytes without any key. Nothing of it has been authenticated. */
import {
  envelopeLength,
  envelopePrefixBytes,
  objectHeaderBytes,
  parseEnvelope,
  parseManifest,
  parseStreamHeader,
  plainStreamLength,
  sealedObjectLength,
  type Envelope,
  type Manifest,
  type StreamHeader,
} from '../formats/index.ts';
import { hasCode } from '../errors.ts';

export interface Inspection {
  /** In front of a stream, or alone. */
  readonly envelope: Envelope | undefined;
  readonly envelopeBytes: number;
  readonly stream:
    | (StreamHeader & {
        readonly sealedBytes: number;
        readonly segments: number;
        /** undefined: no stream of this format has that many bytes. */
        readonly plainBytes: number | undefined;
      })
    | undefined;
  readonly manifest: (Manifest & { readonly sealedBytes: number }) | undefined;
}

/** As many first bytes as {@link inspect} may want to see. */
export const inspectedBytes = 1_100_000;

/**
 * @param start the first bytes: all of them, or at least {@link inspectedBytes}
 * @param totalBytes how many there are
 * @throws SelloError SELLO_OBJECT_FORMAT_UNKNOWN
 */
export function inspect(start: Buffer, totalBytes = start.length): Inspection {
  const none: Inspection = { envelope: undefined, envelopeBytes: 0, stream: undefined, manifest: undefined };
  try {
    const manifest = parseManifest(start);
    return { ...none, manifest: { ...manifest, sealedBytes: sealedObjectLength(manifest) } };
  } catch (error) {
    if (!hasCode(error, 'SELLO_OBJECT_FORMAT_UNKNOWN')) throw error;
  }
  const length = start.length < envelopePrefixBytes ? undefined : envelopeLength(start);
  const envelope = length === undefined ? undefined : parseEnvelope(start.subarray(0, length));
  const envelopeBytes = length ?? 0;
  if (envelope !== undefined && totalBytes === envelopeBytes) return { ...none, envelope, envelopeBytes };
  const header = parseStreamHeader(start.subarray(envelopeBytes, envelopeBytes + objectHeaderBytes));
  const sealedBytes = totalBytes - envelopeBytes;
  const plainBytes = plainStreamLength(sealedBytes, header.segmentBytes);
  const segments = Math.ceil((sealedBytes - objectHeaderBytes) / (header.segmentBytes + 16));
  return { ...none, envelope, envelopeBytes, stream: { ...header, sealedBytes, segments, plainBytes } };
}
