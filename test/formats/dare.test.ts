import fc from 'fast-check';
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import t from 'tap';
import { SelloError } from '../../src/errors.ts';
import {
  DareOpener,
  dareOverheadBytes,
  darePackageBytes,
  darePlainLength,
  dareSealedLength,
  DareSealer,
  planDare,
  type DareOpenOptions,
} from '../../src/formats/dare.ts';
import type { Aead } from '../../src/crypto/index.ts';

const key = createHash('sha256').update('a test key').digest();
const sealedPackage = darePackageBytes + dareOverheadBytes;
const aeads: readonly Aead[] = ['aes-256-gcm', 'chacha20-poly1305'];

/** Feeds bytes in pieces of the given sizes, round and round. */
function run(
  engine: { update(chunk: Uint8Array, out: Buffer[]): void; final(out: Buffer[]): void },
  bytes: Buffer,
  pieces: readonly number[] = [bytes.length || 1],
): Buffer {
  const out: Buffer[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = pieces[i % pieces.length]!;
    engine.update(bytes.subarray(at, at + size), out);
    at += size;
  }
  engine.final(out);
  return Buffer.concat(out);
}

function seal(plain: Buffer, aead: Aead = 'aes-256-gcm', pieces?: readonly number[]): Buffer {
  return run(new DareSealer(key, { aead }), plain, pieces);
}

function open(sealed: Buffer, options: DareOpenOptions = {}, pieces?: readonly number[]): Buffer {
  return run(new DareOpener(key, options), sealed, pieces);
}

/** What comes out of a stream that is not what it should be: the error, and the plaintext released before it. */
function attempt(
  sealed: Buffer,
  options: DareOpenOptions = {},
): { code: string | undefined; released: Buffer } {
  const out: Buffer[] = [];
  const opener = new DareOpener(key, options);
  try {
    for (let at = 0; at < sealed.length; at += 10_000) opener.update(sealed.subarray(at, at + 10_000), out);
    opener.final(out);
    return { code: undefined, released: Buffer.concat(out) };
  } catch (error) {
    if (!(error instanceof SelloError)) throw error;
    return { code: error.code, released: Buffer.concat(out) };
  }
}

/** DARE 1.0, written from its description: packages in order, none marked as the last. */
function sealV1(plain: Buffer, cipher = 0): Buffer {
  const nonce = randomBytes(8);
  const out: Buffer[] = [];
  for (let at = 0, number = 0; at < plain.length; number++) {
    const part = plain.subarray(at, at + darePackageBytes);
    at += part.length;
    const header = Buffer.alloc(16);
    header.set([0x10, cipher]);
    header.writeUInt16LE(part.length - 1, 2);
    header.writeUInt32LE(number, 4);
    nonce.copy(header, 8);
    const name = cipher === 0 ? 'aes-256-gcm' : 'chacha20-poly1305';
    const sealer = createCipheriv(name as 'aes-256-gcm', key, header.subarray(4), { authTagLength: 16 });
    sealer.setAAD(header.subarray(0, 4));
    out.push(header, sealer.update(part), sealer.final(), sealer.getAuthTag());
  }
  return Buffer.concat(out);
}

t.test('any size in any pieces comes back, at the length that was foretold', (t) => {
  const size = fc.oneof(
    fc.integer({ min: 0, max: 300 }),
    fc.integer({ min: darePackageBytes - 2, max: darePackageBytes + 2 }),
    fc.integer({ min: 2 * darePackageBytes - 2, max: 2 * darePackageBytes + 40 }),
  );
  const pieces = fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(size, pieces, pieces, fc.constantFrom(...aeads), (length, cut, cutAgain, aead) => {
      const plain = randomBytes(length);
      const sealed = seal(plain, aead, cut);
      return (
        sealed.length === dareSealedLength(length) &&
        darePlainLength(sealed.length) === length &&
        open(sealed, { plainBytes: length }, cutAgain).equals(plain)
      );
    }),
    { numRuns: 60 },
  );
  t.end();
});

