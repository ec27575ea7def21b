/** Reseal in each direction, bucket defaults and bucket keys, data keys, records, and what happens when something goes wrong late. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { Session, tlsOptions, within, type Answer } from '../../attacks/client.ts';
import { codeOf, copySource, customerHeaders, objectsYaml, ObjectSite, sealAt, type Where } from './site.ts';

const sse = 'x-amz-server-side-encryption';
const site = new ObjectSite();
t.before(() => site.begin());
t.teardown(() => site.remove());

interface Line {
  readonly event: { readonly action: string; readonly outcome: string };
  readonly http: {
    readonly request: { readonly id: string };
    readonly response: { readonly status_code: number };
  };
  readonly sello: Readonly<Record<string, unknown>>;
  readonly url: { readonly path: string };
  readonly error?: { readonly code: string };
}

function records(from = site): Line[] {
  const text = readFileSync(from.file('audit/alpha.jsonl'), 'utf8').trimEnd();
  return text.split('\n').map((line) => JSON.parse(line) as Line);
}

t.test('reseal in each direction, the sealed bytes untouched', async (t) => {
  const [first, second] = [randomBytes(32), randomBytes(32)];
  const kinds: Record<
    string,
    {
      where: Where;
      write: Record<string, string>;
      source: Record<string, string>;
      read: Record<string, string>;
    }
  > = {
    'SSE-S3': { where: { bucket: 'photos' }, write: { [sse]: 'AES256' }, source: {}, read: {} },
    'SSE-KMS': {
      where: { bucket: 'photos' },
      write: { [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: 'app-1' },
      source: {},
      read: {},
    },
    'SSE-KMS, other key': {
      where: { bucket: 'kms' },
      write: { [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: 'app-2' },
      source: {},
      read: {},
    },
    'SSE-C': {
      where: { bucket: 'customer' },
      write: customerHeaders(first),
      source: customerHeaders(first, copySource),
      read: customerHeaders(first),
    },
    'SSE-C, other key': {
      where: { bucket: 'customer' },
      write: customerHeaders(second),
      source: customerHeaders(second, copySource),
      read: customerHeaders(second),
    },
    'bucket key': { where: { bucket: 'shared' }, write: {}, source: {}, read: {} },
  };
  const message = randomBytes(150_000);
  for (const [from, a] of Object.entries(kinds)) {
    const { envelope, sealed } = await sealAt(site, message, { ...a.where, object: 'source' }, a.write);
    for (const [to, b] of Object.entries(kinds)) {
      const resealed = await site.post(
        'reseal',
        { ...b.where, object: 'copy', 'source-bucket': a.where.bucket!, 'source-object': 'source' },
        { 'x-sello-envelope': envelope, ...a.source, ...b.write },
      );
      t.equal(resealed.status, 200, `${from} to ${to}`);
      const copy = String(resealed.headers['x-sello-envelope']);
      const opened = await site.post(
        'open',
        { ...b.where, object: 'copy' },
        { 'x-sello-envelope': copy, ...b.read },
        sealed,
      );
      t.ok(opened.body.equals(message), `${from} to ${to} opens`);
    }
  }
});

t.test('the same key in place: rewrap keeps what the object is', async (t) => {
  const context = Buffer.from('{"team":"red"}').toString('base64');
  const headers = { [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: 'app-1', [`${sse}-context`]: context };
  const { envelope, sealed } = await sealAt(site, Buffer.from('hello'), {}, headers);
  const again = await site.post('reseal', { rewrap: 'true' }, { 'x-sello-envelope': envelope });
  t.equal(again.status, 200);
  t.match(again.headers, { [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: 'arn:aws:kms:app-1' });
  const fresh = String(again.headers['x-sello-envelope']);
  t.not(fresh, envelope);
  for (const each of [envelope, fresh])
    t.equal((await site.post('open', {}, { 'x-sello-envelope': each }, sealed)).body.toString(), 'hello');
  // A copy elsewhere without its context would be one that cannot be read; here the context travels in the envelope.
  const moved = await site.post(
    'reseal',
    { object: 'b', 'source-bucket': 'photos', 'source-object': 'cats/1.jpg' },
    { 'x-sello-envelope': envelope },
  );
  const copy = String(moved.headers['x-sello-envelope']);
  t.equal(
    (await site.post('open', { object: 'b' }, { 'x-sello-envelope': copy }, sealed)).body.toString(),
    'hello',
  );
});

t.test('a bucket key serves many objects for a bounded time, and ends with its master key', async (t) => {
  const other = new ObjectSite();
  t.teardown(() => other.remove());
  await other.begin({ ...objectsYaml, bucketKeys: { maxAge: '5s', maxObjects: 3 } });
  const wrapped = async (): Promise<string> => {
    const { envelope } = await sealAt(other, Buffer.from('x'), { bucket: 'shared' });
    const bytes = Buffer.from(envelope, 'base64url');
    const nameLength = bytes.readUInt16BE(144);
    const at = 146 + nameLength;
    return bytes.subarray(at + 2, at + 2 + bytes.readUInt16BE(at)).toString('hex');
  };
  const keys: string[] = [];
  for (let i = 0; i < 7; i++) keys.push(await wrapped());
  t.same(
    keys.map((key) => keys.indexOf(key)),
    [0, 0, 0, 3, 3, 3, 6],
    'three objects each',
  );
  const line = records(other).at(-1)!;
  t.equal(line.sello['scope'], 'bucket', 'the record says that the data key is the bucket’s');
  const { envelope, sealed } = await sealAt(other, Buffer.from('hello'), { bucket: 'shared' });
  t.equal(
    (await other.post('open', { bucket: 'shared' }, { 'x-sello-envelope': envelope }, sealed)).status,
    200,
  );
  await other.server.runtime.tenants.get('alpha')!.keys.delete('sse-key' as never);
  const refused = await within(8000, async () => {
    const sealing = await other.post('seal', { bucket: 'shared' }, {}, 'x');
    const opening = await other.post('open', { bucket: 'shared' }, { 'x-sello-envelope': envelope }, sealed);
    if (sealing.status === 200 || opening.status === 200) await wait(100);
    return sealing.status === 400 && opening.status === 400;
  });
  t.ok(refused, 'a deleted key is refused within the time that all changes take');
});

t.test('data keys: one, many, as JSON and as bytes', async (t) => {
  const ask = (route: string, body: object, headers = {}): Promise<Answer> =>
    site.ask({ method: 'POST', path: `/objects/v1/keys/${route}`, headers, body: JSON.stringify(body) });
  const item = { bucket: 'photos', object: 'a' };
  const one = JSON.parse((await ask('issue', item)).body.toString()) as Record<string, string>;
  t.equal(Buffer.from(one['plaintext']!, 'base64').length, 32);
  t.equal(one['key'], 'sse-key');
  const opened = JSON.parse(
    (await ask('unwrap', { ...item, ciphertext: one['ciphertext'] })).body.toString(),
  ) as Record<string, string>;
  t.equal(opened['plaintext'], one['plaintext']);
  const moved = await ask('unwrap', { bucket: 'photos', object: 'b', ciphertext: one['ciphertext'] });
  t.equal(codeOf(moved), 'AccessDenied', 'bound to its object');
  const kms = { bucket: 'kms', object: 'a', mode: 'sse-kms', key: 'app-1', context: { team: 'red' } };
  const issued = JSON.parse((await ask('issue', kms)).body.toString()) as Record<string, string>;
  const { mode: _mode, ...known } = kms;
  t.equal((await ask('unwrap', { ...known, ciphertext: issued['ciphertext'] })).status, 200);
  t.equal(
    codeOf(await ask('unwrap', { ...known, context: {}, ciphertext: issued['ciphertext'] })),
    'AccessDenied',
    'bound to its context',
  );

  const items = Array.from({ length: 1000 }, (_, i) => ({
    bucket: 'photos',
    object: `o/${i}`,
    ...(i === 7 ? { mode: 'sse-kms', key: 'secret-key' } : {}),
  }));
  const before = records().length;
  const many = await ask('issue', { items });
  t.equal(many.status, 200);
  const list = (JSON.parse(many.body.toString()) as { items: Record<string, string>[] }).items;
  t.equal(list.length, 1000);
  t.match(list[7], { code: 'AccessDenied' }, 'one that fails stops no other');
  t.equal(new Set(list.map(({ plaintext }) => plaintext)).size, 1000);
  const written = records().slice(before);
  const listed = written.flatMap(
    ({ sello }) => (sello['items'] ?? []) as { bucket: string; object: string }[],
  );
  t.same(
    listed.map(({ object }) => object),
    items.map(({ object }) => object).filter((object) => object !== 'o/7'),
    'each is on record',
  );
  const failed = written.filter(({ event }) => event.outcome === 'failure');
  t.equal(failed.length, 1);
  t.same(failed[0]!.sello, {
    context: { bucket: 'photos', object: 'o/7' },
    decision: 'deny',
    face: 'objects',
    key: 'secret-key',
  });
  const unwrapped = await ask('unwrap', {
    items: list.slice(0, 3).map(({ ciphertext }, i) => ({ ...items[i], ciphertext })),
  });
  const again = (JSON.parse(unwrapped.body.toString()) as { items: Record<string, string>[] }).items;
  t.same(
    again.map(({ plaintext }) => plaintext),
    list.slice(0, 3).map(({ plaintext }) => plaintext),
  );

  const bytes = (
    await ask(
      'issue',
      { items: [item, { ...item, mode: 'sse-kms', key: 'nobody' }] },
      { accept: 'application/octet-stream' },
    )
  ).body;
  t.equal(bytes[0], 0);
  const length = bytes.readUInt16BE(33);
  t.equal(bytes[35 + length], 1);
  t.equal(bytes.subarray(38 + length).toString(), 'KMS.NotFoundException');
  for (const bad of [
    {},
    { items: [] },
    { ...item, extra: 1 },
    { items: Array(1001).fill(item) },
    { bucket: 1, object: 'a' },
  ])
    t.equal(codeOf(await ask('issue', bad)), 'InvalidArgument');
  t.equal(
    codeOf(await site.ask({ method: 'POST', path: '/objects/v1/keys/issue', body: '{"bucket":"a"' })),
    'InvalidArgument',
  );
});

t.test('a stream has two records: before its first byte, and at its end', async (t) => {
  const before = records().length;
  await sealAt(site, Buffer.alloc(1000), { object: 'recorded/1' });
  // The end of a stream is recorded after its answer.
  await within(5_000, () => records().length >= before + 2);
  const [release, end, ...more] = records().slice(before);
  t.same(more, []);
  t.equal(release!.http.request.id, end!.http.request.id);
  t.match(release, {
    event: { action: 'seal', outcome: 'success' },
    sello: { phase: 'release', context: { bucket: 'photos', object: 'recorded/1' }, key: 'sse-key' },
  });
  t.match(end, { sello: { phase: 'end', bytes_in: 1000, bytes_out: 1096, aborted: false } });
  await site.post(
    'seal',
    { bucket: 'limited' },
    { [sse]: 'aws:kms', [`${sse}-aws-kms-key-id`]: 'kms-key' },
    'x',
  );
  t.match(
    records().at(-1),
    { event: { outcome: 'failure' }, error: { code: 'SELLO_SSE_REFUSED' } },
    'a refusal is one too',
  );
});

interface LateDamage {
  readonly got: Buffer;
  readonly message: Buffer;
  readonly code?: number | undefined;
  readonly failed?: boolean;
  readonly sessionLives?: boolean;
  readonly ended?: string;
}

/** Sends sealed bytes that are damaged in their last segment, slowly enough that the answer has begun. */
async function lateDamage(over: 'HTTP/2' | 'HTTP/1.1'): Promise<LateDamage> {
  const message = randomBytes(3 * 131_072 + 10);
  const { envelope, sealed } = await sealAt(site, message);
  sealed[sealed.length - 1]! ^= 1;
  const path = '/objects/v1/open?bucket=photos&object=cats%2F1.jpg';
  const headers = { 'x-sello-envelope': envelope };
  const got: Buffer[] = [];
  if (over === 'HTTP/2') {
    const session = await Session.open(site.as(site.node));
    const stream = session.http2.request({ ':method': 'POST', ':path': path, ...headers });
    let failure: Error | undefined;
    stream.on('error', (error) => (failure = error));
    stream.on('data', (chunk: Buffer) => got.push(chunk));
    stream.write(sealed.subarray(0, 300_000));
    await new Promise((resolve) => stream.once('response', resolve));
    stream.end(sealed.subarray(300_000));
    await new Promise((resolve) => stream.once('close', resolve));
    const others = await session.ask({ method: 'GET', path: '/objects/v1/encryption?bucket=a' });
    const result = {
      code: stream.rstCode,
      failed: failure !== undefined,
      sessionLives: others.status === 200,
    };
    session.close();
    return { ...result, got: Buffer.concat(got), message };
  }
  const ended = await new Promise<string>((resolve) => {
    const request = https.request({
      ...(tlsOptions(site.as(site.node)) as https.RequestOptions),
      port: site.port,
      method: 'POST',
      path,
      headers,
      agent: false,
    });
    request.on('error', () => resolve('failed before an answer'));
    request.on('response', (response) => {
      response.on('data', (chunk: Buffer) => got.push(chunk));
      response.on('end', () => resolve('end'));
      response.on('error', () => resolve('broken'));
      request.end(sealed.subarray(300_000));
    });
    request.write(sealed.subarray(0, 300_000));
  });
  return { ended, got: Buffer.concat(got), message };
}

