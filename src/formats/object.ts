/**
 * Sello object 1 (docs/formats/object-1.md): one sealed stream, which is a whole object or one part of it. 80 bytes of header,
 * then segments as in segments.ts, with nothing between them. Keys are derived as in c2sp.org/chunked-encryption under a label of
 * our own, and bound to tenant, object and part.
 *
 * Limits: 5 TiB (S3's largest object) per stream, 2^26 segments of 64 KiB: far below what AES-GCM allows one key.
 */
import {
  aeadKeyBytes,
  equalSecrets,
  hkdfExpandSha512,
  secretCopy,
  takeRandom,
  wipe,
  type Aead,
} from '../crypto/index.ts';
import { SelloError } from '../errors.ts';
import { lengthPrefixed } from './encoding.ts';
import { SegmentOpener, SegmentSealer, type OpenWindow, type StreamKey } from './segments.ts';

export const objectHeaderBytes = 80;
export const objectIdBytes = 16;
export const saltBytes = 32;
export const commitmentBytes = 32;
/** S3's largest object. */
export const maxObjectBytes = 5 * 2 ** 40;
/** S3's highest part number. */
export const maxPartNumber = 10_000;

/** docs/benchmarks-stream.md: above 128 KiB nothing is won, below it the fixed cost of a cipher per segment shows. */
export const defaultSegmentBytes = 131_072;
export const segmentSizes = [65_536, 131_072] as const;
export type SegmentBytes = (typeof segmentSizes)[number];

const magic = Buffer.from('SELLO-O1', 'latin1');
const label = Buffer.from('sello-object@v1+', 'latin1');

const aeads: readonly { readonly id: number; readonly aead: Aead; readonly name: Buffer }[] = [
  { id: 1, aead: 'aes-256-gcm', name: Buffer.from('AEAD_AES_256_GCM\0', 'latin1') },
  { id: 2, aead: 'chacha20-poly1305', name: Buffer.from('AEAD_CHACHA20_POLY1305\0', 'latin1') },
];

/** What a stream belongs to: other places derive other keys. */
export interface StreamPlace {
  readonly tenant: string;
  /** 16 random bytes, of the envelope: names may change, this does not. */
  readonly objectId: Buffer;
  /** 1 to 10,000; 0 for an object that is one stream. */
  readonly part: number;
}

export interface StreamHeader {
  readonly aead: Aead;
  readonly segmentBytes: SegmentBytes;
  readonly part: number;
  readonly salt: Buffer;
  readonly commitment: Buffer;
}

export function aeadId(aead: Aead): number {
  return aeads.find((each) => each.aead === aead)!.id;
}

export function aeadOfId(id: number): Aead | undefined {
  return aeads.find((each) => each.id === id)?.aead;
}

export function segmentBytesOfLog2(log2: number): SegmentBytes | undefined {
  return segmentSizes.find((size) => Math.log2(size) === log2);
}

export function formatStreamHeader({ aead, segmentBytes, part, salt, commitment }: StreamHeader): Buffer {
  const header = Buffer.alloc(objectHeaderBytes);
  magic.copy(header);
  header[8] = aeadId(aead);
  header[9] = Math.log2(segmentBytes);
  header.writeUInt32BE(part, 12);
  salt.copy(header, 16);
  commitment.copy(header, 48);
  return header;
}

/** @throws SelloError SELLO_OBJECT_FORMAT_UNKNOWN */
export function parseStreamHeader(bytes: Uint8Array): StreamHeader {
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const aead = aeadOfId(header[8] ?? 0);
  const segmentBytes = segmentBytesOfLog2(header[9] ?? 0);
  const isKnown =
    header.length === objectHeaderBytes &&
    header.subarray(0, 8).equals(magic) &&
    header.readUInt16BE(10) === 0 &&
    header.readUInt32BE(12) <= maxPartNumber;
  if (!isKnown || aead === undefined || segmentBytes === undefined)
    throw new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN');
  return {
    aead,
    segmentBytes,
    part: header.readUInt32BE(12),
    salt: Buffer.from(header.subarray(16, 48)),
    commitment: Buffer.from(header.subarray(48)),
  };
}

/** Key and commitment of a stream. The caller wipes the key. */
function derive(
  objectKey: Uint8Array,
  { aead, segmentBytes, salt }: Pick<StreamHeader, 'aead' | 'segmentBytes' | 'salt'>,
  { tenant, objectId, part }: StreamPlace,
): { stream: StreamKey; commitment: Buffer } {
  /* Precondition: what is not there cannot be bound. */
  if (objectKey.length !== aeadKeyBytes)
    throw new TypeError(`object key: expected 32 bytes, got ${objectKey.length}`);
  if (objectId.length !== objectIdBytes)
    throw new TypeError(`object id: expected 16 bytes, got ${objectId.length}`);
  if (!Number.isInteger(part) || part < 0 || part > maxPartNumber)
    throw new RangeError(`part number: got ${part}`);
  const numbers = Buffer.alloc(8);
  numbers.writeUInt32BE(segmentBytes, 0);
  numbers.writeUInt32BE(part, 4);
  const { name } = aeads.find((each) => each.aead === aead)!;
  const info = Buffer.concat([label, name, salt, numbers, objectId, lengthPrefixed(tenant)]);
  const derived = hkdfExpandSha512(objectKey, info, 76);
  const stream: StreamKey = {
    aead,
    key: secretCopy(derived.subarray(0, 32)),
    baseNonce: Buffer.from(derived.subarray(32, 44)),
    segmentBytes,
  };
  const commitment = Buffer.from(derived.subarray(44));
  wipe(derived);
  return { stream, commitment };
}

