/**
 * The manifest of an object that was sealed in parts (docs/formats/manifest.md): which parts, in which order, how long each is and
 * which upload of it. Without it a part could be left out, repeated, or replaced by what was uploaded under its number before.
 * It is authenticated under the object key, so it needs no other protection where it is stored.
 */
import {
  aeadTagBytes,
  equalSecrets,
  hkdfExpandSha512,
  hmacSha512,
  secretCopy,
  wipe,
} from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import { lengthPrefixed } from './encoding.ts';
import {
  aeadId,
  aeadOfId,
  formatStreamHeader,
  maxObjectBytes,
  maxPartNumber,
  objectHeaderBytes,
  objectIdBytes,
  openStreamKey,
  parseStreamHeader,
  segmentBytesOfLog2,
  type SealedPart,
  type StreamHeader,
} from './object.ts';
import { planStream, sealedStreamLength, type ByteSpan } from './range.ts';
import { SegmentOpener, type StreamKey } from './segments.ts';

export interface ManifestPart extends StreamHeader {
  /** Plaintext bytes. */
  readonly length: number;
  readonly lastTag: Buffer;
}

export interface Manifest {
  readonly objectId: Buffer;
  readonly parts: readonly ManifestPart[];
  /** Plaintext bytes of the whole object. */
  readonly length: number;
}

const magic = Buffer.from('SELLO-M1', 'latin1');
const label = Buffer.from('sello-manifest@v1+HMAC-SHA512\0', 'latin1');
const headBytes = 36;
const entryBytes = 96;
const macBytes = 32;
export const maxManifestBytes = headBytes + maxPartNumber * entryBytes + macBytes;

/** Whose manifest it is. */
export interface ManifestPlace {
  readonly tenant: string;
  readonly objectId: Buffer;
}

function macOf(objectKey: Uint8Array, { tenant, objectId }: ManifestPlace, bytes: Buffer): Buffer {
  const key = hkdfExpandSha512(objectKey, Buffer.concat([label, objectId, lengthPrefixed(tenant)]), 64);
  const mac = hmacSha512(key, bytes).subarray(0, macBytes);
  wipe(key);
  return mac;
}

/**
 * Makes the manifest of parts, in the order of their numbers. Each header is checked to be one that was sealed under this object
 * key for this part, so that a manifest never names a part that cannot be opened.
 * @throws SelloError SELLO_OBJECT_NOT_AUTHENTIC, SELLO_OBJECT_FORMAT_UNKNOWN, SELLO_OBJECT_TOO_LARGE; RangeError for parts out of order
 */
export function sealManifest(
  objectKey: Uint8Array,
  place: ManifestPlace,
  parts: readonly SealedPart[],
): Buffer {
  /* Precondition: S3 knows no object of no parts. */
  if (parts.length === 0 || parts.length > maxPartNumber) throw new RangeError(`parts: got ${parts.length}`);
  const bytes = Buffer.alloc(headBytes + parts.length * entryBytes + macBytes);
  magic.copy(bytes);
  place.objectId.copy(bytes, 8, 0, objectIdBytes);
  bytes.writeUInt32BE(parts.length, 24);
  let before = 0;
  let total = 0;
  parts.forEach(({ header, lastTag, length }, i) => {
    const parsed = parseStreamHeader(header);
    /* Precondition: numbers rise, so that a set of parts has one order. */
    if (parsed.part <= before) throw new RangeError(`part ${parsed.part} after part ${before}`);
    if (lastTag.length !== aeadTagBytes) throw new RangeError(`last tag: got ${lastTag.length} bytes`);
    wipe(openStreamKey(objectKey, parsed, { ...place, part: parsed.part }).key);
    before = parsed.part;
    total += length;
    const at = headBytes + i * entryBytes;
    bytes.writeUInt32BE(parsed.part, at);
    bytes[at + 4] = aeadId(parsed.aead);
    bytes[at + 5] = Math.log2(parsed.segmentBytes);
    bytes.writeBigUInt64BE(BigInt(length), at + 8);
    parsed.salt.copy(bytes, at + 16);
    parsed.commitment.copy(bytes, at + 48);
    lastTag.copy(bytes, at + 80);
  });
  /* Precondition: S3 ends at 5 TiB. */
  if (total > maxObjectBytes) throw new SelloError('SELLO_OBJECT_TOO_LARGE');
  bytes.writeBigUInt64BE(BigInt(total), 28);
  macOf(objectKey, place, bytes.subarray(0, -macBytes)).copy(bytes, bytes.length - macBytes);
  return bytes;
}

/**
 * What a manifest says, unchecked: for showing its structure without a key.
 * @throws SelloError SELLO_OBJECT_FORMAT_UNKNOWN
 */