t.test('damage found late breaks off, and what came until then is authentic', async (t) => {
  // Many times: an end of the data that overtakes the reset is a matter of microseconds.
  for (let i = 0; i < 25; i++) {
    const over2 = await lateDamage('HTTP/2');
    t.equal(over2.code, 2, 'INTERNAL_ERROR');
    t.ok(over2.failed);
    t.ok(over2.sessionLives, 'other requests of the session live on');
    t.ok(
      over2.got.length < over2.message.length &&
        over2.message.subarray(0, over2.got.length).equals(over2.got),
    );
  }
  t.match(
    records().findLast(({ sello }) => sello['phase'] === 'end'),
    { error: { code: 'SELLO_OBJECT_NOT_AUTHENTIC' }, sello: { aborted: true } },
  );
  const over1 = await lateDamage('HTTP/1.1');
  t.equal(over1.ended, 'broken', 'no clean end over HTTP/1.1');
  t.ok(over1.message.subarray(0, over1.got.length).equals(over1.got));
});

t.test('an upload that breaks off is no sealed object, and on record as what it was', async (t) => {
  const seal = async (object: string, headers: Record<string, string>) => {
    const session = await Session.open(site.as(site.node));
    const path = `/objects/v1/seal?bucket=photos&object=${object}`;
    const stream = session.http2.request({ ':method': 'POST', ':path': path, ...headers });
    stream.on('error', () => undefined);
    stream.write(Buffer.alloc(1000));
    await new Promise((resolve) => stream.once('response', resolve));
    return { session, stream };
  };
  const lost = await seal('lost', {});
  lost.session.close();
  // Node's client ends a stream before it resets it: only the length that was promised tells that bytes are missing.
  const reset = await seal('reset', { 'content-length': '5000' });
  reset.stream.close(8);
  for (const object of ['lost', 'reset']) {
    const of = () =>
      records().findLast(
        ({ sello }) => (sello['context'] as { object?: string } | undefined)?.object === object,
      );
    t.ok(await within(5000, () => of()?.sello['phase'] === 'end'), object);
    t.match(of(), { sello: { aborted: true, bytes_in: 1000 } }, object);
  }
  reset.session.close();
});

