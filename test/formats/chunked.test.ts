import fc from 'fast-check';
import { createHash, randomBytes } from 'node:crypto';
import t from 'tap';
import { inflateSync } from 'node:zlib';
import { hasCode } from '../../src/errors.ts';
import { ChunkedOpener, ChunkedSealer } from '../../src/formats/index.ts';
import { hex, wycheproof, wycheproofMissing } from '../crypto/wycheproof-files.ts';
import { cutsOf, pieces } from './pieces.ts';
import { openChunked, sealChunked } from './second-chunked.ts';

function seal(key: Buffer, context: Buffer, message: Buffer, cuts: readonly number[], salt?: Buffer): Buffer {
  const sealer = new ChunkedSealer(key, context, salt);
  const out = [sealer.header];
  for (const piece of pieces(message, cuts)) sealer.update(piece, out);
  sealer.final(out);
  return Buffer.concat(out);
}

/** What came out before the end or the failure, and whether it was the end. */
function open(key: Buffer, context: Buffer, sealed: Buffer, cuts: readonly number[]) {
  const out: Buffer[] = [];
  const opener = new ChunkedOpener(key, context);
  try {
    for (const piece of pieces(sealed, cuts)) opener.update(piece, out);
    opener.final(out);
    return { opened: true, message: Buffer.concat(out) };
  } catch (error) {
    if (!hasCode(error, 'SELLO_OBJECT_NOT_AUTHENTIC')) throw error;
    return { opened: false, message: Buffer.concat(out) };
  }
}

for (const [how, step] of [
  ['at once', Infinity],
  ['in pieces of 1,000 bytes', 1000],
  ['in pieces of 7 bytes', 7],
] as const) {
  t.test(`every vector of Wycheproof, ${how}`, { skip: wycheproofMissing }, async (t) => {
    const tests = wycheproof('c2sp_chunked_encryption_aes_256_gcm').flatMap((group) => group.tests);
    t.equal(tests.length, 35);
    for (const test of tests) {
      const [key, context] = [hex(test, 'key'), hex(test, 'ctx')];
      const label = `${String(test.tcId)} ${test.comment}`;
      const sealed = inflateSync(hex(test, 'ct'));
      if (step < 1000 && sealed.length > 100_000) continue;
      if ((test['flags'] as string[]).includes('InvalidKeySize')) {
        t.throws(() => new ChunkedOpener(key, context), TypeError, label);
        continue;
      }
      const cuts = cutsOf(sealed.length, step);
      const { opened, message } = open(key, context, sealed, cuts);
      t.equal(opened, test.result === 'valid', label);
      const expected = test['msgSha512'] as string | undefined;
      if (expected === undefined) t.equal(message.length, 0, `${label}: nothing came out`);
      else {
        t.equal(message.length, test['msgLength'], `${label}: length`);
        t.equal(createHash('sha512').update(message).digest('hex'), expected, `${label}: digest`);
      }
      if (opened)
        t.ok(
          seal(key, context, message, [], sealed.subarray(0, 24)).equals(sealed),
          `${label}: sealed again`,
        );
    }
  });
}

t.test('agrees with a second implementation, for any size, context and cut', async () => {
  const size = fc.oneof(
    fc.integer({ min: 0, max: 70_000 }),
    fc.constantFrom(0, 1, 16_383, 16_384, 16_385, 32_767, 32_768, 32_769),
  );
  fc.assert(
    fc.property(
      size,
      fc.uint8Array({ maxLength: 40 }),
      fc.array(fc.nat(80_000), { maxLength: 8 }),
      (length, ctx, cuts) => {
        const [key, salt, message] = [randomBytes(32), randomBytes(24), randomBytes(length)];
        const context = Buffer.from(ctx);
        const sealed = sealChunked(key, context, salt, message);
        const ours = open(key, context, sealed, cuts);
        return (
          seal(key, context, message, cuts, salt).equals(sealed) &&
          ours.opened &&
          ours.message.equals(message) &&
          openChunked(key, context, seal(key, context, message, cuts)).equals(message)
        );
      },
    ),
    { numRuns: 120 },
  );
});

t.test('goes on failing after it failed', async (t) => {
  const key = randomBytes(32);
  const sealed = seal(key, Buffer.alloc(0), randomBytes(40_000), []);
  sealed[20_000]! ^= 1;
  const opener = new ChunkedOpener(key, Buffer.alloc(0));
  const out: Buffer[] = [];
  t.throws(
    () => {
      opener.update(sealed, out);
      opener.update(Buffer.alloc(100), out);
    },
    { code: 'SELLO_OBJECT_NOT_AUTHENTIC' },
  );
  t.throws(() => opener.update(Buffer.alloc(100), out), { code: 'SELLO_OBJECT_NOT_AUTHENTIC' });
  t.throws(() => opener.final(out), { code: 'SELLO_OBJECT_NOT_AUTHENTIC' });
});
