/** The rows of docs/object-api.md: what is misused, and what S3 says to it. */
import { randomBytes } from 'node:crypto';
import { renameSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import t, { type Test as TapTest } from 'tap';
import { SelloError, errorKinds, type ErrorCode } from '../../../src/errors.ts';
import { s3ErrorOf, s3Errors } from '../../../src/sse/s3-error.ts';
import type { Answer } from '../../attacks/client.ts';
import { codeOf, copySource, customerHeaders, objectsYaml, ObjectSite, sealAt, type Where } from './site.ts';

const sse = 'x-amz-server-side-encryption';
const customer = `${sse}-customer-`;
const key = randomBytes(32);
const good = customerHeaders(key);
const without = (name: string): Record<string, string> =>
  Object.fromEntries(Object.entries(good).filter(([header]) => header !== `${customer}${name}`));

const site = new ObjectSite();
t.before(() => site.begin());
t.teardown(() => site.remove());

function is(
  t: Pick<TapTest, 'equal' | 'notMatch'>,
  answer: Answer,
  status: number,
  code: string,
  what: string,
): void {
  t.equal(answer.status, status, what);
  t.equal(codeOf(answer), code, what);
  t.equal(answer.headers['x-amz-error-code'], code);
  t.notMatch(answer.body.toString(), /at .*\.ts|node:/, 'nothing internal');
}

const sealing: readonly (readonly [string, Where, Record<string, string>, number, string])[] = [
  ['unknown encryption', {}, { [sse]: 'AES192' }, 400, 'InvalidArgument'],
  ['aws:kms:dsse', {}, { [sse]: 'aws:kms:dsse' }, 400, 'InvalidArgument'],
  [
    'customer algorithm',
    { bucket: 'customer' },
    { ...good, [`${customer}algorithm`]: 'aes256' },
    400,
    'InvalidEncryptionAlgorithmError',
  ],
  ['no customer algorithm', { bucket: 'customer' }, without('algorithm'), 400, 'InvalidArgument'],
  ['no customer key', { bucket: 'customer' }, without('key'), 400, 'InvalidArgument'],
  ['no customer MD5', { bucket: 'customer' }, without('key-md5'), 400, 'InvalidArgument'],
  [
    'customer key of 31 bytes',
    { bucket: 'customer' },
    customerHeaders(randomBytes(31)),
    400,
    'InvalidArgument',
  ],
  [
    'customer key not base64',
    { bucket: 'customer' },
    { ...good, [`${customer}key`]: '!'.repeat(44) },
    400,
    'InvalidArgument',
  ],
  [
    'customer MD5 of another key',
    { bucket: 'customer' },
    { ...good, [`${customer}key-md5`]: customerHeaders(randomBytes(32))[`${customer}key-md5`]! },
    400,
    'InvalidArgument',
  ],
  [
    'customer MD5 too short',
    { bucket: 'customer' },
    { ...good, [`${customer}key-md5`]: 'AAAA' },
    400,
    'InvalidArgument',
  ],
  [
    'customer key over HTTP',
    { bucket: 'customer' },
    { ...good, 'x-forwarded-proto': 'http' },
    400,
    'InvalidRequest',
  ],
  ['customer key and SSE-S3', { bucket: 'customer' }, { ...good, [sse]: 'AES256' }, 400, 'InvalidArgument'],
  ['customer key and aws:kms', { bucket: 'customer' }, { ...good, [sse]: 'aws:kms' }, 400, 'InvalidArgument'],
  [
    'SSE-S3 with a key id',
    {},
    { [sse]: 'AES256', [`${sse}-aws-kms-key-id`]: 'app-1' },
    400,
    'InvalidArgument',
  ],
  ['SSE-S3 with a context', {}, { [sse]: 'AES256', [`${sse}-context`]: 'e30=' }, 400, 'InvalidArgument'],
  ['key id without aws:kms', {}, { [`${sse}-aws-kms-key-id`]: 'app-1' }, 400, 'InvalidArgument'],
  ['context that is no JSON', {}, { [sse]: 'aws:kms', [`${sse}-context`]: 'AAAA' }, 400, 'InvalidArgument'],
  [
    'context of numbers',
    {},
    { [sse]: 'aws:kms', [`${sse}-context`]: Buffer.from('{"a":1}').toString('base64') },
    400,
    'InvalidArgument',
  ],
  [
    'context that names another place',
    {},
    { [sse]: 'aws:kms', [`${sse}-context`]: Buffer.from('{"photos":"photos/dog"}').toString('base64') },
    400,
    'InvalidArgument',
  ],
  [
    'KMS key that is not there',
    {},
    { [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: 'nobody' },
    400,
    'KMS.NotFoundException',
  ],
  [
    'KMS key of no legal name',
    {},
    { [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: '../etc' },
    400,
    'KMS.NotFoundException',
  ],
  [
    'KMS key without permission',
    {},
    { [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: 'secret-key' },
    403,
    'AccessDenied',
  ],
  [
    'KMS key the bucket does not take',
    { bucket: 'limited' },
    { [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: 'kms-key' },
    403,
    'AccessDenied',
  ],
  ['customer key where it is off', {}, good, 403, 'AccessDenied'],
  ['customer key in a forced bucket', { bucket: 'forced' }, good, 403, 'AccessDenied'],
  ['another encryption in a forced bucket', { bucket: 'forced' }, { [sse]: 'aws:kms' }, 403, 'AccessDenied'],
  ['no encryption in a bucket without', { bucket: 'plain' }, {}, 400, 'InvalidRequest'],
  ['no bucket', { bucket: undefined as unknown as string }, {}, 400, 'InvalidArgument'],
  ['bucket with a slash', { bucket: 'a/b' }, {}, 400, 'InvalidArgument'],
  ['object name too long', { object: 'a'.repeat(1025) }, {}, 400, 'InvalidArgument'],
  ['unknown parameter', { colour: 'red' }, {}, 400, 'InvalidArgument'],
  ['part number 0', { part: '0' }, {}, 400, 'InvalidArgument'],
  ['part number 10001', { part: '10001' }, {}, 400, 'InvalidArgument'],
  ['part without an envelope', { part: '1' }, {}, 400, 'InvalidArgument'],
];

t.test('sealing', async (t) => {
  for (const [what, where, headers, status, code] of sealing) {
    is(t, await site.post('seal', where, headers, 'hello'), status, code, what);
    const over1 = await site.post1('seal', where, headers, 'hello');
    t.equal(codeOf(over1), code, `${what}, HTTP/1.1`);
  }
});

t.test('a large upload that is refused reads its answer', async (t) => {
  const refused = await site.post1('seal', {}, { [sse]: 'AES192' }, Buffer.alloc(3_000_000));
  is(t, refused, 400, 'InvalidArgument', 'HTTP/1.1');
  is(
    t,
    await site.post('seal', {}, { [sse]: 'AES192' }, Buffer.alloc(3_000_000)),
    400,
    'InvalidArgument',
    'HTTP/2',
  );
});

t.test('opening', async (t) => {
  const message = randomBytes(5000);
  const { envelope, sealed } = await sealAt(site, message);
  const own = await sealAt(site, message, { bucket: 'customer' }, good);
  const read = (where: Where, from: { envelope: string; sealed: Buffer }, headers: Record<string, string>) =>
    site.post('open', where, { 'x-sello-envelope': from.envelope, ...headers }, from.sealed);
  const there = { bucket: 'customer' };
  is(t, await read(there, own, {}), 400, 'InvalidRequest', 'customer-key object without the key');
  is(t, await read({}, { envelope, sealed }, good), 400, 'InvalidRequest', 'key for an object that has none');
  is(t, await read(there, own, customerHeaders(randomBytes(32))), 403, 'AccessDenied', 'wrong customer key');
  is(t, await read(there, own, { ...good, [`${customer}key-md5`]: 'AAAA' }), 400, 'InvalidArgument', 'MD5');
  is(
    t,
    await read({}, { envelope, sealed }, { [sse]: 'AES256' }),
    400,
    'InvalidArgument',
    'encryption on a read',
  );
  is(
    t,
    await read({}, { envelope, sealed }, { [`${sse}-aws-kms-key-id`]: 'a' }),
    400,
    'InvalidArgument',
    'key id on a read',
  );
  is(
    t,
    await read(
      {},
      { envelope: Buffer.from(envelope, 'base64url').subarray(0, -3).toString('base64url'), sealed },
      {},
    ),
    400,
    'InvalidRequest',
    'envelope cut',
  );
  is(t, await read({}, { envelope: '!!', sealed }, {}), 400, 'InvalidArgument', 'envelope not base64url');
  is(
    t,
    await read({}, { envelope, sealed: sealed.subarray(0, -1) }, {}),
    400,
    'InvalidRequest',
    'object cut',
  );
  is(t, await read({}, { envelope, sealed: Buffer.alloc(200) }, {}), 400, 'InvalidRequest', 'something else');
  const damaged = Buffer.from(sealed);
  damaged[1000]! ^= 1;
  is(
    t,
    await read({}, { envelope, sealed: damaged }, {}),
    400,
    'InvalidRequest',
    'first segment damaged: told before any byte',
  );
  const denied = await site.ask(
    {
      method: 'POST',
      path: '/objects/v1/open?bucket=photos&object=cats%2F1.jpg',
      headers: { 'x-sello-envelope': envelope },
      body: sealed,
    },
    site.other,
  );
  t.equal(denied.status, 403, 'another tenant');
  const begun = JSON.parse((await site.post('multipart/begin', there, good)).body.toString()) as {
    envelope: string;
  };
  const part = (headers: Record<string, string>) =>
    site.post('seal', { ...there, part: '1' }, { 'x-sello-envelope': begun.envelope, ...headers }, 'part');
  t.equal((await part(good)).status, 200);
  is(t, await part({}), 400, 'InvalidRequest', 'part without the customer key');
  is(
    t,
    await part(customerHeaders(randomBytes(32))),
    400,
    'InvalidRequest',
    'part with another customer key',
  );
  is(
    t,
    await site.ask({ method: 'GET', path: '/objects/v1/encryption?bucket=plain' }),
    404,
    'ServerSideEncryptionConfigurationNotFoundError',
    'bucket without',
  );
  const found = await site.ask({ method: 'GET', path: '/objects/v1/encryption?bucket=kms' });
  t.match(JSON.parse(found.body.toString()), {
    SSEAlgorithm: 'aws:kms',
    KMSMasterKeyID: 'arn:aws:kms:kms-key',
  });
});

t.test('resealing', async (t) => {
  const { envelope } = await sealAt(site, Buffer.from('x'));
  const reseal = (where: Where, headers: Record<string, string> = {}) =>
    site.post('reseal', where, { 'x-sello-envelope': envelope, ...headers });
  is(t, await reseal({}), 400, 'InvalidRequest', 'a copy to itself that changes nothing');
  is(
    t,
    await reseal({ rewrap: 'true', 'source-bucket': 'photos', 'source-object': 'dog' }),
    400,
    'InvalidRequest',
    'rewrap elsewhere',
  );
  is(
    t,
    await reseal(
      { object: 'copy', 'source-bucket': 'photos', 'source-object': 'cats/1.jpg' },
      customerHeaders(key, copySource),
    ),
    400,
    'InvalidRequest',
    'source key for a source that has none',
  );
  const own = await sealAt(site, Buffer.from('x'), { bucket: 'customer' }, good);
  const copy = (headers: Record<string, string>) =>
    site.post(
      'reseal',
      { object: 'c', 'source-bucket': 'customer', 'source-object': 'cats/1.jpg' },
      { 'x-sello-envelope': own.envelope, ...headers },
    );
  is(t, await copy({}), 400, 'InvalidRequest', 'source key missing');
  is(t, await copy(customerHeaders(randomBytes(32), copySource)), 403, 'AccessDenied', 'source key wrong');
  t.equal((await copy(customerHeaders(key, copySource))).status, 200);
});

t.test('as XML for those who hand it on', async (t) => {
  const answer = await site.post('seal', {}, { [sse]: 'AES192', accept: 'application/xml' }, 'x');
  t.match(
    answer.body.toString(),
    /^<\?xml [^>]+>\n<Error><Code>InvalidArgument<\/Code><Message>[^<]+<\/Message><RequestId>\w+/,
  );
});

t.test('who may', async (t) => {
  const body = 'x';
  const path = '/objects/v1/seal?bucket=photos&object=a';
  is(
    t,
    await site.ask({ method: 'POST', path, body }, site.reader),
    403,
    'AccessDenied',
    'no permission to seal',
  );
  is(t, await site.ask({ method: 'GET', path }), 405, 'InvalidRequest', 'wrong method');
  const stranger = new ObjectSite().node;
  t.equal((await site.ask({ method: 'POST', path, body }, stranger)).status, 403, 'unknown');
});

t.test('settings change what a wrong key and a missing key id are', async (t) => {
  const other = new ObjectSite();
  t.teardown(() => other.remove());
  await other.begin({ ...objectsYaml, wrongCustomerKey: '400', requireKmsKeyId: true });
  const own = await sealAt(other, Buffer.from('x'), { bucket: 'customer' }, good);
  const headers = { 'x-sello-envelope': own.envelope, ...customerHeaders(randomBytes(32)) };
  is(
    t,
    await other.post('open', { bucket: 'customer' }, headers, own.sealed),
    400,
    'InvalidRequest',
    'wrong key',
  );
  is(t, await other.post('seal', {}, { [sse]: 'aws:kms' }, 'x'), 400, 'InvalidArgument', 'no key id');
});

t.test('a keystore that is down is 503, and a tenant over its quota is SlowDown', async (t) => {
  const other = new ObjectSite();
  t.teardown(() => other.remove());
  await other.begin(objectsYaml, {
    keystore: { fs: { path: 'keys' } },
    quota: { requestsPerSecond: 3, burst: 3 },
  });
  renameSync(other.file('keys'), other.file('gone'));
  const down = await other.post('seal', {}, { [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: 'app-1' }, 'x');
  is(t, down, 503, 'ServiceUnavailable', 'store');
  t.match(down.headers, { 'retry-after': /^\d+$/ });
  let slow: Answer | undefined;
  for (let i = 0; i < 20 && slow?.status !== 503; i++) slow = await other.post('plan', {}, {}, '');
  for (let i = 0; i < 20; i++) {
    slow = await other.ask({ method: 'GET', path: '/objects/v1/encryption?bucket=a' });
    if (slow.status === 503) break;
    await wait(1);
  }
  is(t, slow!, 503, 'SlowDown', 'quota');
});

t.test('more streams than a tenant may have at once are SlowDown', async (t) => {
  const other = new ObjectSite();
  t.teardown(() => other.remove());
  await other.begin({ ...objectsYaml, maxStreams: 1 });
  const { Session } = await import('../../attacks/client.ts');
  const session = await Session.open(other.as(other.node));
  t.teardown(() => session.close());
  const first = session.http2.request({ ':method': 'POST', ':path': '/objects/v1/seal?bucket=a&object=b' });
  first.on('error', () => undefined);
  first.write('x');
  await new Promise((resolve) => first.once('response', resolve));
  is(t, await other.post('seal', {}, {}, 'x'), 503, 'SlowDown', 'second');
  first.close();
});

t.test('nobody without this face learns that there is one', async (t) => {
  const other = new ObjectSite();
  t.teardown(() => other.remove());
  await other.begin(undefined, { objects: undefined as unknown as object });
  const answer = await other.post('seal', {}, {}, 'x');
  t.equal(answer.status, 404);
  t.equal(answer.body.toString(), '404 page not found\n');
});

t.test('every code of the registry is some S3 error, and none tells its detail', async (t) => {
  for (const code of Object.keys(errorKinds) as ErrorCode[]) {
    const error = s3ErrorOf(new SelloError(code, { detail: 'canary', cause: new Error('canary') }));
    t.ok(error.status in { 400: 1, 403: 1, 404: 1, 416: 1, 500: 1, 503: 1 }, code);
    t.ok(error.code in s3Errors, code);
    t.notMatch(error.message, /canary/);
    if (errorKinds[code].retryable) t.ok(error.status === 503, `${code} can be retried`);
  }
  t.equal(s3ErrorOf(new TypeError('canary')).code, 'InternalError');
});