t.test('any range comes from its own packages', (t) => {
  const length = 3 * darePackageBytes + 1234;
  const plain = randomBytes(length);
  const sealed = seal(plain);
  const spans = fc.tuple(fc.integer({ min: 0, max: length - 1 }), fc.integer({ min: 1, max: length }));
  fc.assert(
    fc.property(spans, ([from, wanted]) => {
      const to = Math.min(length, from + wanted);
      const { sealed: span, window } = planDare({ from, to }, length);
      return open(sealed.subarray(span.from, span.to), { window }, [7777]).equals(plain.subarray(from, to));
    }),
    { numRuns: 60 },
  );
  const { sealed: span, window } = planDare({ from: 70_000, to: 80_000 }, length);
  const other = sealed.subarray(span.from + sealedPackage, span.to + sealedPackage);
  t.equal(
    attempt(Buffer.from(other), { window }).code,
    'SELLO_OBJECT_NOT_AUTHENTIC',
    'another package is refused',
  );
  t.equal(
    attempt(sealed.subarray(span.from, span.to - sealedPackage), { window }).code,
    'SELLO_OBJECT_NOT_AUTHENTIC',
    'a range that does not come is no empty range',
  );
  t.throws(() => planDare({ from: 5, to: 5 }, 10), RangeError);
  t.throws(() => planDare({ from: 5, to: 11 }, 10), RangeError);
  t.end();
});

t.test('no changed byte passes, and nothing of its package comes out', (t) => {
  const plain = randomBytes(2 * darePackageBytes + 300);
  for (const aead of aeads) {
    const sealed = seal(plain, aead);
    let silent = 0;
    let leaked = 0;
    let tried = 0;
    for (let at = 0; at < sealed.length; at++) {
      const within = at % sealedPackage;
      if (within >= 40 && within < sealedPackage - 20 && at < 2 * sealedPackage && at % 1499 !== 0) continue;
      tried++;
      for (const bit of [0, 7]) {
        sealed[at]! ^= 1 << bit;
        const { code, released } = attempt(sealed);
        sealed[at]! ^= 1 << bit;
        if (code === undefined) silent++;
        const before = Math.floor(at / sealedPackage) * darePackageBytes;
        if (!released.equals(plain.subarray(0, released.length)) || released.length > before) leaked++;
      }
    }
    t.ok(tried > 500, `${aead}: ${tried} bytes`);
    t.equal(silent, 0, `${aead}: none opens`);
    t.equal(leaked, 0, `${aead}: nothing unauthenticated comes out`);
    t.equal(attempt(sealed).code, undefined, `${aead}: and unchanged it opens`);
  }
  t.end();
});

t.test('packages cut, swapped, repeated, appended or taken from another stream are refused', (t) => {
  const plain = randomBytes(2 * darePackageBytes + 300);
  const [sealed, again] = [seal(plain), seal(plain)];
  const part = (bytes: Buffer, i: number): Buffer =>
    bytes.subarray(i * sealedPackage, Math.min(bytes.length, (i + 1) * sealedPackage));
  const [a, b, c] = [part(sealed, 0), part(sealed, 1), part(sealed, 2)];
  const cases: Record<string, Buffer> = {
    'the last one cut': Buffer.concat([a, b]),
    'the last two cut': a,
    'the first cut': Buffer.concat([b, c]),
    'the middle cut': Buffer.concat([a, c]),
    swapped: Buffer.concat([b, a, c]),
    repeated: Buffer.concat([a, a, b, c]),
    'the last repeated': Buffer.concat([a, b, c, c]),
    'bytes appended': Buffer.concat([sealed, Buffer.from('x')]),
    'a whole stream appended': Buffer.concat([sealed, again]),
    'a package of another stream': Buffer.concat([a, part(again, 1), c]),
    'the last of another stream': Buffer.concat([a, b, part(again, 2)]),
    'cut inside a package': sealed.subarray(0, sealed.length - 1),
    'cut inside a header': sealed.subarray(0, sealedPackage + 7),
    'a short package in the middle': Buffer.concat([seal(plain.subarray(0, 10)), sealed]),
  };
  for (const [name, bytes] of Object.entries(cases)) {
    const { code, released } = attempt(bytes);
    t.equal(code, 'SELLO_OBJECT_NOT_AUTHENTIC', name);
    t.ok(
      released.equals(plain.subarray(0, released.length)) || name.startsWith('a short'),
      `${name}: what came out was authentic`,
    );
  }
  t.equal(attempt(Buffer.alloc(0)).code, undefined, 'an empty stream says nothing');
  t.equal(
    attempt(Buffer.alloc(0), { plainBytes: 5 }).code,
    'SELLO_OBJECT_NOT_AUTHENTIC',
    'unless its length is known',
  );
  t.equal(attempt(sealed, { plainBytes: plain.length - 1 }).code, 'SELLO_OBJECT_NOT_AUTHENTIC');
  t.end();
});

