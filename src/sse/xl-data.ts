/**
 * An object's stored bytes from the drives it is spread over, one or many. A part is cut into blocks; a block into as many pieces as there are
 * data shards, all of one length; drive by drive the pieces lie in `part.N` (or inside `xl.meta`), each behind 32 bytes of HighwayHash.
 *
 * That hash, MinIO's guard against rotten bits, is not checked: the AEAD finds every changed byte of an encrypted object. Objects that MinIO
 * stored in clear have no other guard, and are as good as their drives.
 */
import { open, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { SelloError } from '../errors.ts';
import type { ByteSpan } from '../formats/index.ts';
import { ShardJoiner } from './erasure.ts';
import type { XlPart, XlVersion } from './xl-meta.ts';

const checksumBytes = 32;

/** One version of an object, as each of the drives has it. */
export interface DriveCopy {
  /** The object's folder on that drive. */
  readonly folder: string;
  readonly version: XlVersion;
}

/** Where a shard's bytes come from: a file, or `xl.meta` itself. */
interface Shard {
  read(at: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

/** Stored bytes `span` of a part, in pieces of a block at most. @throws SelloError SELLO_OBJECT_FORMAT_UNKNOWN, SELLO_OBJECT_NOT_AUTHENTIC */
export async function* storedBytes(
  copies: readonly DriveCopy[],
  part: XlPart,
  span: ByteSpan = { from: 0, to: part.size },
): AsyncGenerator<Buffer, void, undefined> {
  const { dataShards, parityShards, blockBytes } = copies[0]!.version;
  if (span.to <= span.from) return; // Nothing, and an empty part has no file.
  const shardBytes = Math.ceil(blockBytes / dataShards);
  const shards = new Map<number, Shard>();
  try {
    for (const copy of copies) {
      const shard = await shardOf(copy, part.number);
      if (shard !== undefined && !shards.has(copy.version.shard)) shards.set(copy.version.shard, shard);
      else await shard?.close();
    }
    if (shards.size === 0)
      throw unknown(`the file of part ${part.number} is not there: moved to another tier, or damaged`);
    const joiner = new ShardJoiner(dataShards, parityShards, [...shards.keys()]);
    const needed = joiner.needed.map((number) => shards.get(number)!);
    for (let block = Math.floor(span.from / blockBytes); block * blockBytes < span.to; block++) {
      const start = block * blockBytes;
      const length = Math.min(blockBytes, part.size - start);
      const at = block * (checksumBytes + shardBytes) + checksumBytes;
      const pieces = await Promise.all(needed.map((shard) => shard.read(at, Math.ceil(length / dataShards))));
      yield joiner
        .join(pieces, length)
        .subarray(Math.max(span.from - start, 0), Math.min(span.to - start, length));
    }
  } finally {
    await Promise.all([...shards.values()].map((shard) => shard.close()));
  }
}

/** undefined when the drive has none: it was away, or is empty since it was replaced. */
async function shardOf({ folder, version }: DriveCopy, part: number): Promise<Shard | undefined> {
  const { inline, dataFolder } = version;
  if (inline !== undefined)
    return {
      read: (at, length) => Promise.resolve(exactly(inline.subarray(at, at + length), length)),
      close: nothing,
    };
  if (dataFolder === undefined) return undefined;
  let file: FileHandle;
  try {
    file = await open(path.join(folder, dataFolder, `part.${part}`), 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
  return {
    read: async (at, length) => {
      const bytes = Buffer.allocUnsafeSlow(length);
      let filled = 0;
      while (filled < length) {
        const { bytesRead } = await file.read(bytes, filled, length - filled, at + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return exactly(bytes.subarray(0, filled), length);
    },
    close: () => file.close(),
  };
}

function nothing(): Promise<void> {
  return Promise.resolve();
}

/* Postcondition: what is shorter than xl.meta says is refused, in clear or encrypted. */
function exactly(bytes: Buffer, length: number): Buffer {
  if (bytes.length === length) return bytes;
  throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: 'stored data is shorter than xl.meta says' });
}

function unknown(detail: string): SelloError {
  return new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', { detail });
}