export function parseManifest(bytes: Buffer): Manifest {
  if (bytes.length < headBytes + entryBytes + macBytes || !bytes.subarray(0, 8).equals(magic))
    throw unknown();
  const count = bytes.readUInt32BE(24);
  if (count > maxPartNumber || bytes.length !== headBytes + count * entryBytes + macBytes) throw unknown();
  const parts: ManifestPart[] = [];
  let total = 0;
  let before = 0;
  for (let i = 0; i < count; i++) {
    const at = headBytes + i * entryBytes;
    const part = bytes.readUInt32BE(at);
    const aead = aeadOfId(bytes[at + 4]!);
    const segmentBytes = segmentBytesOfLog2(bytes[at + 5]!);
    const length = Number(bytes.readBigUInt64BE(at + 8));
    if (aead === undefined || segmentBytes === undefined || part <= before || part > maxPartNumber)
      throw unknown();
    if (bytes.readUInt16BE(at + 6) !== 0 || length > maxObjectBytes) throw unknown();
    before = part;
    total += length;
    parts.push({
      part,
      aead,
      segmentBytes,
      length,
      salt: Buffer.from(bytes.subarray(at + 16, at + 48)),
      commitment: Buffer.from(bytes.subarray(at + 48, at + 80)),
      lastTag: Buffer.from(bytes.subarray(at + 80, at + 96)),
    });
  }
  if (bytes.readBigUInt64BE(28) !== BigInt(total) || total > maxObjectBytes) throw unknown();
  return { objectId: Buffer.from(bytes.subarray(8, 24)), parts, length: total };
}

/** @throws SelloError SELLO_OBJECT_FORMAT_UNKNOWN, SELLO_OBJECT_NOT_AUTHENTIC */
export function openManifest(objectKey: Uint8Array, place: ManifestPlace, bytes: Buffer): Manifest {
  const manifest = parseManifest(bytes);
  const mac = macOf(objectKey, place, bytes.subarray(0, -macBytes));
  if (!manifest.objectId.equals(place.objectId) || !equalSecrets(mac, bytes.subarray(-macBytes)))
    throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: 'manifest' });
  return manifest;
}

/** What of one part a range needs. */
export interface PartPlan {
  readonly part: number;
  /** Sealed bytes from the start of the part's own stream. */
  readonly sealed: ByteSpan;
  /** The same, from the start of all parts laid one after another. */
  readonly inObject: ByteSpan;
}

/** Sealed bytes of all parts laid one after another. */
export function sealedObjectLength({ parts }: Manifest): number {
  return parts.reduce((sum, { length, segmentBytes }) => sum + sealedStreamLength(length, segmentBytes), 0);
}

/**
 * Which sealed bytes hold plaintext bytes `from` to before `to`. Laid end to end they are one span of the object: from the first
 * segment needed of the first part to the last one of the last, headers of the parts between included.
 */
export function planParts(manifest: Manifest, range: ByteSpan): PartPlan[] {
  const plans: PartPlan[] = [];
  let plainAt = 0;
  let sealedAt = 0;
  for (const { part, length, segmentBytes } of manifest.parts) {
    const sealedLength = sealedStreamLength(length, segmentBytes);
    const from = Math.max(range.from, plainAt) - plainAt;
    const to = Math.min(range.to, plainAt + length) - plainAt;
    const isFirst = plans.length === 0;
    // A part of no bytes between two others is passed through like any other.
    const isPassed = !isFirst && length === 0 && range.to > plainAt;
    if (from < to || isPassed) {
      // To a part's end means to its last segment, which is empty behind full ones: it shows that the part ends there.
      const end = to === length ? sealedLength : planStream({ from, to }, segmentBytes, length).sealed.to;
      const start = isFirst ? planStream({ from, to }, segmentBytes, length).sealed.from : 0;
      // Parts after the first are taken from their headers on.
      const sealed = { from: start, to: end };
      plans.push({ part, sealed, inObject: { from: sealedAt + sealed.from, to: sealedAt + sealed.to } });
    }
    plainAt += length;
    sealedAt += sealedLength;
  }
  return plans;
}

interface Stage {
  readonly entry: ManifestPart;
  readonly part: number;
  readonly headerExpected: boolean;
  readonly sealedBytes: number;
  readonly endsPart: boolean;
  readonly firstSegment: number;
  readonly skip: number;
  readonly length: number;
}

