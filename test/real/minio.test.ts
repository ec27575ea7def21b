/**
 * A MinIO server with Sello in the place of KES: what users of the storage node see, and that nothing that was
 * acknowledged is lost or unreadable whatever happens to either server. One story; each test builds on the last.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { createApiKey, createAuthority } from './certificates.ts';
import { KmsGo } from './kmsgo.ts';
import { Minio } from './minio.ts';
import { expect, type S3 } from './s3.ts';
import { Sello } from './sello.ts';
import { needTools } from './tools.ts';

const bucket = 'bucket';
const defaultKey = 'minio-default';
const kms = { 'x-amz-server-side-encryption': 'aws:kms' };
const sseS3 = { 'x-amz-server-side-encryption': 'AES256' };
const keyIdHeader = 'x-amz-server-side-encryption-aws-kms-key-id';
const kmsContext = {
  'x-amz-server-side-encryption-context': Buffer.from('{"department":"finance"}').toString('base64'),
};
/** The smallest part S3 allows for all but the last. */
const partBytes = 5 * 1024 * 1024;

const tool = await needTools(t, 'minio', 'kmsgo');
if (tool !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-minio-'));
  const authority = await createAuthority(join(folder, 'certs'));
  const nodeKey = createApiKey();
  const nodeCertificate = await authority.issue('minio', 'client');
  // The routes MinIO needs, as KES's own documents name them.
  const minioPolicy = {
    allow: ['/v1/key/create/*', '/v1/key/generate/*', '/v1/key/decrypt/*', '/v1/key/list/*', '/v1/status'],
    identities: [nodeKey.identity, nodeCertificate.identity],
  };
  const sello = await Sello.start({
    folder: join(folder, 'sello'),
    authority,
    policies: { minio: minioPolicy },
  });
  const common = {
    MINIO_KMS_KES_ENDPOINT: sello.endpoint,
    MINIO_KMS_KES_KEY_NAME: defaultKey,
    MINIO_KMS_KES_CAPATH: authority.ca,
    MINIO_KMS_AUTO_ENCRYPTION: 'on',
  };
  const minioFolder = join(folder, 'minio');
  let minio = await Minio.start({
    program: tool.minio,
    folder: minioFolder,
    kms: { ...common, MINIO_KMS_KES_API_KEY: nodeKey.text },
  });
  const admin = new KmsGo({
    program: tool.kmsgo,
    endpoint: sello.endpoint,
    ca: authority.ca,
    credential: { apiKey: sello.admin.text },
  });
  t.teardown(async () => {
    await admin.close();
    await minio.close();
    await sello.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /** Every object whose PUT was acknowledged, with the hash of its content. */
  const acknowledged = new Map<string, string>();
  const put = async (key: string, body: Buffer, headers: Record<string, string> = {}): Promise<void> => {
    expect(await minio.s3.put(bucket, key, body, headers), 200);
    acknowledged.set(key, sha256(body));
  };

  await t.test('makes its default key on the first start', async (t) => {
    t.match(await admin.ok('describe', { name: defaultKey }), { createdBy: nodeKey.identity });
    expect(await minio.s3.createBucket(bucket), 200);
  });

  await t.test('encrypts every object by itself', async (t) => {
    const marker = 'this text must not be found on any disk ';
    for (const size of [0, 1, 65_535, 65_536, 65_537, 1_000_003]) {
      const body = Buffer.alloc(size, marker);
      const answer = expect(await minio.s3.put(bucket, `auto/${String(size)}`, body), 200);
      t.equal(answer.headers['x-amz-server-side-encryption'], 'aws:kms', `${String(size)} bytes`);
      acknowledged.set(`auto/${String(size)}`, sha256(body));
    }
    await readAllBack(t, minio.s3, acknowledged);
    t.notOk(
      await isInAnyFile(join(minioFolder, 'data'), Buffer.from(marker)),
      'no plaintext in the data folder',
    );
  });

  await t.test('seals with SSE-S3, with a key of the caller, and with a context', async (t) => {
    await admin.ok('create', { name: 'finance' });
    const body = randomBytes(100_000);
    await put('sse/s3', body, sseS3);
    await put('sse/kms', body, { ...kms, [keyIdHeader]: 'finance' });
    await put('sse/kms-context', body, { ...kms, [keyIdHeader]: 'finance', ...kmsContext });
    t.equal((await minio.s3.head(bucket, 'sse/s3')).headers['x-amz-server-side-encryption'], 'AES256');
    t.match((await minio.s3.head(bucket, 'sse/kms')).headers[keyIdHeader], /finance$/);
    await readAllBack(t, minio.s3, acknowledged);
  });

  await t.test('serves ranges, across the edges of segments and parts', async (t) => {
    const parts = [randomBytes(partBytes), randomBytes(partBytes), randomBytes(123_457)];
    const whole = Buffer.concat(parts);
    for (const [key, headers] of [
      ['parts/auto', {}],
      ['parts/s3', sseS3],
      ['parts/kms', { ...kms, [keyIdHeader]: 'finance', ...kmsContext }],
    ] as const) {
      expect(await minio.s3.multipart(bucket, key, parts, headers), 200);
      acknowledged.set(key, sha256(whole));
      for (const [from, to] of [
        [0, 0],
        [65_535, 65_536],
        [partBytes - 10, partBytes + 10],
        [whole.length - 5, whole.length - 1],
      ] as const) {
        const range = expect(
          await minio.s3.get(bucket, key, { range: `bytes=${String(from)}-${String(to)}` }),
          206,
        );
        t.ok(range.body.equals(whole.subarray(from, to + 1)), `${key} ${String(from)}-${String(to)}`);
      }
    }
  });

  await t.test('copies from each way of sealing to each other', async (t) => {
    for (const from of ['sse/s3', 'sse/kms', 'sse/kms-context', 'parts/kms']) {
      for (const [to, headers] of [
        ['s3', sseS3],
        ['kms', { ...kms, [keyIdHeader]: 'finance', ...kmsContext }],
      ] as const) {
        const key = `copies/${from.replace('/', '-')}-${to}`;
        expect(await minio.s3.copy(`/${bucket}/${from}`, bucket, key, headers), 200);
        acknowledged.set(key, acknowledged.get(from)!);
      }
    }
    await readAllBack(t, minio.s3, acknowledged);
  });

  await t.test('a copy that lost its KMS context does not open', async (t) => {
    // MinIO answers 200 to this copy and leaves an object whose data key is bound to the context of the original.
    const key = 'lost-context';
    expect(
      await minio.s3.copy(`/${bucket}/sse/kms-context`, bucket, key, { ...kms, [keyIdHeader]: 'finance' }),
      200,
    );
    const answer = await minio.s3.get(bucket, key);
    t.not(answer.status, 200, 'the key server refuses to unwrap it');
    const original = expect(await minio.s3.get(bucket, 'sse/kms-context'), 200);
    t.equal(sha256(original.body), acknowledged.get('sse/kms-context'), 'the original still opens');
    expect(await minio.s3.call('DELETE', `/${bucket}/${key}`), 204);
  });

  await t.test('an unknown key fails that request and no other', async (t) => {
    const headers = { ...kms, [keyIdHeader]: 'no-such-key' };
    for (let i = 0; i < 5; i++) {
      const answer = await minio.s3.put(bucket, 'unknown-key', Buffer.from('x'), headers);
      t.match(answer, { status: 404, code: 'kms:KeyNotFound' });
      await put(`after-unknown/${String(i)}`, Buffer.from('the endpoint was not parked'));
    }
    t.match(
      await admin.fails('describe', { name: 'no-such-key' }),
      { is: 'ErrKeyNotFound' },
      'it was not made either',
    );
    t.equal((await minio.s3.get(bucket, 'unknown-key')).status, 404);
  });

  await t.test('lists 1,000 objects', async (t) => {
    const keys = Array.from({ length: 1000 }, (_, i) => `many/${String(i).padStart(4, '0')}`);
    await inParallel(16, keys, (key) => put(key, Buffer.from(key), sseS3));
    const fromMs = performance.now();
    t.same(await minio.s3.list(bucket, 'many/'), keys);
    // One decrypt per object, one after the other: the latency of one caller.
    t.comment(`listed in ${(performance.now() - fromMs).toFixed(0)} ms`);
  });

  await t.test('everything opens after both servers were restarted', async (t) => {
    t.equal(await sello.stop(), 0, 'Sello stops cleanly');
    await minio.stop();
    await sello.run();
    await minio.restart();
    await readAllBack(t, minio.s3, acknowledged);
  });

  await t.test('loses nothing when Sello is killed under load', async (t) => {
    const kills = 3;
    const attempted = new Map<string, string>();
    let refused = 0;
    let over = false;
    let next = 0;
    const writer = async (): Promise<void> => {
      while (!over) {
        const key = `kill/${String(next++)}`;
        const body = randomBytes(1000 + (next % 3) * 70_000);
        attempted.set(key, sha256(body));
        const answer = await minio.s3.put(bucket, key, body, next % 2 === 0 ? sseS3 : {});
        if (answer.status === 200) acknowledged.set(key, sha256(body));
        else refused++;
      }
    };
    const writers = Promise.all(Array.from({ length: 8 }, writer));
    for (let kill = 0; kill < kills; kill++) {
      await sleep(700);
      await sello.stop('SIGKILL');
      await sleep(200);
      await sello.run();
    }
    await sleep(700);
    over = true;
    await writers;

    // MinIO may rest an endpoint that failed for up to 30 s.
    const giveUpMs = Date.now() + 40_000;
    let back = await minio.s3.put(bucket, 'after-kill', Buffer.from('back'));
    while (back.status !== 200 && Date.now() < giveUpMs) {
      await sleep(250);
      back = await minio.s3.put(bucket, 'after-kill', Buffer.from('back'));
    }
    t.equal(back.status, 200, 'writes go on after the kills');
    const written = [...attempted.keys()].filter((key) => acknowledged.has(key));
    t.comment(
      `${String(kills)} kills: ${String(written.length)} writes acknowledged, ${String(refused)} refused`,
    );
    t.ok(written.length > 50, 'there was load');
    await readAllBack(t, minio.s3, acknowledged);
    for (const [key, hash] of attempted) {
      if (acknowledged.has(key)) continue;
      const answer = await minio.s3.get(bucket, key);
      t.ok(
        answer.status === 404 || sha256(answer.body) === hash,
        `${key}: not acknowledged, so absent or whole`,
      );
    }
  });

  await t.test('opens the same objects with a client certificate in place of the API key', async (t) => {
    await minio.close();
    minio = await Minio.start({
      program: tool.minio,
      folder: minioFolder,
      kms: {
        ...common,
        MINIO_KMS_KES_CERT_FILE: nodeCertificate.cert,
        MINIO_KMS_KES_KEY_FILE: nodeCertificate.key,
      },
    });
    await readAllBack(t, minio.s3, acknowledged);
    await put('by-certificate', Buffer.from('written by certificate'));
    await readAllBack(t, minio.s3, new Map([...acknowledged].slice(-1)));
    const output = await sello.output();
    t.match(output, nodeCertificate.identity, 'and Sello recorded that identity');
  });
}

/** Every object is there and has the content that was acknowledged. */
async function readAllBack(t: Test, s3: S3, objects: ReadonlyMap<string, string>): Promise<void> {
  const bad: string[] = [];
  await inParallel(16, [...objects], async ([key, hash]) => {
    const answer = await s3.get(bucket, key);
    if (answer.status !== 200) bad.push(`${key}: ${String(answer.status)} ${answer.code ?? ''}`);
    else if (sha256(answer.body) !== hash) bad.push(`${key}: content differs`);
  });
  t.same(bad, [], `all ${String(objects.size)} objects read back equal`);
}

async function inParallel<T>(
  width: number,
  items: readonly T[],
  act: (item: T) => Promise<void>,
): Promise<void> {
  const left = items.values();
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (const item of left) await act(item);
    }),
  );
}

async function isInAnyFile(folder: string, needle: Buffer): Promise<boolean> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && (await readFile(join(entry.parentPath, entry.name))).includes(needle)) return true;
  }
  return false;
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
