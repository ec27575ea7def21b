/** AES-256-GCM of many short messages against node:crypto's, byte for byte, and against vectors of others. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import t from 'tap';
import { GcmSeries, seriesMessageBytes, seriesNonce } from '../../src/crypto/index.ts';
import { Ghash } from '../../src/crypto/ghash.ts';

function sealed(key: Buffer, number: number, associated: Buffer, plaintext: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-gcm', key, seriesNonce(number));
  cipher.setAAD(associated);
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

t.test('seals what node:crypto seals, whatever the sizes and numbers', async (t) => {
  for (let round = 0; round < 200; round++) {
    const key = randomBytes(32);
    const series = new GcmSeries(key);
    let number = round % 3 === 0 ? 0 : randomBytes(4).readUInt32BE() % 4_000_000_000;
    let associated = randomBytes(round % 150);
    for (let i = 0; i < 20; i++) {
      const plaintext = randomBytes(Math.floor(Math.random() ** 3 * (seriesMessageBytes + 1)));
      if (i % 4 === 3) associated = randomBytes((round + i) % 150);
      const target = Buffer.alloc(plaintext.length + 21, 0xaa);
      const end = series.seal(target, 3, number, associated, plaintext, 19 - i);
      const expected = sealed(key, number, associated, plaintext);
      if (end !== 3 + expected.length || !target.subarray(3, end).equals(expected))
        t.fail(`message ${i} of ${plaintext.length} bytes`);
      if (!target.subarray(0, 3).equals(Buffer.alloc(3, 0xaa)) || target[end] !== 0xaa)
        t.fail('bytes beside it changed');
      number += i % 7 === 6 ? 5 : 1;
    }
    series.wipe();
  }
  t.pass('4,000 messages');
});

t.test('opens what node:crypto sealed, in any order, and nothing that was changed', async (t) => {
  let opened = 0;
  let refused = 0;
  for (let round = 0; round < 100; round++) {
    const key = randomBytes(32);
    const series = new GcmSeries(key);
    const associated = randomBytes(128);
    for (let i = 0; i < 10; i++) {
      const number = round % 2 === 0 ? i : randomBytes(4).readUInt32BE();
      const plaintext = randomBytes((round * 7 + i * 13) % 200);
      const whole = sealed(key, number, associated, plaintext);
      if (series.open(number, associated, whole, 9 - i)?.equals(plaintext) === true) opened++;
      const changed = Buffer.from(whole);
      const at = (round * 31 + i) % changed.length;
      changed[at]! ^= 1 << (i % 8);
      if (series.open(number, associated, changed, 0) === undefined) refused++;
      if (series.open((number ^ 1) >>> 0, associated, whole, 0) === undefined) refused++;
      if (series.open(number, associated.subarray(1), whole, 0) === undefined) refused++;
    }
    series.wipe();
  }
  t.equal(opened, 1000);
  t.equal(refused, 3000);
  const series = new GcmSeries(randomBytes(32));
  t.equal(series.open(0, Buffer.alloc(0), Buffer.alloc(15), 0), undefined, 'shorter than a tag');
});

t.test('GHASH: the cases of the GCM specification (McGrew and Viega, test cases 2 and 4)', async (t) => {
  const hashOf = (subkey: string, associated: string, ciphertext: string): string => {
    const ghash = new Ghash(Buffer.from(subkey, 'hex'));
    const [a, c] = [Buffer.from(associated, 'hex'), Buffer.from(ciphertext, 'hex')];
    ghash.update(a, 0, a.length);
    ghash.update(c, 0, c.length);
    const out = Buffer.alloc(16);
    ghash.finish(a.length, c.length, out, 0);
    return out.toString('hex');
  };
  t.equal(
    hashOf('66e94bd4ef8a2c3b884cfa59ca342b2e', '', '0388dace60b6a392f328c2b971b2fe78'),
    'f38cbb1ad69223dcc3457ae5b6b0f885',
  );
  t.equal(
    hashOf(
      'b83b533708bf535d0aa6e52980d53b78',
      'feedfacedeadbeeffeedfacedeadbeefabaddad2',
      '42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091',
    ),
    '698e57f70e6ecc7fd9463b7260a9ae5f',
  );
});

t.test('a GHASH subkey that is none is refused', async (t) => {
  t.throws(() => new Ghash(Buffer.alloc(15)), TypeError);
});

t.test('what a series sealed, node:crypto opens', async (t) => {
  const key = randomBytes(32);
  const series = new GcmSeries(key);
  const associated = randomBytes(100);
  for (let number = 0; number < 100; number++) {
    const plaintext = randomBytes(32);
    const target = Buffer.alloc(48);
    series.seal(target, 0, number, associated, plaintext, 99 - number);
    const decipher = createDecipheriv('aes-256-gcm', key, seriesNonce(number), { authTagLength: 16 });
    decipher.setAAD(associated);
    decipher.setAuthTag(target.subarray(32));
    if (!Buffer.concat([decipher.update(target.subarray(0, 32)), decipher.final()]).equals(plaintext))
      t.fail(`message ${number}`);
  }
  t.pass('100 messages');
});
