import { inspect } from 'node:util';
import { serialize } from 'node:v8';
import t from 'tap';
import { issueDataKey, MasterKey, open, seal, zeroInstant } from '../../src/keys/index.ts';

const facts = { algorithm: 'AES256', createdAt: zeroInstant, createdBy: 'someone' } as const;
const bytes = Buffer.alloc(32, 'K');
const macBytes = Buffer.alloc(32, 'M');

t.test('a master key cannot be printed, serialised or cloned', (t) => {
  const key = new MasterKey(bytes, macBytes, facts);
  issueDataKey(key, Buffer.alloc(0)); // prepares derived state
  t.equal(JSON.stringify({ key }), '{"key":"[MasterKey]"}');
  t.equal(`${key}`, '[MasterKey]');
  t.equal(inspect(key, { showHidden: true, depth: 9 }), '[MasterKey]');
  for (const text of [
    serialize(key).toString('latin1'),
    inspect(structuredClone(key)),
    inspect({ ...key }),
  ]) {
    t.notMatch(text, /KKKK|MMMM|4b, 4b|75, 75/);
  }
  t.end();
});

t.test('a wiped key refuses every use', (t) => {
  const key = new MasterKey(bytes, macBytes, facts);
  const ciphertext = seal(key, bytes, Buffer.alloc(0));
  let lent: Buffer | undefined;
  key.lend((view) => (lent = view));
  t.ok(lent?.equals(bytes));
  key.wipe();
  key.wipe();
  t.ok(key.isWiped);
  t.ok(lent?.equals(Buffer.alloc(32)), 'its memory is zero');
  const refused = { code: 'SELLO_INTERNAL' };
  t.throws(() => issueDataKey(key, Buffer.alloc(0)), refused);
  t.throws(() => open(key, ciphertext, Buffer.alloc(0)), refused);
  t.throws(() => key.mac(Buffer.alloc(0)), refused);
  t.throws(() => key.id, refused);
  t.throws(() => key.lend(() => 0), refused);
  t.throws(() => key.equals(key), refused);
  t.end();
});

t.test('a key keeps no hold on the bytes it was made from', (t) => {
  const source = Buffer.from(bytes);
  const key = new MasterKey(source, undefined, facts);
  const ciphertext = seal(key, Buffer.from('x'), Buffer.alloc(0));
  source.fill(0);
  t.equal(open(key, ciphertext, Buffer.alloc(0)).toString(), 'x');
  t.end();
});

t.test('a key has 32 bytes, and so has its HMAC key', (t) => {
  const refused = { code: 'SELLO_KEY_MATERIAL_INVALID' };
  for (const length of [0, 16, 31, 33, 64]) {
    t.throws(() => new MasterKey(Buffer.alloc(length), undefined, facts), refused);
    t.throws(() => new MasterKey(bytes, Buffer.alloc(length), facts), refused);
    t.throws(() => MasterKey.import(Buffer.alloc(length), facts), refused);
  }
  t.end();
});

t.test('an imported key gets an HMAC key of its own each time', (t) => {
  const [one, two] = [MasterKey.import(bytes, facts), MasterKey.import(bytes, facts)];
  t.notSame(one.mac(bytes), two.mac(bytes));
  t.notOk(one.equals(two));
  t.ok(open(two, seal(one, bytes, macBytes), macBytes).equals(bytes));
  t.equal(one.id, two.id);
  t.end();
});

t.test('the id of the all-zero key is the one KES gives it', (t) => {
  t.equal(new MasterKey(Buffer.alloc(32), undefined, facts).id, '66687aadf862bd776c8fc18b8e9f8e20');
  t.end();
});
