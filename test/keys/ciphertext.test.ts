import fc from 'fast-check';
import t from 'tap';
import { hasCode } from '../../src/errors.ts';
import {
  ciphertextOverheadBytes,
  instantFromDate,
  issueDataKey,
  mac,
  MasterKey,
  open,
  parseStoredKey,
  seal,
  type KeyAlgorithm,
} from '../../src/keys/index.ts';
import { ciphertexts, fromBase64, macs, type CiphertextVector } from './kes-vectors.ts';

const facts = (algorithm: KeyAlgorithm) => ({
  algorithm,
  createdAt: instantFromDate(new Date(0)),
  createdBy: '',
});
const algorithms: KeyAlgorithm[] = ['AES256', 'ChaCha20'];
const nothing = Buffer.alloc(0);
const keyOf = (vector: CiphertextVector) => parseStoredKey(Buffer.from(vector.stored_key));

function flipped(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[bit >> 3]! ^= 1 << (bit & 7);
  return copy;
}

function isRefused(key: MasterKey, ciphertext: Buffer, context: Buffer): boolean {
  try {
    open(key, ciphertext, context);
    return false;
  } catch (error) {
    return hasCode(error, 'SELLO_CIPHERTEXT_NOT_AUTHENTIC');
  }
}

t.test('opens every ciphertext that a KES version made', (t) => {
  for (const [i, vector] of ciphertexts().entries()) {
    const plaintext = open(keyOf(vector), fromBase64(vector.ciphertext_b64), fromBase64(vector.context_b64));
    t.ok(
      plaintext.equals(fromBase64(vector.plaintext_b64)),
      `${i} ${vector.producer} ${vector.format} ${vector.algorithm}`,
    );
  }
  t.ok(
    ciphertexts().some((vector) => !vector.head_decrypts),
    'among them those that the last KES refuses',
  );
  t.end();
});

t.test('refuses each of them with a flipped bit, cut short, lengthened, with another context or key', (t) => {
  const stranger = MasterKey.generate(facts('AES256'));
  for (const [i, vector] of ciphertexts().entries()) {
    const key = keyOf(vector);
    const ciphertext = fromBase64(vector.ciphertext_b64);
    const context = fromBase64(vector.context_b64);
    const bits = ciphertext.length * 8;
    const wrong = [0, 1, 9, bits >> 1, bits - 9, bits - 1, (i * 7919) % bits].filter(
      (bit) => !isRefused(key, flipped(ciphertext, bit), context),
    );
    t.same(wrong, [], `${i} flipped bits`);
    t.ok(isRefused(key, ciphertext.subarray(0, -1), context), `${i} last byte missing`);
    t.ok(isRefused(key, ciphertext.subarray(1), context), `${i} first byte missing`);
    t.ok(isRefused(key, Buffer.concat([ciphertext, Buffer.from('x')]), context), `${i} one byte more`);
    t.ok(isRefused(key, ciphertext, Buffer.concat([context, Buffer.from('x')])), `${i} another context`);
    t.ok(isRefused(stranger, ciphertext, context), `${i} another key`);
  }
  t.end();
});

t.test('refuses every single flipped bit of one ciphertext of each format and algorithm', (t) => {
  const shortest = new Map<string, CiphertextVector>();
  for (const vector of ciphertexts()) {
    const kind = `${vector.producer} ${vector.format} ${vector.algorithm}`;
    const known = shortest.get(kind);
    if (known === undefined || vector.ciphertext_b64.length < known.ciphertext_b64.length)
      shortest.set(kind, vector);
  }
  for (const [kind, vector] of shortest) {
    const key = keyOf(vector);
    const ciphertext = fromBase64(vector.ciphertext_b64);
    const context = fromBase64(vector.context_b64);
    const wrong = [];
    for (let bit = 0; bit < ciphertext.length * 8; bit++) {
      if (!isRefused(key, flipped(ciphertext, bit), context)) wrong.push(bit);
    }
    t.same(wrong, [], kind);
  }
  t.end();
});

t.test('reads no ciphertext shorter than tag, salt and nonce', (t) => {
  for (const algorithm of algorithms) {
    const key = MasterKey.generate(facts(algorithm));
    for (let length = 0; length <= ciphertextOverheadBytes; length++) {
      for (const first of [0x00, 0x7b, 0x95]) {
        const ciphertext = Buffer.alloc(length);
        if (length > 0) ciphertext[0] = first;
        t.ok(isRefused(key, ciphertext, nothing));
      }
    }
  }
  t.end();
});

t.test('opens a version 3 ciphertext that starts like an old format by chance', (t) => {
  for (const algorithm of algorithms) {
    const key = MasterKey.generate(facts(algorithm));
    const seen = new Set<number>();
    for (let i = 0; i < 20_000 && seen.size < 2; i++) {
      const { plaintext, ciphertext } = issueDataKey(key, nothing);
      const first = ciphertext[0]!;
      if (first !== 0x7b && first !== 0x95) continue;
      seen.add(first);
      t.ok(open(key, ciphertext, nothing).equals(plaintext));
    }
    t.equal(seen.size, 2);
  }
  t.end();
});

