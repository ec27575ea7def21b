/** Writes test/vectors/object-1/vectors.json. The same every time: keys and salts are hashes of their names. */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  ObjectSealer,
  sealEnvelope,
  sealManifest,
  type EnvelopeMode,
  type SegmentBytes,
} from '../src/formats/index.ts';

const file = join(resolve(import.meta.dirname, '..'), 'test/vectors/object-1/vectors.json');

const bytesOf = (name: string, length = 32): Buffer =>
  createHash('sha256').update(`sello vector: ${name}`).digest().subarray(0, length);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export function plaintextOf(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = (7 * i + 3) % 251;
  return bytes;
}

const longestShown = 400;

function stream(
  name: string,
  length: number,
  cipher: 'aes-256-gcm' | 'chacha20-poly1305',
  segmentBytes: SegmentBytes,
  part = 0,
  tenant = 'acme',
) {
  const [objectKey, objectId, salt] = [
    bytesOf('object key'),
    bytesOf('object id', 16),
    bytesOf(`salt of ${name}`),
  ];
  const sealer = new ObjectSealer(
    objectKey,
    { tenant, objectId, part },
    { aead: cipher, segmentBytes, salt },
  );
  const out: Buffer[] = [sealer.header];
  sealer.update(plaintextOf(length), out);
  sealer.final(out);
  const sealed = Buffer.concat(out);
  const facts = {
    name,
    objectKey: hex(objectKey),
    tenant,
    objectId: hex(objectId),
    part,
    cipher,
    segmentBytes,
    salt: hex(salt),
    length,
  };
  const shown =
    sealed.length <= longestShown
      ? { sealed: hex(sealed) }
      : {
          header: hex(sealed.subarray(0, 80)),
          lastTag: hex(sealed.subarray(-16)),
          sealedLength: sealed.length,
          sha256: createHash('sha256').update(sealed).digest('hex'),
        };
  return { vector: { ...facts, ...shown }, part: sealer.part };
}

function envelope(
  name: string,
  mode: EnvelopeMode,
  place: { tenant: string; bucket: string; object: string; versionId?: string },
  isBucketKey = false,
) {
  const [protectingKey, objectKey] = [bytesOf(`protecting key of ${name}`), bytesOf('object key')];
  const wraps = mode === 'sse-s3' || mode === 'sse-kms';
  const fields = {
    mode,
    isBucketKey,
    objectId: bytesOf('object id', 16),
    keyName: wraps ? 'my-key' : '',
    wrappedKey: wraps
      ? Buffer.concat([bytesOf('wrapped 1'), bytesOf('wrapped 2'), bytesOf('wrapped 3', 12)])
      : Buffer.alloc(0),
    context: mode === 'sse-kms' ? Buffer.from('{"team":"red"}') : Buffer.alloc(0),
  };
  const sealed = sealEnvelope(fields, protectingKey, place, objectKey, bytesOf(`salt of ${name}`));
  return {
    name,
    mode,
    protectingKey: hex(protectingKey),
    place,
    objectKey: hex(objectKey),
    envelope: hex(sealed),
  };
}

export function vectors(): unknown {
  const made = [
    stream('empty, AES-256-GCM', 0, 'aes-256-gcm', 131_072),
    stream('empty, ChaCha20-Poly1305', 0, 'chacha20-poly1305', 131_072),
    stream('short, AES-256-GCM', 100, 'aes-256-gcm', 131_072),
    stream('short, ChaCha20-Poly1305', 100, 'chacha20-poly1305', 65_536),
    stream('one byte less than a segment', 65_535, 'aes-256-gcm', 65_536),
    stream('a full segment and an empty one', 65_536, 'aes-256-gcm', 65_536),
    stream('one byte more than a segment', 65_537, 'chacha20-poly1305', 65_536),
    stream('257 full segments: the index takes two bytes', 257 * 65_536 + 5, 'aes-256-gcm', 65_536),
    stream('part 1', 200_000, 'aes-256-gcm', 131_072, 1),
    stream('part 10000', 33, 'chacha20-poly1305', 131_072, 10_000),
    stream('tenant with a name in UTF-8', 10, 'aes-256-gcm', 131_072, 0, 'ténant'),
  ];
  const place = { tenant: 'acme', bucket: 'photos', object: 'cats/1.jpg' };
  const envelopes = [
    envelope('SSE-S3', 'sse-s3', place),
    envelope('SSE-S3, bucket key', 'sse-s3', place, true),
    envelope('SSE-KMS', 'sse-kms', { ...place, object: 'a//b/../c' }),
    envelope('SSE-C, version bound', 'sse-c', { ...place, versionId: 'v1' }),
    envelope('own key', 'held', { ...place, object: 'Ünïcödé' }),
  ];
  const listed = [8, 9];
  const manifest = sealManifest(
    bytesOf('object key'),
    { tenant: 'acme', objectId: bytesOf('object id', 16) },
    listed.map((i) => made[i]!.part),
  );
  const flip = (of: string, index: number, at: number, failure: string, released = 0) => ({
    of,
    index,
    flip: at,
    failure,
    released,
  });
  return {
    format: 'sello object 1',
    streams: made.map(({ vector }) => vector),
    envelopes,
    manifests: [
      {
        objectKey: hex(bytesOf('object key')),
        tenant: 'acme',
        objectId: hex(bytesOf('object id', 16)),
        parts: listed,
        manifest: hex(manifest),
      },
    ],
    invalid: [
      flip('streams', 2, 0, 'format'),
      flip('streams', 2, 8, 'format'),
      flip('streams', 2, 9, 'format'),
      flip('streams', 2, 11, 'format'),
      flip('streams', 2, 15, 'authentic'),
      flip('streams', 2, 16, 'authentic'),
      flip('streams', 2, 79, 'authentic'),
      flip('streams', 2, 80, 'authentic'),
      flip('streams', 2, 195, 'authentic'),
      flip('streams', 5, 80 + 65_552, 'authentic', 65_536),
      { of: 'streams', index: 0, cut: 80, failure: 'authentic', released: 0 },
      { of: 'streams', index: 0, cut: 40, failure: 'authentic', released: 0 },
      { of: 'streams', index: 5, cut: 80 + 65_552, failure: 'authentic', released: 65_536 },
      { of: 'streams', index: 2, append: '00', failure: 'authentic', released: 0 },
      { of: 'streams', index: 5, append: '00'.repeat(16), failure: 'authentic', released: 65_536 },
      { of: 'streams', index: 8, as: { part: 2 }, failure: 'authentic', released: 0 },
      { of: 'streams', index: 2, as: { tenant: 'other' }, failure: 'authentic', released: 0 },
      flip('envelopes', 0, 3, 'format'),
      flip('envelopes', 0, 13, 'authentic'),
      flip('envelopes', 0, 20, 'authentic'),
      flip('envelopes', 0, 70, 'authentic'),
      flip('envelopes', 0, 100, 'authentic'),
      flip('envelopes', 0, 150, 'authentic'),
      { of: 'envelopes', index: 0, as: { bucket: 'photo', object: 'scats/1.jpg' }, failure: 'authentic' },
      { of: 'envelopes', index: 3, as: { versionId: 'v2' }, failure: 'authentic' },
      flip('manifests', 0, 30, 'format'),
      flip('manifests', 0, 60, 'authentic'),
      flip('manifests', 0, 120, 'authentic'),
      { of: 'manifests', index: 0, as: { tenant: 'other' }, failure: 'authentic' },
    ],
  };
}

export function vectorsText(): string {
  return `${JSON.stringify(vectors(), null, 1)}\n`;
}

if (import.meta.main) writeFileSync(file, vectorsText());
