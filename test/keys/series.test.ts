/** Messages that are sealed and opened together: the same bytes as a second implementation's, and nothing opens in another's place. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { innerContext, openEnvelope, parseEnvelope, type EnvelopeFacts } from '../../src/keys/envelope.ts';
import { envelopeKeysOf } from '../../src/keys/material.ts';
import { MessageSeries } from '../../src/keys/index.ts';
import { secondEnvelope } from './second-envelope.ts';

const key = randomBytes(32);
const derive = (seed: Buffer) => envelopeKeysOf(key, seed);
const keyId = randomBytes(16);

function factsOf(algorithm: EnvelopeFacts['algorithm'], version = 1): EnvelopeFacts {
  return { keyId, version, face: 'transit', algorithm, source: { kind: 'version' } };
}

const contextOf = (text: string): Buffer => innerContext('acme', keyId, 'transit', Buffer.from(text));

/** Seals texts together. */
function sealed(algorithm: EnvelopeFacts['algorithm'], texts: readonly string[], context = 'c'): Buffer[] {
  const series = new MessageSeries(texts.length);
  const facts = factsOf(algorithm);
  const envelopes = texts.map((text) => series.seal(facts, derive, contextOf(context), Buffer.from(text)));
  series.end();
  return envelopes;
}

function opened(envelope: Buffer, context = 'c'): string | undefined {
  const parsed = parseEnvelope(envelope);
  return parsed === undefined ? undefined : openEnvelope(parsed, derive, contextOf(context))?.toString();
}

const texts = ['', 'a', 'a block of 16 B!', 'x'.repeat(1024), 'x'.repeat(1025), 'x'.repeat(5000), 'last'];

for (const algorithm of ['AES256', 'ChaCha20'] as const) {
  t.test(`${algorithm}: a second implementation seals the same bytes`, async (t) => {
    for (const [number, envelope] of sealed(algorithm, texts).entries()) {
      const second = secondEnvelope({
        algorithm,
        number,
        face: 'transit',
        tenant: 'acme',
        version: 1,
        key: key.toString('hex'),
        keyId: keyId.toString('hex'),
        salt: envelope.toString('hex', 32, 64),
        context: Buffer.from('c').toString('hex'),
        plaintext: Buffer.from(texts[number]!).toString('hex'),
        source: { kind: 0, bytes: '' },
      });
      t.equal(envelope.toString('hex'), second.envelope, `message ${number}`);
    }
  });

  t.test(`${algorithm}: opens alone, together, and in any order`, async (t) => {
    const envelopes = sealed(algorithm, texts);
    t.same(
      envelopes.map((envelope) => opened(envelope)),
      texts,
    );
    const others = sealed(algorithm, ['of another series']);
    const mixed = [...envelopes.toReversed(), ...others, ...envelopes];
    const series = new MessageSeries(mixed.length);
    t.same(
      mixed.map((envelope) => series.open(parseEnvelope(envelope)!, derive, contextOf('c'))?.toString()),
      [...texts.toReversed(), 'of another series', ...texts],
    );
    series.end();
  });

  t.test(`${algorithm}: no byte can be changed, alone or in a series`, async (t) => {
    const [first, second] = sealed(algorithm, ['first text', 'second text']) as [Buffer, Buffer];
    let refused = 0;
    const series = new MessageSeries(2 * first.length);
    for (let at = 0; at < first.length; at++) {
      const changed = Buffer.from(first);
      changed[at]! ^= 1;
      const parsed = parseEnvelope(changed);
      const together = parsed === undefined ? undefined : series.open(parsed, derive, contextOf('c'));
      if (opened(changed) === undefined && together === undefined) refused++;
      // The untouched neighbour still opens after each attempt.
      if (series.open(parseEnvelope(second)!, derive, contextOf('c'))?.toString() !== 'second text')
        t.fail(`after byte ${at}`);
    }
    series.end();
    t.equal(refused, first.length);
  });

  t.test(`${algorithm}: parts of two messages make none`, async (t) => {
    const [a, b] = sealed(algorithm, ['same length', 'same-length']) as [Buffer, Buffer];
    const [other] = sealed(algorithm, ['same.length']) as [Buffer];
    const numberAt = 96;
    const swapped = Buffer.from(a);
    b.copy(swapped, numberAt, numberAt, numberAt + 4);
    t.equal(opened(swapped), undefined, 'the number of another');
    t.equal(
      opened(Buffer.concat([other.subarray(0, numberAt), a.subarray(numberAt)])),
      undefined,
      'the salt of another series',
    );
    t.equal(
      opened(Buffer.concat([a.subarray(0, 64), other.subarray(64, 96), a.subarray(96)])),
      undefined,
      'its commitment',
    );
    const alone = Buffer.concat([a.subarray(0, numberAt), a.subarray(numberAt + 4)]);
    alone[8] = 1;
    t.equal(opened(alone), undefined, 'format 1 without a number');
    t.equal(opened(a, 'd'), undefined, 'another context');
    t.equal(opened(a.subarray(0, 96 + 4 + 15)), undefined, 'cut short');
  });
}

t.test('another version, key id or algorithm begins another series, with a salt of its own', async (t) => {
  const series = new MessageSeries(4);
  const saltOf = (facts: EnvelopeFacts): string =>
    series.seal(facts, derive, contextOf('c'), Buffer.from('x')).toString('hex', 32, 64);
  const facts = factsOf('AES256');
  const salts = [saltOf(facts), saltOf(facts), saltOf(factsOf('AES256', 2)), saltOf(factsOf('ChaCha20', 2))];
  t.equal(salts[0], salts[1]);
  t.equal(new Set(salts).size, 3);
  series.end();
  t.not(saltOf(facts), salts[0], 'nothing goes on after the end');
  series.end();
});

t.test('the hash of a context is kept for the very same values alone', async (t) => {
  const series = new MessageSeries(1);
  const [one, two] = [Buffer.from('one'), Buffer.from('two')];
  for (const context of [one, one, two, one]) {
    for (const face of ['transit', 'kes'] as const) {
      for (const tenant of ['a', 'b'])
        t.same(series.innerContext(tenant, keyId, face, context), innerContext(tenant, keyId, face, context));
    }
  }
  const other = randomBytes(16);
  t.same(series.innerContext('a', other, 'transit', one), innerContext('a', other, 'transit', one));
});