/** Opens the sealed bytes of {@link planParts} laid end to end; of all parts when no range is given. */
export class PartsOpener {
  readonly #objectKey: Buffer;
  readonly #tenant: string;
  readonly #objectId: Buffer;
  readonly #stages: Stage[] = [];
  #at = 0;
  /** Sealed bytes of the stage under way that came. */
  #taken = 0;
  readonly #header = Buffer.alloc(objectHeaderBytes);
  #stream: StreamKey | undefined;
  #opener: SegmentOpener | undefined;
  #failed = false;

  /** @param objectKey is copied */
  constructor(objectKey: Uint8Array, tenant: string, manifest: Manifest, range?: ByteSpan) {
    this.#objectKey = secretCopy(objectKey);
    this.#tenant = tenant;
    this.#objectId = manifest.objectId;
    const wholeRange = { from: 0, to: manifest.length };
    const plans =
      range === undefined
        ? manifest.parts.map(({ part, length, segmentBytes }) => ({
            part,
            sealed: { from: 0, to: sealedStreamLength(length, segmentBytes) },
          }))
        : planParts(manifest, range);
    const wanted = range ?? wholeRange;
    let plainAt = 0;
    const starts = new Map(
      manifest.parts.map((entry) => [entry.part, { entry, start: (plainAt += entry.length) - entry.length }]),
    );
    for (const { part, sealed } of plans) {
      const { entry, start } = starts.get(part)!;
      const from = Math.max(0, wanted.from - start);
      const to = Math.min(entry.length, wanted.to - start);
      const headerExpected = sealed.from === 0;
      const firstSegment = headerExpected ? 0 : Math.floor(from / entry.segmentBytes);
      this.#stages.push({
        entry,
        part,
        headerExpected,
        sealedBytes: sealed.to - sealed.from,
        endsPart: sealed.to === sealedStreamLength(entry.length, entry.segmentBytes),
        firstSegment,
        skip: from - firstSegment * entry.segmentBytes,
        length: Math.max(0, to - from),
      });
    }
  }

  update(chunk: Uint8Array, out: Buffer[]): void {
    try {
      if (this.#failed) throw notAuthentic('failed before');
      for (let at = 0; at < chunk.length;) {
        const stage = this.#stages[this.#at];
        if (stage === undefined) throw notAuthentic('more bytes than the parts have');
        const end = Math.min(chunk.length, at + stage.sealedBytes - this.#taken);
        this.#take(stage, chunk.subarray(at, end), out);
        at = end;
        if (this.#taken === stage.sealedBytes) this.#close(stage, out);
      }
    } catch (error) {
      this.wipe();
      throw error;
    }
  }

  final(_out: Buffer[]): void {
    const isWhole = this.#at === this.#stages.length;
    this.wipe();
    if (!isWhole) throw notAuthentic('parts are missing');
  }

  wipe(): void {
    this.#failed = true;
    wipe(this.#objectKey, this.#stream?.key);
    this.#opener?.abandon();
  }

  #take(stage: Stage, bytes: Uint8Array, out: Buffer[]): void {
    let rest = bytes;
    const headerLeft = stage.headerExpected ? Math.max(0, objectHeaderBytes - this.#taken) : 0;
    if (headerLeft > 0) {
      const taken = Math.min(headerLeft, bytes.length);
      this.#header.set(bytes.subarray(0, taken), this.#taken);
      rest = bytes.subarray(taken);
    }
    this.#taken += bytes.length;
    if (rest.length === 0) return;
    this.#opener ??= this.#begin(stage);
    this.#opener.update(rest, out);
  }

  #begin(stage: Stage): SegmentOpener {
    const { entry, part } = stage;
    /* Precondition: the stream is the upload that the manifest names. */
    if (stage.headerExpected && !this.#header.equals(formatStreamHeader(entry)))
      throw notAuthentic(`part ${part} is not the one of the manifest`);
    this.#stream = openStreamKey(this.#objectKey, entry, {
      tenant: this.#tenant,
      objectId: this.#objectId,
      part,
    });
    const { firstSegment, skip, length } = stage;
    return new SegmentOpener(this.#stream, { firstSegment, skip, length });
  }

  #close(stage: Stage, out: Buffer[]): void {
    const opener = (this.#opener ??= this.#begin(stage));
    opener.final(out);
    const isEnd = opener.sawLast && opener.lastTag.equals(stage.entry.lastTag);
    if (stage.endsPart !== opener.sawLast || (stage.endsPart && !isEnd))
      throw notAuthentic(`end of part ${stage.part}`);
    wipe(this.#stream?.key);
    this.#stream = undefined;
    this.#opener = undefined;
    this.#taken = 0;
    this.#at++;
  }
}

function notAuthentic(detail: string): SelloError {
  return new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail });
}

function unknown(): SelloError {
  return new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', { detail: 'manifest' });
}
