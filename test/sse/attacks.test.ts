/**
 * Whoever can write to the store tries to make a reader take something for the object that was sealed. No byte of plaintext that
 * was not authenticated comes out, and nothing ends as if it were whole.
 */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { open, objectHeaderBytes, seal, SealedObject, type Placed } from '../../src/sse/index.ts';
import { aeadOpen } from '../../src/crypto/index.ts';
import { ObjectOpener, parseEnvelope } from '../../src/formats/index.ts';
import {
  deriveEnvelope,
  deriveStream,
  headerOf,
  openSegment,
  type Derived,
  type StreamFacts,
} from '../formats/second-object.ts';
import { twoKeySegment } from '../formats/two-key.ts';
import { changeBytes } from './changed-bytes.ts';
import { attempt, held, place, run, sealedSegment, segmentBytes, threeSegments } from './fixtures.ts';

function segmentsOf(sealed: Buffer): { header: Buffer; segments: Buffer[] } {
  const segments: Buffer[] = [];
  for (let at = objectHeaderBytes; at < sealed.length; at += sealedSegment)
    segments.push(sealed.subarray(at, at + sealedSegment));
  return { header: sealed.subarray(0, objectHeaderBytes), segments };
}

for (const aead of ['aes-256-gcm', 'chacha20-poly1305'] as const) {
  t.test(`bytes of a three-segment object changed: ${aead}`, async (t) => {
    // All of headers, tags and edges, and every 11th between; test/long takes all.
    const tried = await changeBytes(t, aead, 11);
    t.ok(tried > 12_000, `${tried} places`);
  });
}

t.test('every length that a cut can leave', async (t) => {
  const { object, sealed } = await threeSegments();
  const lengths = new Set([0, 1, 79, 80, 81, 95, 96, 97]);
  for (let edge = objectHeaderBytes; edge < sealed.length; edge += sealedSegment)
    for (let near = -20; near <= 20; near++) lengths.add(edge + near);
  for (let near = 1; near <= 40; near++) lengths.add(sealed.length - near);
  for (let at = 0; at < sealed.length; at += 997) lengths.add(at);
  let silent = 0;
  for (const length of lengths)
    if (length < sealed.length && attempt(object.open(), sealed.subarray(0, length)).isWhole) silent++;
  t.equal(silent, 0);
});

t.test('segments swapped, repeated, left out, appended', async (t) => {
  const { object, sealed } = await threeSegments();
  const { header, segments } = segmentsOf(sealed);
  const [a, b, c] = segments as [Buffer, Buffer, Buffer];
  const layouts = {
    swapped: [b, a, c],
    'last first': [c, a, b],
    repeated: [a, a, c],
    'repeated last': [a, b, c, c],
    'first left out': [b, c],
    'middle left out': [a, c],
    'last left out': [a, b],
    'nothing but the last': [c],
    none: [],
    'something appended': [a, b, c, Buffer.alloc(16)],
    'a byte appended': [a, b, c, Buffer.alloc(1)],
    'last made longer': [a, b, Buffer.concat([c.subarray(0, -16), Buffer.alloc(9), c.subarray(-16)])],
  };
  for (const [what, layout] of Object.entries(layouts))
    t.notOk(attempt(object.open(), Buffer.concat([header, ...layout])).isWhole, what);
});

t.test('segments and streams of another object, part, upload, tenant', async (t) => {
  const { object, sealed, placed, message } = await threeSegments();
  const { header, segments } = segmentsOf(sealed);
  const { object: other, sealed: others } = await threeSegments();
  const foreign = segmentsOf(others);
  const joined = (...parts: Buffer[]) => Buffer.concat(parts);
  t.notOk(attempt(object.open(), others).isWhole, 'whole stream of another object');
  t.notOk(attempt(object.open(), joined(header, segments[0]!, foreign.segments[1]!, segments[2]!)).isWhole);
  const part1 = run(object.seal({ segmentBytes, part: 1 }), message);
  const part2 = run(object.seal({ segmentBytes, part: 2 }), message);
  const upload2 = run(object.seal({ segmentBytes, part: 1 }), message);
  t.ok(attempt(object.open(1), part1).isWhole);
  t.notOk(attempt(object.open(2), part1).isWhole, 'part 1 for part 2');
  t.notOk(attempt(object.open(), part1).isWhole, 'a part for the object');
  t.notOk(attempt(object.open(1), sealed).isWhole, 'the object for a part');
  const renumbered = Buffer.from(part1);
  renumbered.writeUInt32BE(2, 12);
  t.notOk(attempt(object.open(2), renumbered).isWhole, 'part 1 with the number of part 2');
  const mixed = joined(
    part1.subarray(0, objectHeaderBytes),
    segmentsOf(upload2).segments[0]!,
    ...segmentsOf(part1).segments.slice(1),
  );
  t.notOk(attempt(object.open(1), mixed).isWhole, 'a segment of another upload of the same part');
  t.notOk(attempt(object.open(2), joined(part2.subarray(0, 80), ...segmentsOf(part1).segments)).isWhole);
  // The same key in another tenant: a key server of ours would not hand it out, and it derives other streams all the same.
  const key = randomBytes(32);
  const tenants = ['acme', 'other'].map(
    (tenant) => new SealedObject(object.envelope, Buffer.from(key), tenant),
  );
  const stream = run(tenants[0]!.seal(), message);
  t.ok(attempt(tenants[0]!.open(), stream).isWhole);
  t.notOk(attempt(tenants[1]!.open(), stream).isWhole, 'another tenant');
  other.wipe();
  t.ok(placed);
});

