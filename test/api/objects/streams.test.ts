import { randomBytes } from 'node:crypto';
import t from 'tap';
import { objectHeaderBytes, plainStreamLength } from '../../../src/sse/index.ts';
import { codeOf, customerHeaders, ObjectSite, sealAt, type Where } from './site.ts';

const segmentBytes = 131_072;
const site = new ObjectSite();
t.before(() => site.begin());
t.teardown(() => site.remove());

for (const size of [0, 1, 4096, segmentBytes - 1, segmentBytes, segmentBytes + 1, 1_000_000]) {
  t.test(`${size} bytes go in and come back, on both protocols`, async (t) => {
    const message = randomBytes(size);
    const sealed = await site.post('seal', {}, {}, message);
    t.equal(sealed.status, 200);
    t.equal(sealed.headers['x-amz-server-side-encryption'], 'AES256');
    const envelope = String(sealed.headers['x-sello-envelope']);
    t.equal(plainStreamLength(sealed.body.length, segmentBytes), size);
    const opened = await site.post('open', {}, { 'x-sello-envelope': envelope }, sealed.body);
    t.equal(opened.status, 200);
    t.ok(opened.body.equals(message), 'HTTP/2');
    const over1 = await site.post1('open', {}, { 'x-sello-envelope': envelope }, sealed.body);
    t.equal(over1.status, 200);
    t.equal(over1.headers['content-length'], String(size), 'the length is promised');
    t.ok(over1.body.equals(message), 'HTTP/1.1');
    const sealed1 = await site.post1('seal', {}, { 'content-length': String(size) }, message);
    t.equal(sealed1.headers['content-length'], String(sealed1.body.length));
    t.not(sealed1.headers['x-sello-envelope'], envelope, 'every object has a key of its own');
  });
}

t.test('the envelope travels in front of the stream', async (t) => {
  const message = randomBytes(200_000);
  const sealed = await site.post1('seal', { envelope: 'front' }, {}, message);
  t.equal(sealed.status, 200);
  t.equal(sealed.body.subarray(0, 8).toString(), 'SELLO-E1');
  const opened = await site.post('open', { envelope: 'front' }, {}, sealed.body);
  t.ok(opened.body.equals(message));
  const cut = await site.post('open', { envelope: 'front' }, {}, sealed.body.subarray(0, 50));
  t.equal(codeOf(cut), 'InvalidRequest');
});

t.test('a range opens from header and segments alone', async (t) => {
  const message = randomBytes(600_000);
  const { envelope, sealed } = await sealAt(site, message);
  for (const [range, from, to] of [
    ['bytes=0-0', 0, 1],
    ['bytes=0-599999', 0, 600_000],
    ['bytes=131071-131072', 131_071, 131_073],
    ['bytes=131072-131072', 131_072, 131_073],
    ['bytes=300000-', 300_000, 600_000],
    ['bytes=-1', 599_999, 600_000],
    ['bytes=-9999999', 0, 600_000],
    ['bytes=599990-9999999', 599_990, 600_000],
  ] as const) {
    const planned = await site.ask({
      method: 'POST',
      path: `/objects/v1/plan?sealed-length=${sealed.length}`,
      headers: { range },
    });
    const { sealed: spans } = JSON.parse(planned.body.toString()) as { sealed: [number, number][] };
    const input = Buffer.concat(spans.map(([a, b]) => sealed.subarray(a, b)));
    const headers = { 'x-sello-envelope': envelope, range, 'x-sello-sealed-length': String(sealed.length) };
    const opened = await site.post('open', {}, headers, input);
    t.equal(opened.status, 206, range);
    t.equal(opened.headers['content-range'], `bytes ${from}-${to - 1}/600000`);
    t.ok(opened.body.equals(message.subarray(from, to)), range);
  }
  const blind = Buffer.concat([
    sealed.subarray(0, objectHeaderBytes),
    sealed.subarray(80 + 131_088, 80 + 2 * 131_088),
  ]);
  const opened = await site.post(
    'open',
    {},
    { 'x-sello-envelope': envelope, range: 'bytes=140000-150000' },
    blind,
  );
  t.equal(
    opened.headers['content-range'],
    'bytes 140000-150000/*',
    'without the length nothing is claimed of it',
  );
  t.ok(opened.body.equals(message.subarray(140_000, 150_001)));
  for (const [range, code] of [
    ['bytes=600000-', 'InvalidRange'],
    ['bytes=-0', 'InvalidRange'],
    ['bytes=5-4', 'InvalidArgument'],
    ['bytes=0-1,3-4', 'InvalidArgument'],
    ['bytes=9007199254740993-9007199254740994', 'InvalidArgument'],
    ['lines=1-2', 'InvalidArgument'],
  ] as const) {
    const headers = { 'x-sello-envelope': envelope, range, 'x-sello-sealed-length': String(sealed.length) };
    const refused = await site.post('open', {}, headers, sealed);
    t.equal(codeOf(refused), code, range);
    t.equal(refused.status, code === 'InvalidRange' ? 416 : 400);
  }
  const noLength = await site.post('open', {}, { 'x-sello-envelope': envelope, range: 'bytes=5-' }, sealed);
  t.equal(codeOf(noLength), 'InvalidRequest');
});

