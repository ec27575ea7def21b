import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { DareOpener, dareSealedLength, DareSealer } from '../../src/formats/index.ts';
import { minioPartKey } from '../../src/sse/minio.ts';
import { planMinio, type MinioPart } from '../../src/sse/minio-range.ts';

const objectKey = randomBytes(32);

function run(
  engine: { update(chunk: Buffer, out: Buffer[]): void; final(out: Buffer[]): void },
  bytes: Buffer,
): Buffer {
  const out: Buffer[] = [];
  engine.update(bytes, out);
  engine.final(out);
  return Buffer.concat(out);
}

t.test(
  'any range of any layout of parts comes from the sealed bytes that are planned, and from no others',
  (t) => {
    const sizes = fc.array(
      fc.oneof(
        fc.integer({ min: 0, max: 300 }),
        fc.integer({ min: 65_500, max: 65_600 }),
        fc.integer({ min: 131_000, max: 140_000 }),
      ),
      { minLength: 1, maxLength: 4 },
    );
    fc.assert(
      fc.property(
        sizes,
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (lengths, a, b) => {
          // Numbers with gaps, as S3 allows.
          const pieces = lengths.map((length, i) => ({ number: 3 * i + 1, plain: randomBytes(length) }));
          const sealed = new Map(
            pieces.map(({ number, plain }) => [
              number,
              run(new DareSealer(minioPartKey(objectKey, number)), plain),
            ]),
          );
          const parts: MinioPart[] = pieces.map(({ number }) => ({
            number,
            size: sealed.get(number)!.length,
          }));
          const whole = Buffer.concat(pieces.map(({ plain }) => plain));
          const [from, to] = [
            Math.floor(Math.min(a, b) * whole.length),
            Math.ceil(Math.max(a, b) * whole.length),
          ];
          const opened = planMinio(parts, { from, to }).map(({ part, sealed: span, window }) =>
            run(
              new DareOpener(minioPartKey(objectKey, part), { window }),
              sealed.get(part)!.subarray(span.from, span.to),
            ),
          );
          return Buffer.concat(opened).equals(whole.subarray(from, to));
        },
      ),
      { numRuns: 80 },
    );
    t.end();
  },
);

t.test('a range that is not in the object, or a length that no part has, is refused', (t) => {
  const parts = [
    { number: 1, size: dareSealedLength(100) },
    { number: 2, size: dareSealedLength(50) },
  ];
  t.same(planMinio(parts, { from: 100, to: 100 }), [], 'an empty range needs nothing');
  t.equal(planMinio(parts, { from: 0, to: 150 }).length, 2);
  for (const [from, to] of [
    [-1, 5],
    [0, 151],
    [5, 4],
    [0.5, 2],
    [0, NaN],
  ] as const)
    t.throws(() => planMinio(parts, { from, to }), RangeError, `${from} to ${to}`);
  t.throws(() => planMinio([{ number: 1, size: 32 }], { from: 0, to: 1 }), {
    code: 'SELLO_OBJECT_FORMAT_UNKNOWN',
  });
  t.end();
});

t.test(
  'a part that was exchanged for a shorter one of its own key does not pass for the range that was asked for',
  (t) => {
    const key = minioPartKey(objectKey, 1);
    const [long, short] = [200_000, 65_536].map((length) => run(new DareSealer(key), randomBytes(length)));
    const [plan] = planMinio([{ number: 1, size: long!.length }], { from: 10, to: 20 });
    t.equal(
      run(new DareOpener(key, { window: plan!.window }), long!.subarray(0, plan!.sealed.to)).length,
      10,
    );
    t.throws(() => run(new DareOpener(key, { window: plan!.window }), short!.subarray(0, plan!.sealed.to)), {
      code: 'SELLO_OBJECT_NOT_AUTHENTIC',
    });
    t.end();
  },
);