t.test('an envelope opens at its own place only, and names do not run into each other', async (t) => {
  const key = randomBytes(32);
  const of = (changed: object): Placed => ({
    place: { ...place, ...changed },
    protection: { mode: 'held', key },
  });
  const object = await seal(of({ bucket: 'ab', object: 'c/d', versionId: 'v1' }));
  t.ok(await open(object.envelope, of({ bucket: 'ab', object: 'c/d', versionId: 'v1' })));
  for (const changed of [
    { bucket: 'a', object: 'bc/d', versionId: 'v1' },
    { bucket: 'ab/c', object: 'd', versionId: 'v1' },
    { bucket: 'ab', object: 'c//d', versionId: 'v1' },
    { bucket: 'ab', object: 'c/./d', versionId: 'v1' },
    { bucket: 'ab', object: 'c/d/', versionId: 'v1' },
    { bucket: 'ab', object: 'C/d', versionId: 'v1' },
    { bucket: 'ab', object: 'c/d', versionId: 'v2' },
    { bucket: 'ab', object: 'c/dv1' },
    { bucket: 'ab', object: 'c/d' },
    { bucket: 'ab', object: 'c/d', versionId: '' },
    { tenant: 'acmeab', bucket: '', object: 'c/d', versionId: 'v1' },
    { tenant: 'other', bucket: 'ab', object: 'c/d', versionId: 'v1' },
  ])
    await t.rejects(
      open(object.envelope, of(changed)),
      { code: 'SELLO_OBJECT_NOT_AUTHENTIC' },
      JSON.stringify(changed),
    );
  const composed = await seal(of({ object: '\u00e9' }));
  await t.rejects(open(composed.envelope, of({ object: 'e\u0301' })), { code: 'SELLO_OBJECT_NOT_AUTHENTIC' });
  await t.rejects(seal(of({ object: '\ud800' })), TypeError, 'half a character is no name');
});

t.test('every bit of an envelope counts', async (t) => {
  const key = randomBytes(32);
  const keys = {
    issue: async () => ({ plaintext: Buffer.from(key), ciphertext: randomBytes(76) }),
    unwrap: async () => Buffer.from(key),
  };
  const placed: Placed = {
    place,
    protection: { mode: 'sse-kms', keys, keyName: 'app', context: { team: 'a' } },
  };
  const { envelope } = await seal(placed);
  for (let bit = 0; bit < envelope.length * 8; bit++) {
    envelope[bit >> 3]! ^= 1 << (bit & 7);
    await t.rejects(open(envelope, placed), { code: /^SELLO_OBJECT_(NOT_AUTHENTIC|FORMAT_UNKNOWN)$/ });
    envelope[bit >> 3]! ^= 1 << (bit & 7);
  }
  t.ok(await open(envelope, placed));
  for (let length = 0; length < envelope.length; length++)
    await t.rejects(open(envelope.subarray(0, length), placed), { code: 'SELLO_OBJECT_FORMAT_UNKNOWN' });
  await t.rejects(open(Buffer.concat([envelope, Buffer.of(0)]), placed), {
    code: 'SELLO_OBJECT_FORMAT_UNKNOWN',
  });
});

t.test('no downgrade: not of the cipher, not of the segment size, not of the kind of key', async (t) => {
  const { object, sealed } = await threeSegments('aes-256-gcm');
  for (const [at, value] of [
    [8, 2],
    [8, 0],
    [8, 3],
    [9, 17],
    [9, 14],
    [10, 1],
    [7, 0x30],
  ] as const) {
    const changed = Buffer.from(sealed);
    changed[at] = value;
    const { isWhole, released } = attempt(object.open(), changed);
    t.notOk(isWhole, `byte ${at} is ${value}`);
    t.equal(released.length, 0, 'and nothing came out');
  }
  const key = randomBytes(32);
  const customer: Placed = { place, protection: { mode: 'sse-c', key } };
  const { envelope } = await seal(customer);
  await t.rejects(open(envelope, { place, protection: { mode: 'held', key } }), {
    code: 'SELLO_OBJECT_NOT_AUTHENTIC',
  });
  const relabelled = Buffer.from(envelope);
  relabelled[12] = 4;
  await t.rejects(open(relabelled, { place, protection: { mode: 'held', key } }), {
    code: 'SELLO_OBJECT_NOT_AUTHENTIC',
  });
});