t.test('parts are sealed one by one, in any order and again, and open as one object', async (t) => {
  const begun = await site.post('multipart/begin', {});
  t.equal(begun.status, 200);
  const { envelope } = JSON.parse(begun.body.toString()) as { envelope: string };
  t.equal(begun.headers['x-amz-server-side-encryption'], 'AES256');
  const messages = [randomBytes(300_000), randomBytes(segmentBytes), randomBytes(0), randomBytes(77)];
  const send = (part: number, message: Buffer) =>
    site.post('seal', { part: String(part) }, { 'x-sello-envelope': envelope }, message);
  await send(2, randomBytes(500)); // sent again below: the later one is completed
  const sealed: Buffer[] = [];
  for (const i of [3, 1, 0, 2]) sealed[i] = (await send(i + 1, messages[i]!)).body;
  const listed = sealed.map((bytes, i) => ({
    part: i + 1,
    header: bytes.subarray(0, 80).toString('base64'),
    tag: bytes.subarray(-16).toString('base64'),
    sealedLength: bytes.length,
  }));
  const finish = (parts: object[], headers = { 'x-sello-envelope': envelope }) =>
    site.post('multipart/complete', {}, headers, JSON.stringify({ parts }));
  const completed = await finish(listed);
  t.equal(completed.status, 200, JSON.stringify(completed.body.toString('latin1', 0, 80)));
  const manifest = completed.body;
  const message = Buffer.concat(messages);
  t.equal(completed.headers['x-sello-plain-length'], String(message.length));
  const stored = Buffer.concat(sealed);
  const headers = { 'x-sello-envelope': envelope, 'x-sello-manifest-length': String(manifest.length) };
  const whole = await site.post1('open', {}, headers, Buffer.concat([manifest, stored]));
  t.ok(whole.body.equals(message));
  t.equal(whole.headers['content-length'], String(message.length));
  for (const range of ['bytes=0-9', 'bytes=299999-431080', 'bytes=-100', 'bytes=431072-431073', 'bytes=5-']) {
    const planned = await site.ask({
      method: 'POST',
      path: '/objects/v1/plan',
      headers: { range },
      body: manifest,
    });
    const plan = JSON.parse(planned.body.toString()) as {
      sealed: [[number, number]];
      range: [number, number];
    };
    const [[from, to]] = plan.sealed;
    const opened = await site.post(
      'open',
      {},
      { ...headers, range },
      Buffer.concat([manifest, stored.subarray(from, to)]),
    );
    t.equal(opened.status, 206, range);
    t.ok(opened.body.equals(message.subarray(...plan.range)), range);
    t.equal(opened.headers['content-range'], `bytes ${plan.range[0]}-${plan.range[1] - 1}/${message.length}`);
  }
  const second = await site.post('open', { part: '2' }, headers, Buffer.concat([manifest, sealed[1]!]));
  t.notOk(second.body.equals(messages[1]!), 'the sealed bytes of a part lie where the plan says');
  const alone = await site.post('open', { part: '2' }, { 'x-sello-envelope': envelope }, sealed[1]);
  t.ok(alone.body.equals(messages[1]!), 'a part opens alone');
  const missing = await site.post('open', { part: '9' }, headers, Buffer.concat([manifest, stored]));
  t.equal(codeOf(missing), 'InvalidPart');
  t.equal(codeOf(await finish([listed[1]!, listed[0]!])), 'InvalidPartOrder');
  t.equal(codeOf(await finish([{ ...listed[0]!, header: listed[1]!.header }])), 'InvalidPart');
  t.equal(codeOf(await finish([{ ...listed[0]!, tag: 'AAAA' }])), 'InvalidPart');
  t.equal(codeOf(await finish([])), 'InvalidArgument');
  const { envelope: foreign } = await sealAt(site, Buffer.alloc(0));
  t.equal(
    codeOf(await finish(listed, { 'x-sello-envelope': foreign })),
    'InvalidPart',
    'parts of another object',
  );
});

