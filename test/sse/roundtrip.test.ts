/** Any size, any range, any cut of the input, any layout of parts gives the same bytes. */
import fc from 'fast-check';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import t from 'tap';
import {
  objectHeaderBytes,
  open,
  openRange,
  parseStreamHeader,
  plainStreamLength,
  planParts,
  planStream,
  seal,
  sealedObjectLength,
  sealedStreamLength,
  type SegmentBytes,
} from '../../src/sse/index.ts';
import { held, place, run } from './fixtures.ts';

const aead = fc.constantFrom('aes-256-gcm' as const, 'chacha20-poly1305' as const);
const segmentBytes = fc.constantFrom<SegmentBytes>(65_536, 131_072);
const size = fc.oneof(
  fc.integer({ min: 0, max: 400_000 }),
  fc.constantFrom(0, 1, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 262_143, 262_144, 262_145),
);
const cuts = fc.array(fc.nat(500_000), { maxLength: 8 });

t.test('a sealed object opens to its bytes, for any size and cut, in either cipher', async () => {
  await fc.assert(
    fc.asyncProperty(
      size,
      cuts,
      cuts,
      aead,
      segmentBytes,
      async (length, cutIn, cutOut, aead, segmentBytes) => {
        const placed = held();
        const message = randomBytes(length);
        using object = await seal(placed);
        const sealed = run(object.seal({ aead, segmentBytes }), message, cutIn);
        using again = await open(object.metadata, placed);
        const header = parseStreamHeader(sealed.subarray(0, objectHeaderBytes));
        return (
          sealed.length === sealedStreamLength(length, segmentBytes) &&
          plainStreamLength(sealed.length, segmentBytes) === length &&
          header.aead === aead &&
          header.segmentBytes === segmentBytes &&
          run(again.open(), sealed, cutOut).equals(message)
        );
      },
    ),
    { numRuns: 100 },
  );
});

t.test('a byte at a time is as good as all at once', async (t) => {
  const placed = held();
  const message = randomBytes(65_536 + 40);
  using object = await seal(placed);
  const every = Array.from({ length: 70_000 }, (_, i) => i);
  const sealed = run(object.seal({ segmentBytes: 65_536 }), message, every);
  t.ok(run(object.open(), sealed, every).equals(message));
});

t.test('a range opens from the header and its own segments, for any range', async () => {
  const placed = held();
  const length = 700_000;
  const message = randomBytes(length);
  using object = await seal(placed);
  const streams = ([65_536, 131_072] as const).map((segmentBytes) => ({
    segmentBytes,
    sealed: run(object.seal({ segmentBytes }), message),
  }));
  const edge = fc.constantFrom(0, 1, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 699_998, 699_999);
  const at = fc.oneof(fc.nat(length - 1), edge);
  await fc.assert(
    fc.asyncProperty(at, at, fc.nat(1), cuts, async (a, b, which, cut) => {
      const { segmentBytes, sealed } = streams[which]!;
      const range = { from: Math.min(a, b), to: Math.max(a, b) + 1 };
      const opened = await openRange(object.envelope, range, { ...placed, segmentBytes, plainBytes: length });
      const input = Buffer.concat([
        sealed.subarray(0, objectHeaderBytes),
        sealed.subarray(opened.sealed.from, opened.sealed.to),
      ]);
      const withoutTotal = planStream(range, segmentBytes).sealed;
      return (
        run(opened.stream, input, cut).equals(message.subarray(range.from, range.to)) &&
        withoutTotal.from === opened.sealed.from &&
        Math.min(withoutTotal.to, sealed.length) === opened.sealed.to
      );
    }),
    { numRuns: 200 },
  );
});