export interface SealOptions {
  readonly aead?: Aead | undefined;
  readonly segmentBytes?: SegmentBytes | undefined;
  /** 32 fresh random bytes; given only to reproduce published vectors. */
  readonly salt?: Buffer | undefined;
}

/** Seals one stream: send `header`, then what `update` and `final` append. */
export class ObjectSealer {
  readonly header: Buffer;
  readonly #stream: StreamKey;
  readonly #sealer: SegmentSealer;

  constructor(objectKey: Uint8Array, place: StreamPlace, options: SealOptions = {}) {
    const {
      aead = 'aes-256-gcm',
      segmentBytes = defaultSegmentBytes,
      salt = takeRandom(saltBytes),
    } = options;
    const { stream, commitment } = derive(objectKey, { aead, segmentBytes, salt }, place);
    this.#stream = stream;
    this.#sealer = new SegmentSealer(stream);
    this.header = formatStreamHeader({ aead, segmentBytes, part: place.part, salt, commitment });
  }

  update(chunk: Uint8Array, out: Buffer[]): void {
    /* Precondition: a stream that nobody could put into a store is not begun to be one. */
    if (this.#sealer.length + chunk.length > maxObjectBytes) throw new SelloError('SELLO_OBJECT_TOO_LARGE');
    this.#sealer.update(chunk, out);
  }

  final(out: Buffer[]): void {
    this.#sealer.final(out);
    this.wipe();
  }

  /** What a manifest needs to know, once the stream has ended. */
  get part(): SealedPart {
    const { lastTag, length } = this.#sealer;
    if (lastTag === undefined) throw new TypeError('sealed stream has not ended');
    return { header: this.header, lastTag, length };
  }

  wipe(): void {
    wipe(this.#stream.key);
  }
}

/** A sealed part as its manifest takes it. */
export interface SealedPart {
  /** The stream's 80 bytes of header. */
  readonly header: Buffer;
  /** The stream's last 16 bytes. */
  readonly lastTag: Buffer;
  /** Plaintext bytes. */
  readonly length: number;
}

/**
 * Checks that a stream was sealed under this key for this place, and gives its key. The caller wipes it.
 * @throws SelloError SELLO_OBJECT_NOT_AUTHENTIC
 */
export function openStreamKey(objectKey: Uint8Array, header: StreamHeader, place: StreamPlace): StreamKey {
  const { stream, commitment } = derive(objectKey, header, place);
  /* Precondition: neither cipher commits to its key, so the commitment is checked before either is asked. */
  if (header.part !== place.part || !equalSecrets(commitment, header.commitment)) {
    wipe(stream.key);
    throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: 'commitment' });
  }
  return stream;
}

/**
 * Opens one stream from its first byte on: header, then all segments, or those of a window. No byte of plaintext comes out before
 * the commitment, and none of a segment before its tag, has been checked.
 */
export class ObjectOpener {
  readonly #objectKey: Buffer;
  readonly #place: StreamPlace;
  readonly #windowOf: ((header: StreamHeader) => OpenWindow) | undefined;
  readonly #header = Buffer.alloc(objectHeaderBytes);
  #headerLength = 0;
  #stream: StreamKey | undefined;
  #opener: SegmentOpener | undefined;

  /**
   * @param objectKey is copied
   * @param windowOf for a range: which segments follow the header, and what of them is wanted
   */
  constructor(objectKey: Uint8Array, place: StreamPlace, windowOf?: (header: StreamHeader) => OpenWindow) {
    this.#objectKey = secretCopy(objectKey);
    this.#place = place;
    this.#windowOf = windowOf;
  }

  /** True once header and commitment have been checked. */
  get isBegun(): boolean {
    return this.#opener !== undefined;
  }

  update(chunk: Uint8Array, out: Buffer[]): void {
    let rest = chunk;
    if (this.#opener === undefined) {
      const taken = Math.min(objectHeaderBytes - this.#headerLength, chunk.length);
      this.#header.set(chunk.subarray(0, taken), this.#headerLength);
      this.#headerLength += taken;
      if (this.#headerLength < objectHeaderBytes) return;
      const header = parseStreamHeader(this.#header);
      this.#stream = openStreamKey(this.#objectKey, header, this.#place);
      wipe(this.#objectKey);
      this.#opener = new SegmentOpener(this.#stream, this.#windowOf?.(header));
      rest = chunk.subarray(taken);
    }
    this.#opener.update(rest, out);
  }

  final(out: Buffer[]): void {
    try {
      /* Precondition: an object of no bytes has a header and a tag all the same. */
      if (this.#opener === undefined)
        throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: 'no header' });
      this.#opener.final(out);
    } finally {
      this.wipe();
    }
  }

  /** Ends the use of the keys; also for streams that are given up. */
  wipe(): void {
    wipe(this.#objectKey, this.#stream?.key);
    this.#opener?.abandon();
  }
}
