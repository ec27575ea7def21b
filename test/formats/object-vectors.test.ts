/** The published vectors, opened by our code and by a second implementation. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import t from 'tap';
import { hasCode } from '../../src/errors.ts';
import {
  ObjectOpener,
  openEnvelope,
  openManifest,
  PartsOpener,
  type ObjectBinding,
} from '../../src/formats/index.ts';
import { plaintextOf, vectorsText } from '../../tools/object-vectors.ts';
import { deriveEnvelope, openEnvelope as openAgain, sealObject } from './second-object.ts';

interface StreamVector {
  readonly name: string;
  readonly objectKey: string;
  readonly tenant: string;
  readonly objectId: string;
  readonly part: number;
  readonly cipher: 'aes-256-gcm' | 'chacha20-poly1305';
  readonly segmentBytes: number;
  readonly salt: string;
  readonly length: number;
  readonly sealed?: string;
  readonly header?: string;
  readonly lastTag?: string;
  readonly sealedLength?: number;
  readonly sha256?: string;
}

interface Invalid {
  readonly of: 'streams' | 'envelopes' | 'manifests';
  readonly index: number;
  readonly flip?: number;
  readonly cut?: number;
  readonly append?: string;
  readonly as?: Record<string, unknown>;
  readonly failure: 'format' | 'authentic';
  readonly released?: number;
}

const text = readFileSync(new URL('../vectors/object-1/vectors.json', import.meta.url), 'utf8');
const vectors = JSON.parse(text) as {
  streams: StreamVector[];
  envelopes: {
    name: string;
    protectingKey: string;
    place: ObjectBinding & { versionId?: string };
    objectKey: string;
    envelope: string;
  }[];
  manifests: { objectKey: string; tenant: string; objectId: string; parts: number[]; manifest: string }[];
  invalid: Invalid[];
};
const bytes = (hex: string): Buffer => Buffer.from(hex, 'hex');

/** As the second implementation seals it. */
function sealedOf(vector: StreamVector): Buffer {
  const { objectKey, objectId, salt, cipher, length } = vector;
  const facts = { ...vector, aead: cipher, objectId: bytes(objectId), salt: bytes(salt) };
  return sealObject(bytes(objectKey), facts, plaintextOf(length));
}

function openStream(vector: StreamVector, sealed: Buffer): Buffer[] {
  const out: Buffer[] = [];
  const opener = new ObjectOpener(bytes(vector.objectKey), { ...vector, objectId: bytes(vector.objectId) });
  try {
    opener.update(sealed, out);
    opener.final(out);
  } catch (error) {
    throw Object.assign(error as Error, { released: Buffer.concat(out).length });
  }
  return out;
}

t.test('the committed vectors are what node tools/object-vectors.ts makes', async (t) => {
  t.equal(text, vectorsText());
});

t.test('streams', async (t) => {
  for (const vector of vectors.streams) {
    const sealed = sealedOf(vector);
    if (vector.sealed !== undefined) t.equal(sealed.toString('hex'), vector.sealed, vector.name);
    else {
      t.equal(sealed.subarray(0, 80).toString('hex'), vector.header, vector.name);
      t.equal(sealed.subarray(-16).toString('hex'), vector.lastTag);
      t.equal(sealed.length, vector.sealedLength);
      t.equal(createHash('sha256').update(sealed).digest('hex'), vector.sha256);
    }
    t.ok(
      Buffer.concat(openStream(vector, sealed)).equals(plaintextOf(vector.length)),
      `${vector.name} opens`,
    );
  }
});

t.test('envelopes', async (t) => {
  for (const { name, protectingKey, place, objectKey, envelope } of vectors.envelopes) {
    t.equal(openEnvelope(bytes(envelope), bytes(protectingKey), place).toString('hex'), objectKey, name);
    t.equal(
      openAgain(bytes(envelope), bytes(protectingKey), place).toString('hex'),
      objectKey,
      `${name}, second`,
    );
    const salt = bytes(envelope).subarray(32, 64);
    t.ok(deriveEnvelope(bytes(protectingKey), salt, bytes(envelope)[12]!, place).commitment.length === 32);
  }
});

t.test('manifests', async (t) => {
  for (const { objectKey, tenant, objectId, parts, manifest } of vectors.manifests) {
    const opened = openManifest(bytes(objectKey), { tenant, objectId: bytes(objectId) }, bytes(manifest));
    t.same(
      opened.parts.map(({ part, length }) => [part, length]),
      parts.map((i) => [vectors.streams[i]!.part, vectors.streams[i]!.length]),
    );
    const out: Buffer[] = [];
    const opener = new PartsOpener(bytes(objectKey), tenant, opened);
    for (const i of parts) opener.update(sealedOf(vectors.streams[i]!), out);
    opener.final(out);
    t.ok(Buffer.concat(out).equals(Buffer.concat(parts.map((i) => plaintextOf(vectors.streams[i]!.length)))));
  }
});

t.test('what must not open does not, for the reason given', async (t) => {
  const codes = { format: 'SELLO_OBJECT_FORMAT_UNKNOWN', authentic: 'SELLO_OBJECT_NOT_AUTHENTIC' } as const;
  for (const invalid of vectors.invalid) {
    const what = JSON.stringify(invalid);
    let changed = sourceOf(invalid);
    if (invalid.flip !== undefined)
      changed[invalid.flip]! ^= 1 << (invalid.flip === 8 || invalid.flip === 9 ? 7 : 0);
    if (invalid.cut !== undefined) changed = changed.subarray(0, invalid.cut);
    if (invalid.append !== undefined) changed = Buffer.concat([changed, bytes(invalid.append)]);
    try {
      openInvalid(invalid, changed);
      t.fail(what);
    } catch (error) {
      t.ok(hasCode(error, codes[invalid.failure]), `${what}: ${String(error)}`);
      if (invalid.of === 'streams')
        t.equal((error as { released?: number }).released, invalid.released, what);
    }
  }
});

function sourceOf({ of, index }: Invalid): Buffer {
  if (of === 'streams') return sealedOf(vectors.streams[index]!);
  return of === 'envelopes'
    ? bytes(vectors.envelopes[index]!.envelope)
    : bytes(vectors.manifests[index]!.manifest);
}

function openInvalid({ of, index, as }: Invalid, changed: Buffer): void {
  if (of === 'streams') openStream({ ...vectors.streams[index]!, ...as }, changed);
  else if (of === 'envelopes') {
    const { protectingKey, place } = vectors.envelopes[index]!;
    openEnvelope(changed, bytes(protectingKey), { ...place, ...as });
  } else {
    const { objectKey, tenant, objectId } = vectors.manifests[index]!;
    openManifest(bytes(objectKey), { tenant, objectId: bytes(objectId), ...as }, changed);
  }
}