t.test('an object may take longer than a request, over HTTP/1.1 too; standing still ends it', async (t) => {
  const other = new ObjectSite();
  t.teardown(() => other.remove());
  await other.begin(objectsYaml, {}, 'limits: {requestTimeout: 2s, headersTimeout: 1s, idleTimeout: 3s}\n');
  const slowly = (pauses: readonly number[]) =>
    new Promise<string>((resolve) => {
      const request = https.request({
        ...(tlsOptions(other.as(other.node)) as https.RequestOptions),
        port: other.port,
        method: 'POST',
        path: '/objects/v1/seal?bucket=photos&object=slow',
        agent: false,
      });
      let length = 0;
      request.on('error', () => resolve('broken'));
      request.on('response', (response) => {
        response.on('data', (chunk: Buffer) => (length += chunk.length));
        response.on('end', () => resolve(String(length)));
        response.on('error', () => resolve('broken'));
      });
      void (async () => {
        for (const pause of pauses) {
          request.write(Buffer.alloc(1000));
          await wait(pause);
        }
        request.end();
      })();
    });
  const [steady, still] = await Promise.all([slowly([1200, 1200, 1200, 1200]), slowly([12_000])]);
  t.equal(steady, String(80 + 4000 + 16), 'five seconds, and whole');
  t.equal(still, 'broken');
});