t.test('each encryption seals and opens, and says what it is', async (t) => {
  const key = randomBytes(32);
  const context = Buffer.from('{"team":"red"}').toString('base64');
  const cases: {
    where: Where;
    headers: Record<string, string>;
    shown: Record<string, string>;
    readHeaders?: Record<string, string>;
  }[] = [
    { where: {}, headers: {}, shown: { 'x-amz-server-side-encryption': 'AES256' } },
    {
      where: {},
      headers: { 'x-amz-server-side-encryption': 'AES256' },
      shown: { 'x-amz-server-side-encryption': 'AES256' },
    },
    {
      where: { bucket: 'kms' },
      headers: {},
      shown: {
        'x-amz-server-side-encryption': 'aws:kms',
        'x-amz-server-side-encryption-aws-kms-key-id': 'arn:aws:kms:kms-key',
      },
    },
    {
      where: {},
      headers: {
        'x-amz-server-side-encryption': 'aws:kms',
        'x-amz-server-side-encryption-aws-kms-key-id': 'arn:aws:kms:us-east-1:1234:key/app-1',
        'x-amz-server-side-encryption-context': context,
      },
      shown: { 'x-amz-server-side-encryption-aws-kms-key-id': 'arn:aws:kms:app-1' },
    },
    {
      where: { bucket: 'customer' },
      headers: customerHeaders(key),
      shown: {
        'x-amz-server-side-encryption-customer-algorithm': 'AES256',
        'x-amz-server-side-encryption-customer-key-md5':
          customerHeaders(key)['x-amz-server-side-encryption-customer-key-md5']!,
      },
      readHeaders: customerHeaders(key),
    },
    {
      where: { bucket: 'shared' },
      headers: {},
      shown: {
        'x-amz-server-side-encryption': 'AES256',
        'x-amz-server-side-encryption-bucket-key-enabled': 'true',
      },
    },
  ];
  for (const { where, headers, shown, readHeaders = {} } of cases) {
    const message = randomBytes(1000);
    const { envelope, sealed, answer } = await sealAt(site, message, where, headers);
    t.match(answer.headers, shown);
    const opened = await site.post('open', where, { ...readHeaders, 'x-sello-envelope': envelope }, sealed);
    t.ok(opened.body.equals(message));
    t.match(opened.headers, shown);
    const elsewhere = await site.post(
      'open',
      { ...where, object: 'else' },
      { ...readHeaders, 'x-sello-envelope': envelope },
      sealed,
    );
    t.not(elsewhere.status, 200, 'opens at its own place only');
  }
});
