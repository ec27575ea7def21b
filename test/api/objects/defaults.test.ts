/** What each kind of bucket makes of each kind of request. */
import { randomBytes } from 'node:crypto';
import t from 'tap';
import { parseEnvelope } from '../../../src/formats/index.ts';
import { codeOf, copySource, customerHeaders, ObjectSite, sealAt } from './site.ts';

const sse = 'x-amz-server-side-encryption';
const bucketKeyHeader = `${sse}-bucket-key-enabled`;
const key = randomBytes(32);
const requests = {
  nothing: {},
  'SSE-S3': { [sse]: 'AES256' },
  'SSE-KMS': { [sse]: 'aws:kms' },
  'SSE-KMS, app-1': { [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: 'app-1' },
  'SSE-KMS, a bucket key': {
    [sse]: 'aws:kms',
    [`${sse}-aws-kms-key-id`]: 'app-1',
    [bucketKeyHeader]: 'true',
  },
  'SSE-KMS, no bucket key': { [sse]: 'aws:kms', [bucketKeyHeader]: 'false' },
  'SSE-C': customerHeaders(key),
} as const;
type Request = keyof typeof requests;

const refused = 'AccessDenied';
const none = 'InvalidRequest';
/** Mode and key of the envelope, `*` for a bucket key; or the code of the refusal. */
const expected: Record<string, Record<Request, string>> = {
  /** As the tenant has it. */
  any: {
    nothing: 'sse-s3 sse-key',
    'SSE-S3': 'sse-s3 sse-key',
    'SSE-KMS': 'sse-kms sse-key',
    'SSE-KMS, app-1': 'sse-kms app-1',
    'SSE-KMS, a bucket key': 'sse-kms app-1*',
    'SSE-KMS, no bucket key': 'sse-kms sse-key',
    'SSE-C': refused,
  },
  kms: {
    nothing: 'sse-kms kms-key',
    'SSE-S3': 'sse-s3 kms-key',
    'SSE-KMS': 'sse-kms kms-key',
    'SSE-KMS, app-1': 'sse-kms app-1',
    'SSE-KMS, a bucket key': 'sse-kms app-1*',
    'SSE-KMS, no bucket key': 'sse-kms kms-key',
    'SSE-C': refused,
  },
  plain: {
    nothing: none,
    'SSE-S3': 'sse-s3 sse-key',
    'SSE-KMS': 'sse-kms sse-key',
    'SSE-KMS, app-1': 'sse-kms app-1',
    'SSE-KMS, a bucket key': 'sse-kms app-1*',
    'SSE-KMS, no bucket key': 'sse-kms sse-key',
    'SSE-C': refused,
  },
  forced: {
    nothing: 'sse-s3 sse-key',
    'SSE-S3': 'sse-s3 sse-key',
    'SSE-KMS': refused,
    'SSE-KMS, app-1': refused,
    'SSE-KMS, a bucket key': refused,
    'SSE-KMS, no bucket key': refused,
    'SSE-C': refused,
  },
  forcedKms: {
    nothing: 'sse-kms kms-key',
    'SSE-S3': refused,
    'SSE-KMS': 'sse-kms kms-key',
    'SSE-KMS, app-1': refused,
    'SSE-KMS, a bucket key': refused,
    'SSE-KMS, no bucket key': 'sse-kms kms-key',
    'SSE-C': refused,
  },
  limited: {
    nothing: 'sse-s3 sse-key',
    'SSE-S3': 'sse-s3 sse-key',
    'SSE-KMS': 'sse-kms sse-key',
    'SSE-KMS, app-1': 'sse-kms app-1',
    'SSE-KMS, a bucket key': 'sse-kms app-1*',
    'SSE-KMS, no bucket key': 'sse-kms sse-key',
    'SSE-C': refused,
  },
  shared: {
    nothing: 'sse-s3 sse-key*',
    'SSE-S3': 'sse-s3 sse-key*',
    'SSE-KMS': 'sse-kms sse-key*',
    'SSE-KMS, app-1': 'sse-kms app-1*',
    'SSE-KMS, a bucket key': 'sse-kms app-1*',
    'SSE-KMS, no bucket key': 'sse-kms sse-key',
    'SSE-C': refused,
  },
  customer: {
    nothing: 'sse-s3 sse-key',
    'SSE-S3': 'sse-s3 sse-key',
    'SSE-KMS': 'sse-kms sse-key',
    'SSE-KMS, app-1': 'sse-kms app-1',
    'SSE-KMS, a bucket key': 'sse-kms app-1*',
    'SSE-KMS, no bucket key': 'sse-kms sse-key',
    'SSE-C': 'sse-c ',
  },
};

const site = new ObjectSite();
t.before(() =>
  site.begin({
    key: 'sse-key',
    buckets: {
      customer: { sseC: true },
      plain: { default: 'none' },
      kms: { default: 'sse-kms', key: 'kms-key' },
      forced: { forced: true, sseC: true },
      forcedKms: { default: 'sse-kms', key: 'kms-key', forced: true },
      limited: { allowedKeys: ['app-*'] },
      shared: { bucketKey: true },
    },
  }),
);
t.teardown(() => site.remove());

for (const [bucket, rows] of Object.entries(expected)) {
  t.test(`bucket ${bucket}`, async (t) => {
    for (const [what, row] of Object.entries(rows) as [Request, string][]) {
      for (const route of ['seal', 'multipart/begin']) {
        const answer = await site.post(route, { bucket }, requests[what], route === 'seal' ? 'x' : '');
        let found: string;
        if (answer.status !== 200) found = codeOf(answer);
        else {
          const envelope = String(answer.headers['x-sello-envelope']);
          const { mode, keyName, isBucketKey } = parseEnvelope(Buffer.from(envelope, 'base64url'));
          found = `${mode} ${keyName}${isBucketKey ? '*' : ''}`;
          t.equal(answer.headers[bucketKeyHeader], isBucketKey ? 'true' : undefined);
        }
        t.equal(found, row, `${what}: ${route}`);
      }
    }
  });
}

t.test('a context gives each object a data key of its own, also with bucket keys', async (t) => {
  const context = Buffer.from('{"team":"red"}').toString('base64');
  const headers = { [sse]: 'aws:kms', [`${sse}-context`]: context };
  const { envelope } = await sealAt(site, Buffer.from('x'), { bucket: 'shared' }, headers);
  t.equal(parseEnvelope(Buffer.from(envelope, 'base64url')).isBucketKey, false);
});

t.test('a customer key changes where the object is', async (t) => {
  const [old, fresh] = [randomBytes(32), randomBytes(32)];
  const where = { bucket: 'customer' };
  const { envelope, sealed } = await sealAt(site, Buffer.from('hello'), where, customerHeaders(old));
  const changed = await site.post('reseal', where, {
    'x-sello-envelope': envelope,
    ...customerHeaders(old, copySource),
    ...customerHeaders(fresh),
  });
  t.equal(changed.status, 200);
  const again = { 'x-sello-envelope': String(changed.headers['x-sello-envelope']) };
  const read = (by: Buffer) => site.post('open', where, { ...again, ...customerHeaders(by) }, sealed);
  t.equal((await read(fresh)).body.toString(), 'hello');
  t.equal(codeOf(await read(old)), 'AccessDenied', 'the old key opens the new envelope no more');
});

t.test('an upload in parts keeps to the customer key of its beginning', async (t) => {
  const where = { bucket: 'customer' };
  const begun = await site.post('multipart/begin', where, customerHeaders(key));
  const envelope = { 'x-sello-envelope': String(begun.headers['x-sello-envelope']) };
  const part = await site.post(
    'seal',
    { ...where, part: '1' },
    { ...envelope, ...customerHeaders(key) },
    'one',
  );
  const body = JSON.stringify({
    parts: [
      {
        part: 1,
        header: part.body.subarray(0, 80).toString('base64'),
        tag: part.body.subarray(-16).toString('base64'),
        sealedLength: part.body.length,
      },
    ],
  });
  const finish = (headers: Record<string, string>) =>
    site.post('multipart/complete', where, { ...envelope, ...headers }, body);
  t.equal(codeOf(await finish({})), 'InvalidRequest', 'completed without the key');
  t.equal(codeOf(await finish(customerHeaders(randomBytes(32)))), 'InvalidRequest', 'with another');
  t.equal((await finish(customerHeaders(key))).status, 200);

  const plain = await site.post('multipart/begin', {});
  const kept = { 'x-sello-envelope': String(plain.headers['x-sello-envelope']) };
  const send = (headers: Record<string, string>) =>
    site.post('seal', { part: '1' }, { ...kept, ...headers }, 'x');
  t.equal(codeOf(await send(customerHeaders(key))), 'InvalidRequest', 'a key for an upload that has none');
  const ignored = await send(requests['SSE-KMS, app-1']);
  t.equal(ignored.status, 200, 'the upload says which encryption, its parts do not');
});

t.test('an object that is sealed for a version opens as that version only', async (t) => {
  const made = await sealAt(site, Buffer.from('hello'), { 'version-id': 'v1' });
  const read = (where: Record<string, string>) =>
    site.post('open', where, { 'x-sello-envelope': made.envelope }, made.sealed);
  t.equal((await read({ 'version-id': 'v1' })).body.toString(), 'hello');
  for (const where of [{}, { 'version-id': 'v2' }, { 'version-id': 'v1', bucket: 'any' }])
    t.equal((await read(where)).status >= 400, true, JSON.stringify(where));
});