t.test('1.0 opens where it is asked for, and never in the place of 2.0', (t) => {
  const plain = randomBytes(2 * darePackageBytes + 77);
  for (const cipher of [0, 1]) {
    const sealed = sealV1(plain, cipher);
    t.equal(attempt(sealed).code, 'SELLO_OBJECT_FORMAT_UNKNOWN', 'not unless it is asked for');
    t.ok(open(sealed, { versions: [1, 2] }, [5000]).equals(plain));
    const cut = sealed.subarray(0, 2 * sealedPackage);
    t.equal(
      attempt(cut, { versions: [1] }).code,
      undefined,
      'a cut between packages is not noticed by the format',
    );
    t.equal(
      attempt(cut, { versions: [1], plainBytes: plain.length }).code,
      'SELLO_OBJECT_NOT_AUTHENTIC',
      'but by who knows the length',
    );
    const swapped = Buffer.concat([
      sealed.subarray(sealedPackage, 2 * sealedPackage),
      sealed.subarray(0, sealedPackage),
    ]);
    t.equal(attempt(swapped, { versions: [1] }).code, 'SELLO_OBJECT_NOT_AUTHENTIC', 'order is noticed');
  }
  const modern = seal(plain);
  const downgraded = Buffer.from(modern);
  for (let at = 0; at < downgraded.length; at += sealedPackage) downgraded[at] = 0x10;
  t.equal(
    attempt(downgraded, { versions: [1, 2] }).code,
    'SELLO_OBJECT_NOT_AUTHENTIC',
    'a header rewritten to 1.0',
  );
  const mixed = Buffer.concat([modern.subarray(0, sealedPackage), sealV1(plain).subarray(sealedPackage)]);
  t.equal(attempt(mixed, { versions: [1, 2] }).code, 'SELLO_OBJECT_NOT_AUTHENTIC', 'both in one stream');
  t.equal(attempt(Buffer.concat([Buffer.of(0x30, 0), Buffer.alloc(40)])).code, 'SELLO_OBJECT_FORMAT_UNKNOWN');
  t.equal(attempt(Buffer.concat([Buffer.of(0x20, 2), Buffer.alloc(40)])).code, 'SELLO_OBJECT_FORMAT_UNKNOWN');
  t.end();
});

t.test('Precondition: keys of 32 bytes, nonces of 12, and nothing after the end', (t) => {
  t.throws(() => new DareSealer(Buffer.alloc(16)), TypeError);
  t.throws(() => new DareSealer(key, { nonce: Buffer.alloc(8) }), TypeError);
  t.throws(() => new DareOpener(Buffer.alloc(31)), TypeError);
  const sealer = new DareSealer(key);
  sealer.final([]);
  t.throws(() => sealer.update(Buffer.from('x'), []), TypeError);
  t.throws(() => sealer.final([]), TypeError);
  const opener = new DareOpener(key);
  opener.final([]);
  t.throws(() => opener.update(seal(Buffer.from('x')), []), { code: 'SELLO_OBJECT_NOT_AUTHENTIC' });
  t.end();
});
