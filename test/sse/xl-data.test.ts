import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import { mkdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { ShardJoiner } from '../../src/sse/erasure.ts';
import { storedBytes, type DriveCopy } from '../../src/sse/xl-data.ts';
import type { XlVersion } from '../../src/sse/xl-meta.ts';
import { shardsOf } from './second-erasure.ts';

t.test('any shards that are enough give the block, as a second implementation made them', (t) => {
  const shape = fc.tuple(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 0, max: 8 }));
  fc.assert(
    fc.property(
      shape,
      fc.uint8Array({ minLength: 1, maxLength: 200 }),
      fc.infiniteStream(fc.nat()),
      (of, bytes, random) => {
        const [data, parity] = of;
        const block = Buffer.from(bytes);
        const shards = shardsOf(block, data, parity);
        const order = shards
          .map((_, i) => [random.next().value as number, i] as const)
          .sort(([a], [b]) => a - b);
        const joiner = new ShardJoiner(
          data,
          parity,
          order.slice(0, data).map(([, i]) => i),
        );
        return joiner
          .join(
            joiner.needed.map((i) => shards[i]!),
            block.length,
          )
          .equals(block);
      },
    ),
    { numRuns: 200 },
  );
  for (const present of [[], [0, 1], [0, 0, 0, 1], [0, 1, 9], [-1, 0, 1]])
    t.throws(
      () => new ShardJoiner(3, 2, present),
      { code: 'SELLO_OBJECT_FORMAT_UNKNOWN' },
      `[${present.join()}]`,
    );
  t.throws(
    () => new ShardJoiner(200, 57, [0]),
    { code: 'SELLO_OBJECT_FORMAT_UNKNOWN' },
    'more than the field has',
  );
  t.end();
});

const blockBytes = 100;
const dataFolder = '852cce64-f01e-4ef8-9ae3-1122e0d4299d';

function versionOf(shard: number, data: number, parity: number, inline?: Buffer): XlVersion {
  return {
    versionId: undefined,
    modifiedNs: 0n,
    dataFolder: inline === undefined ? dataFolder : undefined,
    parts: [],
    metadata: {},
    userMetadata: {},
    dataShards: data,
    parityShards: parity,
    shard,
    blockBytes,
    inline,
  };
}

/** What each drive has of some bytes: a checksum, then its shard, block after block. */
function framed(bytes: Buffer, data: number, parity: number): Buffer[] {
  const files: Buffer[][] = Array.from({ length: data + parity }, () => []);
  for (let at = 0; at < bytes.length; at += blockBytes)
    for (const [i, shard] of shardsOf(bytes.subarray(at, at + blockBytes), data, parity).entries())
      files[i]!.push(Buffer.alloc(32, 0xee), shard);
  return files.map((pieces) => Buffer.concat(pieces));
}

async function read(...given: Parameters<typeof storedBytes>): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of storedBytes(...given)) pieces.push(piece);
  return Buffer.concat(pieces);
}

t.test(
  'any range of stored bytes comes from files and from xl.meta, whichever drives are away',
  async (t) => {
    const folder = t.testdir();
    let made = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 0, max: 3 }),
        fc.integer({ min: 1, max: 450 }),
        fc.tuple(fc.nat(450), fc.nat(450)),
        fc.boolean(),
        fc.nat(),
        async (data, parity, size, [a, b], isInline, first) => {
          const bytes = randomBytes(size);
          const files = framed(bytes, data, parity);
          const here = join(folder, String(made++));
          const copies: DriveCopy[] = [];
          // As many drives as are needed, from an arbitrary one on.
          for (let i = 0; i < data; i++) {
            const shard = (first + i) % files.length;
            const drive = join(here, String(shard));
            await mkdir(join(drive, dataFolder), { recursive: true });
            if (!isInline) await writeFile(join(drive, dataFolder, 'part.3'), files[shard]!);
            copies.push({
              folder: drive,
              version: versionOf(shard, data, parity, isInline ? files[shard]! : undefined),
            });
          }
          const span = { from: Math.min(a, b, size), to: Math.min(Math.max(a, b), size) };
          const got = await read(copies, { number: 3, size, actualSize: size }, span);
          return got.equals(bytes.subarray(span.from, span.to));
        },
      ),
      { numRuns: 60 },
    );
    t.ok(made >= 60);
  },
);

t.test('what is cut, or is not there, is no shorter object', async (t) => {
  const bytes = randomBytes(250);
  const part = { number: 1, size: 250, actualSize: 250 };
  const folder = t.testdir({ [dataFolder]: {} });
  const file = join(folder, dataFolder, 'part.1');
  const [whole] = framed(bytes, 1, 0);
  await writeFile(file, whole!);
  const copies = [{ folder, version: versionOf(0, 1, 0) }];
  t.ok((await read(copies, part)).equals(bytes));
  for (const left of [whole!.length - 1, 132, 131, 20, 0]) {
    await truncate(file, left);
    await t.rejects(read(copies, part), { code: 'SELLO_OBJECT_NOT_AUTHENTIC' }, `${left} bytes left`);
  }
  await rm(file);
  await t.rejects(read(copies, part), { code: 'SELLO_OBJECT_FORMAT_UNKNOWN' }, 'the file is gone');
  const inline = [{ folder, version: versionOf(0, 1, 0, whole!.subarray(0, 200)) }];
  await t.rejects(read(inline, part), { code: 'SELLO_OBJECT_NOT_AUTHENTIC' }, 'cut in xl.meta');
});