t.test('manifests: every byte, and every other set of parts', async (t) => {
  const placed = held();
  using object = await seal(placed);
  const messages = [randomBytes(70_000), randomBytes(10), randomBytes(65_536)];
  const streams = messages.map((message, i) => {
    const stream = object.seal({ part: i + 1, segmentBytes });
    return { sealed: run(stream, message), part: stream.engine.part };
  });
  const again = object.seal({ part: 2, segmentBytes });
  const secondUpload = { sealed: run(again, messages[1]!), part: again.engine.part };
  const bytes = object.complete(streams.map(({ part }) => part));
  for (let at = 0; at < bytes.length; at++) {
    bytes[at]! ^= 0x80;
    t.throws(() => object.manifest(bytes), { code: /^SELLO_OBJECT_(NOT_AUTHENTIC|FORMAT_UNKNOWN)$/ });
    bytes[at]! ^= 0x80;
  }
  const manifest = object.manifest(bytes);
  const sealed = streams.map((stream) => stream.sealed);
  const [a, b, c] = sealed as [Buffer, Buffer, Buffer];
  t.ok(attempt(object.openParts(manifest), Buffer.concat(sealed)).isWhole);
  const layouts = {
    'a part sent twice: the upload that was not taken': [a, secondUpload.sealed, c],
    'left out': [a, c],
    'last left out': [a, b],
    swapped: [b, a, c],
    repeated: [a, b, b, c],
    'cut inside a part': [a.subarray(0, -20), b, c],
    'cut inside the last': [a, b, c.subarray(0, -16)],
    'more behind': [a, b, c, Buffer.alloc(1)],
    nothing: [],
  };
  for (const [what, layout] of Object.entries(layouts))
    t.notOk(attempt(object.openParts(manifest), Buffer.concat(layout)).isWhole, what);
  const taken = object.manifest(object.complete([streams[0]!.part, secondUpload.part, streams[2]!.part]));
  t.ok(attempt(object.openParts(taken), Buffer.concat([a, secondUpload.sealed, c])).isWhole);
  using other = await seal(placed);
  t.throws(() => other.manifest(bytes), { code: 'SELLO_OBJECT_NOT_AUTHENTIC' }, 'of another object');
  const foreign = other.seal({ part: 2 });
  run(foreign, randomBytes(10));
  t.throws(() => object.complete([streams[0]!.part, foreign.engine.part]), {
    code: 'SELLO_OBJECT_NOT_AUTHENTIC',
  });
  t.throws(() => object.complete([streams[1]!.part, streams[0]!.part]), RangeError, 'out of order');
  t.throws(() => object.complete([streams[0]!.part, streams[0]!.part]), RangeError, 'twice');
  t.throws(() => object.complete([]), RangeError);
});

t.test('a length that a manifest was made to believe does not pass', async (t) => {
  using object = await seal(held());
  const stream = object.seal({ part: 1, segmentBytes });
  const sealed = run(stream, randomBytes(100_000));
  for (const length of [99_999, 100_001, 65_536, 0]) {
    const manifest = object.manifest(object.complete([{ ...stream.engine.part, length }]));
    t.notOk(attempt(object.openParts(manifest), sealed).isWhole, `${length} bytes`);
  }
});

t.test('a ciphertext that is valid under two keys opens under the one that is committed to', async (t) => {
  const [one, two] = [randomBytes(32), randomBytes(32)];
  const objectId = randomBytes(16);
  const facts: StreamFacts = {
    aead: 'aes-256-gcm',
    segmentBytes,
    part: 0,
    salt: randomBytes(32),
    tenant: 'acme',
    objectId,
  };
  const [first, second] = [deriveStream(one, facts), deriveStream(two, facts)];
  const segment = twoKeySegment(first, second);
  t.equal(openSegment(first, 'aes-256-gcm', 0, segment).length, 32);
  t.equal(
    openSegment(second, 'aes-256-gcm', 0, segment).length,
    32,
    'the ciphertext is what it claims to be',
  );
  const sealed = Buffer.concat([headerOf(facts, first.commitment), segment]);
  const opener = (key: Buffer) => ({ engine: new ObjectOpener(key, { tenant: 'acme', objectId, part: 0 }) });
  t.ok(attempt(opener(one), sealed).isWhole);
  t.same(attempt(opener(two), sealed), { isWhole: false, released: Buffer.alloc(0) });
});

t.test('an envelope that is valid under two customer keys opens under one', async (t) => {
  const [one, two] = [randomBytes(32), randomBytes(32)];
  const placed = (key: Buffer): Placed => ({ place, protection: { mode: 'sse-c', key } });
  const { envelope } = await seal(placed(one));
  const { salt } = parseEnvelope(envelope);
  const [first, second] = [one, two].map((key) => deriveEnvelope(key, salt, 3, place)) as [Derived, Derived];
  const data = Buffer.concat([envelope.subarray(0, 64), envelope.subarray(144)]);
  twoKeySegment(first, second, data).copy(envelope, 96);
  for (const { key, nonce } of [first, second])
    t.equal(
      aeadOpen('aes-256-gcm', key, nonce, data, envelope.subarray(96, 144))?.length,
      32,
      'as the cipher sees it',
    );
  t.ok(await open(envelope, placed(one)));
  await t.rejects(open(envelope, placed(two)), { code: 'SELLO_OBJECT_NOT_AUTHENTIC' });
});
