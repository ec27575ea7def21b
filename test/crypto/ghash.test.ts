/** GHASH, on its own and inside of AES-256-GCM: the counter mode around it is node:crypto's block cipher. */
import { createCipheriv, randomBytes, randomInt } from 'node:crypto';
import t from 'tap';
import { Ghash } from '../../src/crypto/ghash.ts';
import { hex, wycheproof, wycheproofMissing } from './wycheproof-files.ts';

/** AES-256-GCM's tag (SP 800-38D §7.1) for a nonce of 12 bytes. */
function tagOf(key: Buffer, nonce: Buffer, associated: Buffer, ciphertext: Buffer): Buffer {
  const blocks = Buffer.alloc(32);
  nonce.copy(blocks, 16);
  blocks[31] = 1;
  const cipher = createCipheriv('aes-256-ecb', key, null).setAutoPadding(false);
  const encrypted = cipher.update(blocks);
  const ghash = new Ghash(encrypted.subarray(0, 16));
  ghash.update(associated, 0, associated.length);
  ghash.update(ciphertext, 0, ciphertext.length);
  const tag = Buffer.alloc(16);
  ghash.finish(associated.length, ciphertext.length, tag, 0);
  return Buffer.from(tag.map((byte, i) => byte ^ encrypted[16 + i]!));
}

t.test('the GCM specification’s test case 2', async (t) => {
  const ghash = new Ghash(Buffer.from('66e94bd4ef8a2c3b884cfa59ca342b2e', 'hex'));
  const ciphertext = Buffer.from('0388dace60b6a392f328c2b971b2fe78', 'hex');
  const made = Buffer.alloc(20);
  ghash.update(ciphertext, 0, 16);
  ghash.finish(0, 16, made, 2);
  t.equal(made.toString('hex'), '0000f38cbb1ad69223dcc3457ae5b6b0f8850000');
});

t.test('makes the tags of node:crypto, whatever the sizes', async (t) => {
  let different = 0;
  for (let i = 0; i < 5000; i++) {
    const [key, nonce] = [randomBytes(32), randomBytes(12)];
    const [associated, plaintext] = [randomBytes(randomInt(200)), randomBytes(randomInt(300))];
    const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(associated);
    const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
    if (!tagOf(key, nonce, associated, ciphertext).equals(cipher.getAuthTag())) different++;
  }
  t.equal(different, 0);
});

t.test('makes the tags of Wycheproof, and none of its wrong ones', { skip: wycheproofMissing }, async (t) => {
  const groups = wycheproof('aes_gcm').filter(({ keySize, ivSize }) => keySize === 256 && ivSize === 96);
  const tests = groups.flatMap((group) => group.tests);
  t.ok(tests.length > 50, `${tests.length} cases`);
  for (const test of tests) {
    const tag = tagOf(hex(test, 'key'), hex(test, 'iv'), hex(test, 'aad'), hex(test, 'ct'));
    t.equal(tag.equals(hex(test, 'tag')), test.result === 'valid', `${test.tcId} ${test.comment}`);
  }
});

t.test('goes on where it left off', async (t) => {
  const bytes = randomBytes(64);
  const whole = new Ghash(bytes.subarray(48));
  const [once, again] = [Buffer.alloc(16), Buffer.alloc(16)];
  const state = new Int32Array(4);
  whole.update(bytes, 0, 16);
  whole.saveTo(state);
  whole.update(bytes, 16, 40);
  whole.finish(40, 0, once, 0);
  whole.reset(state);
  whole.update(bytes, 16, 40);
  whole.finish(40, 0, again, 0);
  t.ok(once.equals(again));
  whole.reset();
  whole.finish(40, 0, again, 0);
  t.notOk(once.equals(again), 'and begins anew');
  t.throws(() => new Ghash(bytes), /expected 16 bytes, got 64/);
});
