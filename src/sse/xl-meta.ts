/**
 * `xl.meta`, the file in which MinIO keeps what it knows of an object: its versions, their metadata and parts, and the data itself where it
 * is small. Format 1.x as MinIO has written since 2021:
 *
 * `"XL2 " ‖ major (2, little endian) ‖ minor ‖ MessagePack bytes: the versions ‖ their checksum ‖ inline data`
 *
 * The checksum (xxHash64) is not checked: what matters in here is authenticated by the object's own encryption.
 */
import { SelloError } from '../errors.ts';
import { PackReader, type Packed } from './msgpack.ts';
import type { MinioMetadata } from './minio.ts';

export interface XlPart {
  readonly number: number;
  /** Bytes as stored, sealed where the object is. */
  readonly size: number;
  /** Bytes of plaintext. */
  readonly actualSize: number;
}

export interface XlVersion {
  /** A UUID; undefined for the version of an object without versions. */
  readonly versionId: string | undefined;
  /** Nanoseconds since 1970. */
  readonly modifiedNs: bigint;
  /** Folder of the parts; undefined when the data is inline. */
  readonly dataFolder: string | undefined;
  readonly parts: readonly XlPart[];
  /** MinIO's own entries, such as those of encryption. */
  readonly metadata: MinioMetadata;
  readonly userMetadata: Readonly<Record<string, string>>;
  /** Shards that hold data, and those that hold parity. */
  readonly dataShards: number;
  readonly parityShards: number;
  /** Which of the shards this drive has, from 0; those of data come first. */
  readonly shard: number;
  /** Bytes of data in one block of all shards. */
  readonly blockBytes: number;
  /** Of a small object: this drive's shard, with the checksums between. */
  readonly inline: Buffer | undefined;
}

/** What an object was at one time: there, deleted, or kept in the form of `xl.json`, which MinIO wrote until 2020. */
export type XlEntry =
  | { readonly kind: 'object'; readonly versionId: string | undefined; readonly version: XlVersion }
  | { readonly kind: 'deleted' | 'legacy'; readonly versionId: string | undefined };

const magic = Buffer.from('XL2 ', 'latin1');
const objectType = 1;
const deletedType = 2;
const legacyType = 3;

/** MinIO's note to itself that data on another tier is to be removed; no delete marker, and no version that clients see. */
const freeVersionName = 'x-minio-internal-free-version';

/** Blocks are 1 MiB, until 2021 10 MiB; one of them is held in memory. */
const maxBlockBytes = 64 * 1_048_576;
const maxShards = 256;

/** MinIO's own limit of versions is 10,000; each takes a few kilobytes. */
export const maxXlMetaBytes = 64 * 1_048_576;

/**
 * What an object was, newest first. Delete markers are among it: an object whose newest entry is one is deleted.
 * @throws SelloError SELLO_OBJECT_FORMAT_UNKNOWN
 */
export function parseXlMeta(bytes: Buffer): XlEntry[] {
  if (bytes.length < 13 || bytes.length > maxXlMetaBytes || !bytes.subarray(0, 4).equals(magic))
    throw unknown('not xl.meta');
  if (bytes.readUInt16LE(4) !== 1) throw unknown(`xl.meta of format ${bytes.readUInt16LE(4)}`);
  const outer = new PackReader(bytes, 8);
  const body = outer.value();
  if (!Buffer.isBuffer(body)) throw unknown('xl.meta of before 2021');
  outer.value(); // its checksum
  const inline = outer.isAtEnd ? new Map<string, Packed>() : inlineData(bytes.subarray(outer.at));

  const reader = new PackReader(body);
  const [headerVersion, metaVersion, count] = [reader.value(), reader.value(), reader.value()];
  if (typeof headerVersion !== 'number' || typeof metaVersion !== 'number' || typeof count !== 'number')
    throw unknown('versions of xl.meta');
  const entries: XlEntry[] = [];
  for (let i = 0; i < count; i++) {
    reader.value(); // a summary of what follows
    const packed = reader.value();
    if (!Buffer.isBuffer(packed)) throw unknown('a version of xl.meta');
    const version = new PackReader(packed).value();
    if (!(version instanceof Map)) throw unknown('a version of xl.meta');
    const entry = entryOf(version, inline);
    if (entry !== undefined) entries.push(entry);
  }
  return entries;
}

