/** Objects that a MinIO server stored with Sello as its key server, opened from its drive without it. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { createClient } from '../../src/client/index.ts';
import { clientDataKeys } from '../../src/sse/index.ts';
import { minioPlaintext, readMinioObject, type MinioKeySource } from '../../src/sse/minio-drive.ts';
import { createApiKey, createAuthority } from './certificates.ts';
import { Minio } from './minio.ts';
import { expect } from './s3.ts';
import { Sello } from './sello.ts';
import { runCommand } from '../cli/pipes.ts';
import { needTools } from './tools.ts';

const tool = await needTools(t, 'minio');
const bucket = 'bucket';
const kms = { 'x-amz-server-side-encryption': 'aws:kms' };
const sseS3 = { 'x-amz-server-side-encryption': 'AES256' };
const context = {
  'x-amz-server-side-encryption-context': Buffer.from('{"department":"<finance>"}').toString('base64'),
};

if (tool !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-drive-'));
  const authority = await createAuthority(join(folder, 'certs'));
  const nodeKey = createApiKey();
  const sello = await Sello.start({
    folder: join(folder, 'sello'),
    authority,
    policies: {
      minio: {
        allow: [
          '/v1/key/create/*',
          '/v1/key/generate/*',
          '/v1/key/decrypt/*',
          '/v1/key/list/*',
          '/v1/status',
        ],
        identities: [nodeKey.identity],
      },
    },
  });
  const minio = await Minio.start({
    program: tool.minio,
    folder: join(folder, 'minio'),
    kms: {
      MINIO_KMS_KES_ENDPOINT: sello.endpoint,
      MINIO_KMS_KES_KEY_NAME: 'minio-default',
      MINIO_KMS_KES_CAPATH: authority.ca,
      MINIO_KMS_KES_API_KEY: nodeKey.text,
      MINIO_KMS_AUTO_ENCRYPTION: 'on',
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
  const source: MinioKeySource = { keys: clientDataKeys(client) };
  const opened = async (
    object: string,
    at = object,
    from: MinioKeySource | 'none' = source,
  ): Promise<Buffer> => {
    const where = join(folder, 'minio/data', bucket, object);
    const stored = await readMinioObject([where]);
    const pieces: Buffer[] = [];
    for await (const piece of minioPlaintext(
      stored,
      { bucket, object: at },
      from === 'none' ? undefined : from,
    ))
      pieces.push(piece);
    return Buffer.concat(pieces);
  };
  expect(await minio.s3.createBucket(bucket), 200);

  await t.test('objects of every size and mode open from the drive', async (t) => {
    for (const [mode, headers] of [
      ['auto', {}],
      ['s3', sseS3],
      ['kms-context', { ...kms, ...context }],
    ] as const) {
      for (const size of [0, 1, 65_536, 100_001, 1_048_576, 3_000_000]) {
        const body = randomBytes(size);
        const object = `${mode}/${String(size)}`;
        expect(await minio.s3.put(bucket, object, body, headers), 200);
        t.ok((await opened(object)).equals(body), object);
      }
      const parts = [randomBytes(5 << 20), randomBytes(5 << 20), randomBytes(70_001)];
      expect(await minio.s3.multipart(bucket, `${mode}/parts`, parts, headers), 200);
      const hash = createHash('sha256')
        .update(await opened(`${mode}/parts`))
        .digest('hex');
      t.equal(hash, createHash('sha256').update(Buffer.concat(parts)).digest('hex'), `${mode}/parts`);
    }
  });

  await t.test('a copy opens at its own place only', async (t) => {
    expect(await minio.s3.copy(`/${bucket}/s3/100001`, bucket, 'copied', sseS3), 200);
    t.ok((await opened('copied')).equals(await opened('s3/100001')));
    await t.rejects(opened('copied', 's3/100001'), 'not under another name');
    await t.rejects(opened('copied', 'copied', { customerKey: randomBytes(32) }), {
      code: 'SELLO_OBJECT_NOT_AUTHENTIC',
    });
    await t.rejects(opened('copied', 'copied', 'none'), { code: 'SELLO_OBJECT_NOT_AUTHENTIC' });
  });

  await t.test('sello convert seals them anew, each under the master key it had', async (t) => {
    const env = { KES_SERVER: sello.endpoint, KES_API_KEY: nodeKey.text, MINIO_KMS_KES_CAPATH: authority.ca };
    const run = (...argv: string[]) => runCommand(argv, { env, cwd: folder });
    const at = (object: string): string => join(folder, 'minio/data', bucket, object);
    for (const object of ['auto/100001', 's3/0', 'kms-context/parts']) {
      const named = ['-k', '--bucket', bucket, '--object', object];
      t.match(
        await run('convert', ...named, '-o', 'out.sealed', '--force', at(object)),
        { exit: 0, stderr: '' },
        object,
      );
      t.match((await run('inspect', 'out.sealed')).stdout, /Master key +minio-default\n/);
      t.match(await run('open', ...named, '-o', 'out', '--force', 'out.sealed'), { exit: 0, stderr: '' });
      t.ok((await readFile(join(folder, 'out'))).equals(await opened(object)), `${object} comes back`);
    }
    const wrong = await run(
      'convert',
      '-k',
      '--bucket',
      bucket,
      '--object',
      'auto/1',
      '-o',
      'no.sealed',
      at('auto/100001'),
    );
    t.equal(wrong.exit, 1);
    t.match(wrong.stderr, /^Error: /);
    t.match(await run('convert', '-k', '--bucket', bucket, '--object', 'x', folder), {
      exit: 1,
      stderr: /has no xl.meta/,
    });
    t.match(await run('convert', folder), { exit: 1, stderr: /--bucket and --object are needed/ });
  });
}