t.test('honours the algorithm an old ciphertext names, whatever the stored key says', (t) => {
  const vector = ciphertexts().find(({ format, algorithm }) => format === 'v1' && algorithm === 'ChaCha20')!;
  const key = keyOf(vector);
  t.equal(key.algorithm, 'AES256', 'the stored key names none, and AES256 is the default');
  const text = fromBase64(vector.ciphertext_b64).toString();
  t.ok(open(key, Buffer.from(text), fromBase64(vector.context_b64)));
  const swapped = text.replace('ChaCha20Poly1305', 'AES-256-GCM-HMAC-SHA-256');
  t.ok(isRefused(key, Buffer.from(swapped), fromBase64(vector.context_b64)));
  t.ok(
    open(key, Buffer.from(`${text} `), fromBase64(vector.context_b64)),
    'white space after the JSON, as KES',
  );
  t.end();
});

t.test('refuses an old ciphertext whose key id is another key’s', (t) => {
  for (const format of ['v1', 'v2']) {
    const vector = ciphertexts().find((v) => v.format === format && /v0\.17|v0\.22/.test(v.producer))!;
    const key = keyOf(vector);
    const ciphertext = fromBase64(vector.ciphertext_b64);
    const at = ciphertext.indexOf(key.id, 0, 'latin1');
    t.ok(at > 0, 'the id inside is the one we compute');
    ciphertext.write('0'.repeat(32), at, 'latin1');
    t.ok(isRefused(key, ciphertext, fromBase64(vector.context_b64)));
  }
  t.end();
});

t.test('what is sealed opens under the same key and context, and has the length of version 3', (t) => {
  const keys = algorithms.map((algorithm) => MasterKey.generate(facts(algorithm)));
  fc.assert(
    fc.property(
      fc.constantFrom(...keys),
      fc.uint8Array({ maxLength: 5000 }),
      fc.uint8Array({ maxLength: 300 }),
      (key, plaintext, context) => {
        const ciphertext = seal(key, plaintext, context);
        return (
          ciphertext.length === plaintext.length + ciphertextOverheadBytes &&
          open(key, ciphertext, context).equals(plaintext) &&
          isRefused(key, ciphertext, Buffer.concat([context, Buffer.from([0])]))
        );
      },
    ),
    { numRuns: 300 },
  );
  t.end();
});

t.test('no byte string makes open fail in any way but one', (t) => {
  const key = MasterKey.generate(facts('AES256'));
  fc.assert(
    fc.property(fc.constantFrom('', '{', '\x95'), fc.uint8Array({ maxLength: 200 }), (start, rest) =>
      isRefused(key, Buffer.concat([Buffer.from(start, 'latin1'), rest]), nothing),
    ),
    { numRuns: 2000 },
  );
  t.end();
});

t.test('a data key is 32 bytes in a ciphertext of 76, and never the same twice', (t) => {
  for (const algorithm of algorithms) {
    const key = MasterKey.generate(facts(algorithm));
    const context = Buffer.from('{"bucket":"bucket/object"}');
    const plaintexts = new Set<string>();
    const randoms = new Set<string>();
    const count = 3000; // crosses many slabs of random bytes
    for (let i = 0; i < count; i++) {
      const { plaintext, ciphertext } = issueDataKey(key, context);
      if (plaintext.length !== 32 || ciphertext.length !== 76) t.fail('wrong length');
      if (i % 50 === 0) t.ok(open(key, ciphertext, context).equals(plaintext));
      plaintexts.add(plaintext.toString('hex'));
      randoms.add(ciphertext.toString('hex', 48));
    }
    t.equal(plaintexts.size, count);
    t.equal(randoms.size, count);
  }
  t.end();
});

t.test('a data key wiped by its holder does not change the one issued before or after', (t) => {
  const key = MasterKey.generate(facts('AES256'));
  const first = issueDataKey(key, nothing);
  const second = issueDataKey(key, nothing);
  const third = issueDataKey(key, nothing);
  second.plaintext.fill(0);
  t.ok(open(key, first.ciphertext, nothing).equals(first.plaintext));
  t.ok(open(key, third.ciphertext, nothing).equals(third.plaintext));
  t.notOk(open(key, second.ciphertext, nothing).equals(second.plaintext));
  t.end();
});

t.test('computes the HMACs that KES computed', (t) => {
  for (const [i, vector] of macs().entries()) {
    const key = parseStoredKey(Buffer.from(vector.stored_key));
    t.equal(mac(key, fromBase64(vector.message_b64)).toString('base64'), vector.hmac_b64, `hmac ${i}`);
  }
  t.end();
});

t.test('a key without HMAC key has no HMAC', (t) => {
  const key = parseStoredKey(Buffer.from(`{"bytes":"${Buffer.alloc(32, 7).toString('base64')}"}`));
  t.throws(() => mac(key, nothing), { code: 'SELLO_KEY_WITHOUT_MAC' });
  t.end();
});