function entryOf(version: Map<string, Packed>, inline: Map<string, Packed>): XlEntry | undefined {
  const type = version.get('Type');
  if (type === legacyType) return { kind: 'legacy', versionId: undefined };
  const body = version.get(type === deletedType ? 'DelObj' : 'V2Obj');
  /* Precondition: an entry that is not understood must not be passed over, or an older one would be taken for the newest. */
  if (!(body instanceof Map) || (type !== objectType && type !== deletedType))
    throw unknown('a version of xl.meta');
  const versionId = uuid(body.get('ID'));
  if (type === objectType) return { kind: 'object', versionId, version: versionOf(body, inline) };
  return Object.keys(texts(body.get('MetaSys'))).some((name) => name.toLowerCase() === freeVersionName)
    ? undefined
    : { kind: 'deleted', versionId };
}

function inlineData(bytes: Buffer): Map<string, Packed> {
  const data = new PackReader(bytes, 1).value();
  if (bytes[0] !== 1 || !(data instanceof Map)) throw unknown('inline data');
  return data;
}

function versionOf(object: Map<string, Packed>, inlineParts: Map<string, Packed>): XlVersion {
  const numbers = integers(object.get('PartNums'));
  const sizes = integers(object.get('PartSizes'));
  const actualSizes = integers(object.get('PartASizes'));
  if (sizes.length !== numbers.length || actualSizes.length !== numbers.length) throw unknown('parts');
  const versionId = uuid(object.get('ID'));
  const inline = inlineParts.get(versionId ?? 'null');
  const [dataShards, parityShards, number] = [
    integer(object.get('EcM')),
    integer(object.get('EcN')),
    integer(object.get('EcIndex')),
  ];
  const blockBytes = integer(object.get('EcBSize'));
  if (
    dataShards < 1 ||
    dataShards + parityShards > maxShards ||
    number < 1 ||
    number > dataShards + parityShards
  )
    throw unknown('shards');
  /* Precondition: a block is held in memory. */
  if (blockBytes < 1 || blockBytes > maxBlockBytes) throw unknown(`blocks of ${blockBytes} bytes`);
  return {
    versionId,
    modifiedNs: BigInt(integerOrBig(object.get('MTime'))),
    dataFolder: Buffer.isBuffer(inline) ? undefined : uuid(object.get('DDir')),
    parts: numbers.map((number, i) => ({ number, size: sizes[i]!, actualSize: actualSizes[i]! })),
    metadata: texts(object.get('MetaSys')),
    userMetadata: texts(object.get('MetaUsr')),
    dataShards,
    parityShards,
    shard: number - 1,
    blockBytes,
    inline: Buffer.isBuffer(inline) ? inline : undefined,
  };
}

function integerOrBig(value: Packed | undefined): number | bigint {
  if (typeof value !== 'number' && typeof value !== 'bigint') throw unknown('a number');
  return value;
}

function integer(value: Packed | undefined): number {
  const number = typeof value === 'bigint' ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isSafeInteger(number) || number < 0) throw unknown('a number');
  return number;
}

function integers(value: Packed | undefined): number[] {
  if (value === null || value === undefined) return [];
  if (!Array.isArray(value)) throw unknown('a list of numbers');
  return value.map(integer);
}

function texts(value: Packed | undefined): Record<string, string> {
  const found: Record<string, string> = Object.create(null) as Record<string, string>;
  if (value === null || value === undefined) return found;
  if (!(value instanceof Map)) throw unknown('metadata');
  // Go writes a map in any order, another one on each drive: in one order two drives' metadata can be compared.
  for (const [name, entry] of [...value].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (typeof entry !== 'string' && !Buffer.isBuffer(entry)) throw unknown('metadata');
    found[name] = typeof entry === 'string' ? entry : entry.toString('utf8');
  }
  return found;
}

function uuid(value: Packed | undefined): string | undefined {
  if (!Buffer.isBuffer(value) || value.length !== 16) throw unknown('an id');
  if (value.every((byte) => byte === 0)) return undefined;
  const hex = value.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

function unknown(detail: string): SelloError {
  return new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', { detail });
}