t.test('a record that cannot be written lets nothing out', async (t) => {
  const other = new ObjectSite();
  t.teardown(() => other.remove());
  await other.begin(objectsYaml, { audit: { path: '/dev/full' } });
  for (const path of ['/objects/v1/seal?bucket=a&object=b', '/objects/v1/keys/issue']) {
    const body = path.endsWith('issue') ? '{"bucket":"a","object":"b"}' : 'x';
    const answer = await other.ask({ method: 'POST', path, body });
    t.equal(answer.status, 503, path);
    t.notMatch(answer.body.toString(), /plaintext/);
  }
});

t.test('who is revoked while the envelope is on its way gets no plaintext', async (t) => {
  const other = new ObjectSite();
  t.teardown(() => other.remove());
  await other.begin();
  const sealed = await other.post('seal', { envelope: 'front' }, {}, 'secret plaintext');
  const session = await Session.open(other.as(other.node));
  t.teardown(() => session.close());
  const path = '/objects/v1/open?bucket=photos&object=cats%2F1.jpg&envelope=front';
  const ask = session.http2.request({ ':method': 'POST', ':path': path });
  const got: Buffer[] = [];
  ask.on('error', () => undefined);
  ask.on('data', (chunk: Buffer) => got.push(chunk));
  ask.write(sealed.body.subarray(0, 100));
  await within(3000, () => other.server.runtime.tenants.get('alpha')!.quota.inFlight > 0);
  await other.reload(other.yaml(objectsYaml, { policies: {}, admins: [other.reader.identity] }));
  ask.end(sealed.body.subarray(100));
  const [headers] = (await once(ask, 'response')) as [Record<string, unknown>];
  t.equal(headers[':status'], 403);
  await once(ask, 'end');
  t.notMatch(Buffer.concat(got).toString(), /secret/);
});
