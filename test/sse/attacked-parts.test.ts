/** Objects in parts, and ranges, changed at any place: what comes out is what was authenticated before, and nothing ends whole. */
import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import t from 'tap';
import {
  ChunkedOpener,
  ChunkedSealer,
  DareOpener,
  DareSealer,
  objectHeaderBytes,
  openRange,
  planParts,
  seal,
  sealedObjectLength,
  type Engine,
  type ObjectStream,
} from '../../src/sse/index.ts';
import { ObjectOpener, ObjectSealer } from '../../src/formats/index.ts';
import { attempt, held, run, segmentBytes, threeSegments } from './fixtures.ts';

const bytes = randomBytes(400_000);
const length = fc.constantFrom(
  0,
  0,
  1,
  100,
  segmentBytes - 1,
  segmentBytes,
  segmentBytes + 1,
  2 * segmentBytes,
);
const cuts = fc.array(fc.nat(600_000), { maxLength: 6 });
const bit = fc.nat(7);

/** A bit changed, an end cut off, something behind: each refused, and nothing out but the beginning of what was wanted. */
function refusesChanges(
  stream: () => Pick<ObjectStream, 'engine'>,
  sealed: Buffer,
  wanted: Buffer,
  { at, bit, cut }: { readonly at: number; readonly bit: number; readonly cut: readonly number[] },
): boolean {
  const flipped = Buffer.from(sealed);
  flipped[at % sealed.length]! ^= 1 << bit;
  return [
    flipped,
    sealed.subarray(0, at % sealed.length),
    Buffer.concat([sealed, Buffer.alloc(1 + (at % 100))]),
  ].every((input) => {
    const { isWhole, released } = attempt(stream(), input, cut);
    return !isWhole && wanted.subarray(0, released.length).equals(released);
  });
}

t.test('parts of any layout, whole and by range', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(length, { minLength: 1, maxLength: 8 }),
      fc.nat(),
      fc.nat(),
      cuts,
      fc.nat(),
      bit,
      async (layout, a, b, cut, at, bit) => {
        using object = await seal(held());
        const plain = layout.map((length, i) => bytes.subarray(i * 1000, i * 1000 + length));
        const streams = plain.map((message, i) => {
          const stream = object.seal({ segmentBytes, part: i + 1 });
          return { sealed: run(stream, message), part: stream.engine.part };
        });
        const message = Buffer.concat(plain);
        const stored = Buffer.concat(streams.map(({ sealed }) => sealed));
        const manifest = object.manifest(object.complete(streams.map(({ part }) => part)));
        const change = { at, bit, cut };
        if (sealedObjectLength(manifest) !== stored.length) return false;
        if (!refusesChanges(() => object.openParts(manifest), stored, message, change)) return false;
        if (message.length === 0) return true;
        const edges = [0, message.length - 1];
        let edge = 0;
        for (const length of layout) {
          edge += length;
          edges.push(...[edge - 1, edge].filter((near) => near >= 0 && near < message.length));
        }
        const [x, y] = [
          edges[a % edges.length]!,
          b % 2 === 0 ? b % message.length : edges[b % edges.length]!,
        ];
        const range = { from: Math.min(x, y), to: Math.max(x, y) + 1 };
        const plans = planParts(manifest, range);
        const span = stored.subarray(plans[0]!.inObject.from, plans.at(-1)!.inObject.to);
        const wanted = message.subarray(range.from, range.to);
        return (
          run(object.openParts(manifest, range), span, cut).equals(wanted) &&
          refusesChanges(() => object.openParts(manifest, range), span, wanted, change)
        );
      },
    ),
    { numRuns: 100 },
  );
});

t.test('a range of one stream', async () => {
  const placed = held();
  using object = await seal(placed);
  const message = bytes.subarray(0, 3 * segmentBytes);
  const sealed = run(object.seal({ segmentBytes }), message);
  await fc.assert(
    fc.asyncProperty(
      fc.nat(message.length - 1),
      fc.nat(message.length - 1),
      cuts,
      fc.nat(),
      bit,
      async (a, b, cut, at, bit) => {
        const range = { from: Math.min(a, b), to: Math.max(a, b) + 1 };
        const { sealed: span } = await openRange(object.envelope, range, { ...placed, segmentBytes });
        const input = Buffer.concat([
          sealed.subarray(0, objectHeaderBytes),
          sealed.subarray(span.from, span.to),
        ]);
        const flipped = Buffer.from(input);
        flipped[at % input.length]! ^= 1 << bit;
        const wanted = message.subarray(range.from, range.to);
        return [flipped, input.subarray(0, at % input.length)].every((changed) => {
          const { isWhole, released } = attempt(object.openRange(range), changed, cut);
          return !isWhole && wanted.subarray(0, released.length).equals(released);
        });
      },
    ),
    { numRuns: 100 },
  );
});

t.test('segments of another range do not stand in for those of this one', async (t) => {
  const { object, sealed, message } = await threeSegments();
  const segment = (i: number) =>
    sealed.subarray(
      objectHeaderBytes + i * (segmentBytes + 16),
      objectHeaderBytes + (i + 1) * (segmentBytes + 16),
    );
  const range = { from: segmentBytes + 5, to: segmentBytes + 10 };
  const header = sealed.subarray(0, objectHeaderBytes);
  const right = attempt(object.openRange(range), Buffer.concat([header, segment(1)]));
  t.ok(right.isWhole && right.released.equals(message.subarray(range.from, range.to)));
  for (const wrong of [0, 2])
    t.same(attempt(object.openRange(range), Buffer.concat([header, segment(wrong)])), {
      isWhole: false,
      released: Buffer.alloc(0),
    });
});

t.test('no format is taken for another, under one key', async (t) => {
  const key = randomBytes(32);
  const place = { tenant: 'acme', objectId: randomBytes(16), part: 0 };
  const context = Buffer.from('acme');
  const formats = {
    chunked: [() => new ChunkedSealer(key, context), () => new ChunkedOpener(key, context)],
    'DARE 2.0': [() => new DareSealer(key), () => new DareOpener(key)],
    'sello object 1': [() => new ObjectSealer(key, place), () => new ObjectOpener(key, place)],
  } as const;
  const message = bytes.subarray(0, 50_000);
  const streams = Object.entries(formats).map(([name, [sealer, opener]]) => ({
    name,
    opener: () => ({ engine: opener() as Engine }),
    sealed: run({ engine: sealer() as Engine }, message),
  }));
  for (const from of streams) {
    t.ok(attempt(from.opener(), from.sealed).released.equals(message));
    for (const to of streams) {
      if (from === to) continue;
      // As it is, and behind what the other format begins with.
      for (const grafted of [0, 4, 8, 16, 64, objectHeaderBytes]) {
        const input = Buffer.concat([to.sealed.subarray(0, grafted), from.sealed.subarray(grafted)]);
        t.same(
          attempt(to.opener(), input),
          { isWhole: false, released: Buffer.alloc(0) },
          `${from.name} for ${to.name}, ${grafted} bytes of it in front`,
        );
      }
    }
  }
});
