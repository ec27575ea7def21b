import fc from 'fast-check';
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import { SelloError } from '../../src/errors.ts';
import { PackReader } from '../../src/sse/msgpack.ts';
import { parseXlMeta, type XlVersion } from '../../src/sse/xl-meta.ts';

/** Written by a running MinIO on one drive. */
function stored(name: string): Buffer {
  return fs.readFileSync(path.join(import.meta.dirname, '../vectors/minio-drive', `${name}.xl.meta`));
}

/** The newest entry, an object. */
function newest(name: string): XlVersion {
  const [entry] = parseXlMeta(stored(name));
  if (entry?.kind !== 'object') throw new Error('no object');
  return entry.version;
}

t.test('reads what MinIO wrote: inline, in parts, and without a byte', (t) => {
  const small = newest('small');
  t.match(small, {
    versionId: undefined,
    dataFolder: undefined,
    dataShards: 1,
    parityShards: 0,
    shard: 0,
    blockBytes: 1_048_576,
  });
  t.same(small.parts, [{ number: 1, size: 37, actualSize: 5 }]);
  t.equal(small.inline?.length, 37 + 32);
  t.equal(small.metadata['X-Minio-Internal-Server-Side-Encryption-Seal-Algorithm'], 'DAREv2-HMAC-SHA256');
  t.equal(small.userMetadata['content-type'], 'binary/octet-stream');
  const parts = newest('parts');
  t.equal(parts.dataFolder, '852cce64-f01e-4ef8-9ae3-1122e0d4299d');
  t.same(
    parts.parts.map(({ number, actualSize }) => [number, actualSize]),
    [
      [1, 5_242_880],
      [2, 1000],
    ],
  );
  t.same(newest('empty').parts, [{ number: 1, size: 0, actualSize: 0 }]);
  t.end();
});

t.test('no damage ends in anything but a refusal', (t) => {
  const bytes = stored('parts');
  const survives = (damaged: Buffer): boolean => {
    try {
      parseXlMeta(damaged);
      return true;
    } catch (error) {
      return error instanceof SelloError && error.code === 'SELLO_OBJECT_FORMAT_UNKNOWN';
    }
  };
  for (let length = 0; length < bytes.length; length++)
    if (!survives(bytes.subarray(0, length))) t.fail(`cut to ${length}`);
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), (at, value) => {
      const damaged = Buffer.from(bytes);
      damaged[at] = value;
      return survives(damaged);
    }),
    { numRuns: 5000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (tail) =>
      survives(Buffer.concat([bytes.subarray(0, 8), tail])),
    ),
  );
  const nested = Buffer.alloc(100_000, 0x91);
  t.throws(
    () => new PackReader(nested).value(),
    { code: 'SELLO_OBJECT_FORMAT_UNKNOWN' },
    'a nest without end',
  );
  const promises = Buffer.from('ddffffffff', 'hex');
  t.throws(
    () => new PackReader(promises).value(),
    { code: 'SELLO_OBJECT_FORMAT_UNKNOWN' },
    'four billion values in five bytes',
  );
  t.end();
});