t.test('parts of any layout open as one object and by range', async () => {
  const part = fc.record({
    length: fc.oneof(fc.nat(200_000), fc.constantFrom(0, 1, 65_536, 131_072)),
    aead,
    segmentBytes,
    gap: fc.nat(3),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(part, { minLength: 1, maxLength: 5 }),
      fc.nat(),
      fc.nat(),
      cuts,
      async (layout, a, b, cut) => {
        const placed = held();
        using object = await seal(placed);
        const plain: Buffer[] = [];
        const sealed: Buffer[] = [];
        const parts = [];
        let number = 0;
        for (const { length, gap, ...options } of layout) {
          number += 1 + gap;
          const message = randomBytes(length);
          const stream = object.seal({ ...options, part: number });
          plain.push(message);
          sealed.push(run(stream, message));
          parts.push(stream.engine.part);
        }
        const message = Buffer.concat(plain);
        const stored = Buffer.concat(sealed);
        const manifest = object.manifest(object.complete(parts));
        if (sealedObjectLength(manifest) !== stored.length || manifest.length !== message.length)
          return false;
        if (!run(object.openParts(manifest), stored, cut).equals(message)) return false;
        if (message.length === 0) return true;
        const [x, y] = [a % message.length, b % message.length];
        const range = { from: Math.min(x, y), to: Math.max(x, y) + 1 };
        const plans = planParts(manifest, range);
        const [first, last] = [plans[0]!.inObject, plans.at(-1)!.inObject];
        // The spans lie end to end.
        const isOneSpan = plans.every(
          ({ inObject }, i) => i === 0 || inObject.from === plans[i - 1]!.inObject.to,
        );
        const input = stored.subarray(first.from, last.to);
        return (
          isOneSpan &&
          run(object.openParts(manifest, range), input, cut).equals(message.subarray(range.from, range.to))
        );
      },
    ),
    { numRuns: 120 },
  );
});

t.test('runs as Node streams and as web streams', async (t) => {
  const placed = held();
  const message = randomBytes(500_000);
  using object = await seal(placed);
  const chunks = [message.subarray(0, 100), message.subarray(100, 300_000), message.subarray(300_000)];
  const sealed: Buffer[] = [];
  await pipeline(Readable.from(chunks), object.seal().node(), async (source) => {
    for await (const chunk of source) sealed.push(chunk as Buffer);
  });
  using again = await open(object.envelope, placed);
  const opened: Uint8Array[] = [];
  const web = new Blob([Buffer.concat(sealed)]).stream().pipeThrough(again.open().web());
  for await (const chunk of web) opened.push(chunk as Uint8Array);
  t.ok(Buffer.concat(opened).equals(message));
  const resealed = await new Response(
    new Blob([message]).stream().pipeThrough(object.seal().web()),
  ).arrayBuffer();
  t.ok(run(again.open(), Buffer.from(resealed)).equals(message));
});

t.test('a slow reader holds back what is sealed for it', async (t) => {
  using object = await seal(held());
  const stream = object.seal().node();
  const chunk = Buffer.alloc(65_536);
  let written = 0;
  while (stream.write(chunk)) written++;
  t.ok(written < 10, 'nobody reads, and writing stops');
  stream.destroy();
});

t.test('a copy takes the same sealed bytes under a new envelope', async (t) => {
  const from = held();
  const message = randomBytes(200_000);
  using object = await seal(from);
  const sealed = run(object.seal(), message);
  const to = {
    place: { ...place, bucket: 'backup', object: 'cats/1 copy.jpg' },
    protection: { mode: 'sse-c', key: randomBytes(32) },
  } as const;
  const envelope = await object.reseal(to);
  using copy = await open(envelope, to);
  t.ok(run(copy.open(), sealed).equals(message));
  await t.rejects(open(envelope, from), { code: 'SELLO_OBJECT_NOT_AUTHENTIC' });
  await t.rejects(open(object.envelope, to), { code: 'SELLO_OBJECT_NOT_AUTHENTIC' });
  await t.rejects(object.reseal({ ...to, place: { ...to.place, tenant: 'other' } }), TypeError);
});

t.test('an object that was wiped seals and opens nothing more', async (t) => {
  const object = await seal(held());
  object.wipe();
  t.throws(() => object.seal(), TypeError);
  t.throws(() => object.open(), TypeError);
});
