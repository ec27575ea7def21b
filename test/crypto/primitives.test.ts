import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import {
  aeadOpen,
  aeadSealInto,
  equalSecrets,
  hchacha20,
  PreparedHmac,
  secretBytes,
  secretCopy,
  takeRandom,
  wipe,
} from '../../src/crypto/index.ts';

t.test('HChaCha20 makes the subkeys of its specification', (t) => {
  // draft-irtf-cfrg-xchacha-03 §2.2.1; the second is the first of libsodium's tests.
  const cases = [
    [
      '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f',
      '000000090000004a0000000031415927',
      '82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc',
    ],
    [
      '24f11cce8a1b3d61e441561a696c1c1b7e173d084fd4812425435a8896a013dc',
      'd9660c5900ae19ddad28d6e06e45fe5e',
      '5966b3eec3bff1189f831f06afe4d4e3be97fa9235ec8c20d08acfbbb4e851e3',
    ],
  ] as const;
  for (const [key, input, subkey] of cases) {
    t.equal(hchacha20(Buffer.from(key, 'hex'), Buffer.from(input, 'hex')).toString('hex'), subkey);
  }
  t.throws(() => hchacha20(Buffer.alloc(31), Buffer.alloc(16)), TypeError);
  t.throws(() => hchacha20(Buffer.alloc(32), Buffer.alloc(24)), TypeError);
  t.end();
});

t.test('a prepared HMAC equals node’s, message after message', (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 64 }),
      fc.array(fc.uint8Array({ minLength: 16, maxLength: 16 }), { minLength: 1, maxLength: 4 }),
      (key, messages) => {
        const prepared = new PreparedHmac(key, 16);
        return messages.every((message) =>
          prepared.digest(message).equals(createHmac('sha256', key).update(message).digest()),
        );
      },
    ),
  );
  t.end();
});

t.test('Precondition: a prepared HMAC takes keys of one block and messages of its length only', (t) => {
  t.throws(() => new PreparedHmac(Buffer.alloc(65), 16), TypeError);
  const prepared = new PreparedHmac(Buffer.alloc(32), 16);
  t.throws(() => prepared.digest(Buffer.alloc(15)), TypeError);
  t.throws(() => prepared.digest(Buffer.alloc(17)), TypeError);
  t.end();
});

t.test('Precondition: an AEAD target has room for ciphertext and tag', (t) => {
  const [key, nonce, empty] = [Buffer.alloc(32), Buffer.alloc(12), Buffer.alloc(0)];
  const plaintext = Buffer.from('text');
  t.throws(() => aeadSealInto(Buffer.alloc(19), 0, 'aes-256-gcm', key, nonce, empty, plaintext), RangeError);
  t.throws(() => aeadSealInto(Buffer.alloc(20), 1, 'aes-256-gcm', key, nonce, empty, plaintext), RangeError);
  t.equal(aeadSealInto(Buffer.alloc(25), 3, 'aes-256-gcm', key, nonce, empty, plaintext), 23);
  t.end();
});

t.test('an AEAD opens no tag shorter than 16 bytes', (t) => {
  const [key, nonce, empty] = [Buffer.alloc(32, 1), Buffer.alloc(12), Buffer.alloc(0)];
  for (const aead of ['aes-256-gcm', 'chacha20-poly1305'] as const) {
    const sealed = Buffer.alloc(16);
    aeadSealInto(sealed, 0, aead, key, nonce, empty, empty);
    t.ok(aeadOpen(aead, key, nonce, empty, sealed)?.equals(empty));
    for (let length = 0; length < 16; length++) {
      t.equal(aeadOpen(aead, key, nonce, empty, sealed.subarray(0, length)), undefined);
    }
  }
  t.end();
});

t.test('random slices never overlap and are never handed out twice', (t) => {
  const slices: Buffer[] = [];
  for (let i = 0; i < 1000; i++) slices.push(takeRandom([28, 32, 60, 1, 256, 257, 9000][i % 7]!));
  const before = slices.map((slice) => slice.toString('hex'));
  const long = before.filter((_, i) => slices[i]!.length >= 28);
  t.equal(new Set(long).size, long.length);
  for (const [i, slice] of slices.entries()) if (i % 2 === 0) wipe(slice);
  for (const [i, slice] of slices.entries()) {
    if (i % 2 === 0) t.ok(slice.every((byte) => byte === 0));
    else if (slice.toString('hex') !== before[i]) t.fail('a neighbour’s wipe changed this slice');
  }
  t.equal(takeRandom(0).length, 0);
  t.throws(() => takeRandom(-1), RangeError);
  t.throws(() => takeRandom(1.5), RangeError);
  t.end();
});

t.test('random bytes are spread evenly', (t) => {
  const counts = new Array<number>(256).fill(0);
  const draws = 4000;
  for (let i = 0; i < draws; i++) for (const byte of takeRandom(64)) counts[byte]!++;
  const expected = (draws * 64) / 256;
  const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  t.ok(
    chiSquare < 400,
    `chi-square ${chiSquare.toFixed(0)} with 255 degrees of freedom (p < 1e-8 above 400)`,
  );
  t.end();
});

t.test('memory for secrets is shared with nothing, and outside V8’s heap', (t) => {
  for (const length of [1, 32, 64, 65, 5000]) {
    const before = process.memoryUsage().arrayBuffers;
    const one = secretBytes(length);
    t.ok(process.memoryUsage().arrayBuffers > before, `${length} bytes are external`);
    const two = secretCopy(one);
    t.equal(one.length, length);
    t.ok(two.equals(one));
    t.not(one.buffer, two.buffer);
    t.ok(one.buffer.byteLength <= Math.max(length, 65), 'no pool behind it');
  }
  t.end();
});

t.test('secrets of different length are unequal without an exception', (t) => {
  t.notOk(equalSecrets(Buffer.from('a'), Buffer.from('ab')));
  t.notOk(equalSecrets(Buffer.from('aa'), Buffer.from('ab')));
  t.ok(equalSecrets(Buffer.from('ab'), Buffer.from('ab')));
  t.end();
});
