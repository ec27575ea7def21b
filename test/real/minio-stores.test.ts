/** Objects of a MinIO server on four drives, over TLS: opened from its drives without it; and objects that we sealed, read by it. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { createClient } from '../../src/client/index.ts';
import {
  clientDataKeys,
  DareSealer,
  formatMinioMetadata,
  minioDataKeyContext,
  minioPlaintext,
  minioStreamKey,
  newMinioObjectKey,
  readMinioObject,
  sealMinioEtag,
  sealMinioObjectKey,
  type ByteSpan,
  type MinioEncryption,
  type MinioKeySource,
  type MinioMode,
} from '../../src/sse/index.ts';
import { parseXlMeta } from '../../src/sse/xl-meta.ts';
import { runCommand } from '../cli/pipes.ts';
import { createApiKey, createAuthority } from './certificates.ts';
import { Minio } from './minio.ts';
import { element, expect } from './s3.ts';
import { Sello } from './sello.ts';
import { needTools } from './tools.ts';
import { rewritten, xxHash64 } from './xl-meta-writer.ts';

const tool = await needTools(t, 'minio');
const bucket = 'bucket';
const keyName = 'minio-default';
const sseS3 = { 'x-amz-server-side-encryption': 'AES256' };
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** SSE-C: the headers of a customer's key. */
function customer(key: Buffer): Record<string, string> {
  return {
    'x-amz-server-side-encryption-customer-algorithm': 'AES256',
    'x-amz-server-side-encryption-customer-key': key.toString('base64'),
    'x-amz-server-side-encryption-customer-key-md5': createHash('md5').update(key).digest('base64'),
  };
}

