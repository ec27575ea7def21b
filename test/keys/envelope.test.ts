/** The key envelope: published vectors, a second implementation, and what must not open. `--write` makes the vectors anew. */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import {
  innerContext,
  isEnvelope,
  openEnvelope,
  parseEnvelope,
  sealEnvelope,
} from '../../src/keys/envelope.ts';
import { aeadOpen } from '../../src/crypto/index.ts';
import { envelopeKeysOf } from '../../src/keys/material.ts';
import { twoKeySegment } from '../formats/two-key.ts';
import { secondEnvelope, type EnvelopeCase, type EnvelopeVector } from './second-envelope.ts';

const file = path.join(import.meta.dirname, '../vectors/key-envelope/vectors.json');

/** Test bytes that anybody can make again. */
const bytesOf = (label: string, length: number): string => {
  let out = Buffer.alloc(0);
  for (let i = 0; out.length < length; i++)
    out = Buffer.concat([
      out,
      createHash('sha256')
        .update(`${label} ${String(i)}`)
        .digest(),
    ]);
  return out.subarray(0, length).toString('hex');
};

function cases(): EnvelopeCase[] {
  const made: EnvelopeCase[] = [];
  for (const algorithm of ['AES256', 'ChaCha20'] as const)
    for (const face of ['kes', 'transit', 'objects'] as const)
      for (const kind of [0, 1, 2] as const)
        for (const [size, context] of [
          [32, ''],
          [0, '7b7d'],
          [1000, bytesOf('context', 300)],
        ] as const) {
          const label = [algorithm, face, kind, size].join(' ');
          made.push({
            algorithm,
            face,
            tenant: size === 0 ? 'a' : 'acme',
            version: size === 1000 ? 4_294_967_295 : kind + 1,
            key: bytesOf(`key ${label}`, 32),
            keyId: bytesOf(`id ${label}`, 16),
            salt: bytesOf(`salt ${label}`, 32),
            context,
            plaintext: bytesOf(`plaintext ${label}`, size),
            source: {
              kind,
              bytes:
                kind === 0
                  ? ''
                  : kind === 2
                    ? bytesOf(`intermediate ${label}`, 16)
                    : Buffer.from('vault:v1:dGVzdA==').toString('hex'),
            },
          });
        }
  return [...made, ...numbered()];
}

/** Format 2. */
function numbered(): EnvelopeCase[] {
  return (['AES256', 'ChaCha20'] as const).flatMap((algorithm) =>
    [0, 1, 4_294_967_295].map((number) => {
      const label = [algorithm, 'series', number].join(' ');
      return {
        algorithm,
        number,
        face: 'transit' as const,
        tenant: 'acme',
        version: 3,
        key: bytesOf(`key ${label}`, 32),
        keyId: bytesOf(`id ${label}`, 16),
        salt: bytesOf(`salt ${label}`, 32),
        context: bytesOf('context', 40),
        plaintext: bytesOf(`plaintext ${label}`, number === 0 ? 0 : 33),
        source: { kind: 0 as const, bytes: '' },
      };
    }),
  );
}

if (process.argv.includes('--write'))
  writeFileSync(
    file,
    `${JSON.stringify({ about: 'Test keys. docs/formats/key-envelope.md', vectors: cases().map(secondEnvelope) }, undefined, 1)}\n`,
  );

const { vectors } = JSON.parse(readFileSync(file, 'utf8')) as { vectors: EnvelopeVector[] };
const hex = (text: string): Buffer => Buffer.from(text, 'hex');

function openVector(
  vector: EnvelopeVector,
  change: {
    envelope?: Buffer;
    key?: Buffer;
    tenant?: string;
    context?: Buffer;
    face?: 'kes' | 'transit' | 'objects';
  } = {},
): Buffer | undefined {
  const parsed = parseEnvelope(change.envelope ?? hex(vector.envelope));
  if (parsed === undefined) return undefined;
  const context = innerContext(
    change.tenant ?? vector.tenant,
    parsed.keyId,
    change.face ?? parsed.face,
    change.context ?? hex(vector.context),
  );
  return openEnvelope(parsed, (seed) => envelopeKeysOf(change.key ?? hex(vector.key), seed), context);
}