if (tool !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-drives-'));
  const authority = await createAuthority(join(folder, 'certs'));
  const nodeKey = createApiKey();
  const sello = await Sello.start({
    folder: join(folder, 'sello'),
    authority,
    policies: {
      minio: {
        allow: ['/v1/key/create/*', '/v1/key/generate/*', '/v1/key/decrypt/*', '/v1/status'],
        identities: [nodeKey.identity],
      },
    },
  });
  const minio = await Minio.start({
    program: tool.minio,
    folder: join(folder, 'minio'),
    drives: 4,
    tls: authority,
    kms: {
      MINIO_KMS_KES_ENDPOINT: sello.endpoint,
      MINIO_KMS_KES_KEY_NAME: keyName,
      MINIO_KMS_KES_CAPATH: authority.ca,
      MINIO_KMS_KES_API_KEY: nodeKey.text,
    },
  });
  const client = createClient({
    endpoints: [sello.endpoint],
    apiKey: nodeKey.text,
    ca: await readFile(authority.ca),
  });
  t.teardown(async () => {
    client.close();
    await minio.close();
    await sello.stop();
    await rm(folder, { recursive: true, force: true });
  });
  const keys = clientDataKeys(client);
  const onDrives = (object: string, drives = [0, 1, 2, 3], of = bucket): string[] =>
    drives.map((i) => join(minio.drives[i]!, of, object));
  const opened = async (
    object: string,
    {
      drives,
      range,
      source = { keys },
      versionId,
    }: { drives?: number[]; range?: ByteSpan; source?: MinioKeySource; versionId?: string } = {},
  ): Promise<Buffer> => {
    const stored = await readMinioObject(onDrives(object, drives), versionId);
    const pieces: Buffer[] = [];
    for await (const piece of minioPlaintext(stored, { bucket, object }, source, range)) pieces.push(piece);
    return Buffer.concat(pieces);
  };
  expect(await minio.s3.createBucket(bucket), 200);
  const parts = [randomBytes(5 << 20), randomBytes((5 << 20) + 70_001), randomBytes(12_345)];
  const whole = Buffer.concat(parts);

  await t.test('objects spread over drives open from any half of them', async (t) => {
    const halves = [0, 1, 2, 3].flatMap((a) => [0, 1, 2, 3].filter((b) => b > a).map((b) => [a, b]));
    for (const size of [0, 1, 1000, 65_537, 1_048_577, 2_500_000]) {
      const body = randomBytes(size);
      const object = `spread/${String(size)}`;
      expect(await minio.s3.put(bucket, object, body, sseS3), 200);
      t.ok((await opened(object)).equals(body), `${object} from all`);
      for (const drives of halves)
        t.ok((await opened(object, { drives })).equals(body), `${object} from drives ${drives.join(', ')}`);
      if (size > 0) await t.rejects(opened(object, { drives: [2] }), { code: 'SELLO_OBJECT_FORMAT_UNKNOWN' });
    }
    expect(await minio.s3.multipart(bucket, 'spread/parts', parts, sseS3), 200);
    for (const drives of [
      [0, 1, 2, 3],
      [1, 3],
      [0, 2],
    ])
      t.equal(sha256(await opened('spread/parts', { drives })), sha256(whole), `from ${drives.join(', ')}`);
    await rm(join(minio.drives[0]!, bucket, 'spread/parts'), { recursive: true });
    t.equal(sha256(await opened('spread/parts')), sha256(whole), 'a drive that lost it does not matter');
    const clear = randomBytes(700_000);
    expect(await minio.s3.put(bucket, 'clear', clear), 200);
    t.ok((await opened('clear', { drives: [0, 3] })).equals(clear), 'what is not encrypted comes as it is');
    t.ok((await opened('clear', { range: { from: 9, to: 600_000 } })).equals(clear.subarray(9, 600_000)));
  });

  await t.test("ranges across parts are those of MinIO's answers", async (t) => {
    const edge = parts[0]!.length;
    const spans = [
      [0, 1],
      [edge - 1, edge + 1],
      [65_535, 65_537],
      [edge + 65_536, edge + 200_000],
      [1000, whole.length - 1000],
      [whole.length - 1, whole.length],
    ] as const;
    for (const [from, to] of spans) {
      const theirs = await minio.s3.get(bucket, 'spread/parts', { range: `bytes=${from}-${to - 1}` });
      t.equal(theirs.status, 206);
      const ours = await opened('spread/parts', { range: { from, to } });
      t.equal(sha256(ours), sha256(theirs.body), `${from} to ${to}`);
      t.equal(sha256(ours), sha256(whole.subarray(from, to)));
    }
    await t.rejects(opened('spread/parts', { range: { from: 0, to: whole.length + 1 } }), RangeError);
  });

  await t.test("objects under customers' keys open with those alone", async (t) => {
    const customerKey = randomBytes(32);
    const headers = customer(customerKey);
    for (const size of [0, 1, 65_536, 300_000]) {
      const body = randomBytes(size);
      expect(await minio.s3.put(bucket, `c/${size}`, body, headers), 200);
      t.ok((await opened(`c/${size}`, { source: { customerKey } })).equals(body), `${size} bytes`);
    }
    expect(await minio.s3.multipart(bucket, 'c/parts', parts, headers, headers), 200);
    t.equal(sha256(await opened('c/parts', { source: { customerKey } })), sha256(whole), 'in parts');
    for (const source of [{ customerKey: randomBytes(32) }, { keys }])
      await t.rejects(opened('c/300000', { source }), { code: 'SELLO_OBJECT_NOT_AUTHENTIC' });
  });

  await t.test('each version opens, and what is deleted is not there', async (t) => {
    const versioning =
      '<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>';
    const body = Buffer.from(versioning);
    expect(await minio.s3.put(bucket, 'doc', Buffer.from('before versions'), sseS3), 200);
    expect(await minio.s3.call('PUT', `/${bucket}`, { query: { versioning: '' }, body }), 200);
    const [small, large] = [Buffer.from('small'), randomBytes(400_000)];
    const ids: string[] = [];
    for (const each of [small, large])
      ids.push(expect(await minio.s3.put(bucket, 'doc', each, sseS3), 200).headers['x-amz-version-id']!);
    t.ok((await opened('doc')).equals(large), 'the newest');
    t.ok((await opened('doc', { versionId: ids[0]! })).equals(small), 'an older one');
    t.equal(String(await opened('doc', { versionId: 'null' })), 'before versions');
    t.match(
      await opened('doc', { versionId: '00000000-0000-4000-8000-000000000000' }).catch(
        (error: unknown) => error,
      ),
      { code: 'SELLO_OBJECT_FORMAT_UNKNOWN', detail: /no such version/ },
    );

    const gone = expect(await minio.s3.call('DELETE', `/${bucket}/doc`), 204);
    t.equal((await minio.s3.get(bucket, 'doc')).status, 404);
    await t.rejects(opened('doc'), { code: 'SELLO_OBJECT_FORMAT_UNKNOWN' }, 'not an older one in its place');
    await t.rejects(opened('doc', { versionId: gone.headers['x-amz-version-id']! }), {
      code: 'SELLO_OBJECT_FORMAT_UNKNOWN',
    });
    t.ok((await opened('doc', { versionId: ids[1]! })).equals(large), 'versions that are named still open');

    const run = (...argv: string[]) =>
      runCommand(['convert', '-k', '--bucket', bucket, '--object', 'doc', '-o', 'doc.sealed', ...argv], {
        env: { KES_SERVER: sello.endpoint, KES_API_KEY: nodeKey.text },
        cwd: folder,
      });
    t.match(await run(...onDrives('doc')), { exit: 1, stderr: /delete marker/ });
    t.match(await run('--version-id', ids[1]!, ...onDrives('doc', [1, 2])), { exit: 0, stderr: '' });
    const lost = [...onDrives('doc', [0, 3]), join(folder, 'nowhere')];
    t.match(
      await run('--force', '--version-id', 'null', ...lost),
      { exit: 0, stderr: '' },
      'a drive is gone',
    );
    t.match(await run(join(folder, 'nowhere')), { exit: 1, stderr: /nowhere/ });
    t.match(await run('--force', '--version-id', ids[1]!, ...onDrives('doc', [1])), {
      exit: 1,
      stderr: /2 of them are needed, got 1/,
    });
    t.match(await run('--key', keyName, ...onDrives('c/300000')), {
      exit: 1,
      stderr: /--customer-key-file is needed/,
    });
  });

  await t.test('MinIO reads what we seal', async (t) => {
    t.equal(xxHash64(Buffer.from('')), 0xef46db3751d8e999n);
    t.equal(xxHash64(Buffer.from('a')), 0xd24ec4f1a98c6e5bn);
    const sealed = (key: Buffer, aead: 'aes-256-gcm' | 'chacha20-poly1305', plain: Buffer): Buffer => {
      const sealer = new DareSealer(key, { aead });
      const out: Buffer[] = [];
      sealer.update(plain, out);
      sealer.final(out);
      return Buffer.concat(out);
    };
    const customerKey = randomBytes(32);
    const cases = (['SSE-S3', 'SSE-KMS', 'SSE-C'] as const).flatMap((mode) =>
      (['aes-256-gcm', 'chacha20-poly1305'] as const).flatMap((aead) =>
        [[randomBytes(100)], [randomBytes(333_333)], parts].map((pieces) => ({ mode, aead, pieces })),
      ),
    );
    for (const [i, { mode, aead, pieces }] of cases.entries()) {
      const object = `ours/${i}`;
      const place = { bucket, object };
      const context = mode === 'SSE-KMS' ? { department: '<finance> & co' } : {};
      const dataKey =
        mode === 'SSE-C' ? undefined : await keys.issue(keyName, minioDataKeyContext(place, context));
      const externalKey = dataKey?.plaintext ?? customerKey;
      const objectKey = newMinioObjectKey(externalKey);
      const encryption: MinioEncryption = {
        ...sealMinioObjectKey(mode satisfies MinioMode, objectKey, externalKey, place, aead),
        isMultipart: pieces.length > 1,
        // Stated, or left to MinIO to add up.
        plainBytes: pieces.length > 1 && aead === 'aes-256-gcm' ? whole.length : undefined,
        context,
        ...(dataKey === undefined ? {} : { keyName, wrappedKey: dataKey.ciphertext }),
      };
      const streams = pieces.map((piece, at) =>
        sealed(minioStreamKey(encryption, objectKey, at + 1), aead, piece),
      );
      // Stored as if it were plain: MinIO spreads and checksums the sealed bytes; then the metadata says what they are.
      const put =
        streams.length > 1
          ? minio.s3.multipart(bucket, object, streams)
          : minio.s3.put(bucket, object, streams[0]!);
      expect(await put, 200);
      const md5 = createHash('md5').update(Buffer.concat(pieces)).digest();
      const etag = sealMinioEtag(objectKey, md5, aead);
      for (const where of onDrives(object)) {
        const file = join(where, 'xl.meta');
        const changed = rewritten(await readFile(file), (stored) => {
          const [system, user] = [stored.get('MetaSys'), stored.get('MetaUsr')];
          if (!(system instanceof Map) || !(user instanceof Map)) throw new Error('no metadata');
          system.delete('X-Minio-Internal-actual-size'); // of the sealed bytes
          for (const [name, value] of Object.entries(formatMinioMetadata(encryption)))
            system.set(name, Buffer.from(value));
          if (pieces.length === 1) user.set('etag', etag);
          stored.set(
            'PartASizes',
            pieces.map((piece) => piece.length),
          );
        });
        t.equal(parseXlMeta(changed)[0]?.kind, 'object');
        await writeFile(file, changed);
      }
      const headers = mode === 'SSE-C' ? customer(customerKey) : {};
      const plain = Buffer.concat(pieces);
      const name = `${mode}, ${aead}, ${plain.length} bytes`;
      const got = await minio.s3.get(bucket, object, headers);
      t.equal(got.status, 200, name);
      t.equal(sha256(got.body), sha256(plain), `${name}: its plaintext`);
      const [from, to] = [Math.floor(plain.length / 3), Math.floor((2 * plain.length) / 3)];
      const range = await minio.s3.get(bucket, object, { ...headers, range: `bytes=${from}-${to - 1}` });
      t.equal(sha256(range.body), sha256(plain.subarray(from, to)), `${name}: a range`);
      if (mode === 'SSE-S3' && pieces.length === 1)
        t.equal(got.headers['etag'], `"${md5.toString('hex')}"`, `${name}: its ETag`);
      const source: MinioKeySource = mode === 'SSE-C' ? { customerKey } : { keys };
      t.equal(sha256(await opened(object, { source })), sha256(plain), `${name}: and so do we`);
      if (mode === 'SSE-C') continue;
      const copied = await minio.s3.copy(`/${bucket}/${object}`, bucket, `${object}-copy`, sseS3);
      expect(copied, 200);
      t.equal(sha256(await opened(`${object}-copy`)), sha256(plain), `${name}: MinIO's copy of it opens`);
    }
    const listed = await minio.s3.call('GET', `/${bucket}`, {
      query: { 'list-type': '2', prefix: 'ours/1' },
    });
    t.equal(element(listed.body.toString(), 'Size'), '333333', 'listings show the length of the plaintext');
  });
}