t.test('every vector opens, and the second implementation makes the same bytes', async (t) => {
  t.equal(vectors.length, cases().length);
  for (const [i, vector] of vectors.entries()) {
    t.same(secondEnvelope(vector), vector, `vector ${String(i)}`);
    const parsed = parseEnvelope(hex(vector.envelope))!;
    t.match(parsed, { algorithm: vector.algorithm, face: vector.face, version: vector.version });
    const { commitment, messageKey } = envelopeKeysOf(hex(vector.key), parsed.seed);
    t.equal(messageKey.toString('hex'), vector.messageKey);
    t.equal(commitment.toString('hex'), vector.commitment);
    t.equal(
      innerContext(vector.tenant, hex(vector.keyId), vector.face, hex(vector.context)).toString('hex'),
      vector.innerContext,
    );
    t.equal(openVector(vector)?.toString('hex'), vector.plaintext);
  }
});

t.test('no byte can be changed, and nothing it is bound to', async (t) => {
  for (const vector of vectors.slice(0, 9)) {
    const whole = hex(vector.envelope);
    let opened = 0;
    for (let at = 0; at < whole.length; at++) {
      for (const bit of [1, 128]) {
        const changed = Buffer.from(whole);
        changed[at]! ^= bit;
        if (openVector(vector, { envelope: changed }) !== undefined) opened++;
      }
      if (openVector(vector, { envelope: whole.subarray(0, at) }) !== undefined) opened++;
    }
    t.equal(opened, 0, `${String(whole.length)} bytes`);
    t.equal(openVector(vector, { key: hex(bytesOf('other', 32)) }), undefined, 'another key');
    t.equal(openVector(vector, { tenant: `${vector.tenant}x` }), undefined, 'another tenant');
    t.equal(openVector(vector, { context: hex('00') }), undefined, 'another context');
    t.equal(
      openVector(vector, { face: vector.face === 'kes' ? 'objects' : 'kes' }),
      undefined,
      'another face',
    );
  }
});

const asPair = ({ messageKey }: { messageKey: Buffer }) => ({ key: messageKey, nonce: Buffer.alloc(12) });

t.test('a ciphertext that AES-GCM opens under two keys is refused by the commitment', async (t) => {
  const vector = vectors.find(({ algorithm, source }) => algorithm === 'AES256' && source.kind === 0)!;
  const parsed = parseEnvelope(hex(vector.envelope))!;
  const keys = [hex(vector.key), hex(bytesOf('second key', 32))] as const;
  const derived = keys.map((key) => envelopeKeysOf(key, parsed.seed));
  const associated = Buffer.concat([parsed.header, hex(vector.innerContext)]);
  const both = twoKeySegment(asPair(derived[0]!), asPair(derived[1]!), associated);
  for (const { messageKey } of derived)
    t.ok(aeadOpen('aes-256-gcm', messageKey, Buffer.alloc(12), associated, both), 'the AEAD alone takes it');
  const envelope = Buffer.concat([parsed.header, both]);
  const results = keys.map((key) => openVector(vector, { envelope, key }));
  t.ok(results[0] !== undefined, 'the key that the commitment is for');
  t.equal(results[1], undefined, 'and no other');
});

t.test('whatever is sealed opens as it was, for its own context alone', async () => {
  const bytes = fc.uint8Array({ maxLength: 300 });
  fc.assert(
    fc.property(
      bytes,
      bytes,
      bytes,
      fc.constantFrom('kes', 'transit', 'objects'),
      fc.constantFrom('AES256', 'ChaCha20'),
      (plaintext, context, other, face, algorithm) => {
        const key = hex(bytesOf('property', 32));
        const keyId = hex(bytesOf('id', 16));
        const facts = { keyId, version: 2, face, algorithm, source: { kind: 'version' } } as const;
        const derive = (seed: Buffer) => envelopeKeysOf(key, seed);
        const sealed = sealEnvelope(facts, derive, innerContext('t', keyId, face, context), plaintext);
        const parsed = parseEnvelope(sealed)!;
        if (
          !isEnvelope(sealed) ||
          !openEnvelope(parsed, derive, innerContext('t', keyId, face, context))!.equals(plaintext)
        )
          return false;
        return (
          Buffer.compare(context, other) === 0 ||
          openEnvelope(parsed, derive, innerContext('t', keyId, face, other)) === undefined
        );
      },
    ),
    { numRuns: 300 },
  );
});
