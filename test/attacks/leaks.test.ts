/**
 * Canary keys, data keys, customers' keys and contents go through every route and every failure, at log level trace and with every request
 * traced; then their bytes are looked for in all that the server writes, sends and shows.
 */
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import t, { type Test } from 'tap';
import { adminPrefix, adminRoutes } from '../../src/api/admin/routes.ts';
import { kesRoutes } from '../../src/api/kes/routes.ts';
import { objectRoutes, objectsPrefix } from '../../src/api/objects/routes.ts';
import { copySource, customerHeaders } from '../api/objects/site.ts';
import { OtlpReceiver } from '../telemetry/otlp-receiver.ts';
import { askHttp1, openSocket, pause, Session, type Answer, type Call } from './client.ts';
import { issue } from './pki.ts';
import { listenerYaml, Site, tenantsYaml } from './site.ts';

/** What a secret looks like wherever a program could have put it. */
function spellings(secret: Buffer): Map<string, Buffer> {
  const base64 = secret.toString('base64').replace(/=+$/, '');
  const forms: Record<string, Buffer> = {
    raw: secret,
    hex: Buffer.from(secret.toString('hex')),
    'upper-case hex': Buffer.from(secret.toString('hex').toUpperCase()),
    base64: Buffer.from(base64),
    base64url: Buffer.from(secret.toString('base64url')),
    'list of bytes': Buffer.from(secret.subarray(0, 8).join(',')),
    'reversed list': Buffer.from([...secret.subarray(0, 8)].join(', ')),
    'inside other base64': Buffer.from(secret.subarray(1, 31).toString('base64').slice(0, 39)),
    'inside other base64, shifted': Buffer.from(secret.subarray(2, 32).toString('base64').slice(0, 39)),
  };
  return new Map(Object.entries(forms));
}

class Secrets {
  readonly #known: { what: string; forms: Map<string, Buffer> }[] = [];

  add(what: string, secret: Buffer): Buffer {
    this.#known.push({ what, forms: spellings(secret) });
    return secret;
  }

  /** Where any of them stands in `bytes`. */
  findIn(bytes: Buffer, place: string): string[] {
    const found: string[] = [];
    for (const { what, forms } of this.#known) {
      for (const [form, spelled] of forms)
        if (bytes.includes(spelled)) found.push(`${what} as ${form} in ${place}`);
    }
    return found;
  }

  get size(): number {
    return this.#known.length;
  }
}

const b64 = (bytes: Buffer): string => bytes.toString('base64');

/** Every route of every face is asked, with canaries in all places that a client fills. */
async function everyRoute(
  secrets: Secrets,
  ask: (call: Call, as?: 'admin' | 'stranger') => Promise<Answer>,
): Promise<void> {
  const place = '?bucket=photos&object=a';
  const content = secrets.add('content of an object', randomBytes(256));
  const sealed = await ask({ method: 'POST', path: `/objects/v1/seal${place}`, body: content });
  const envelope = String(sealed.headers['x-sello-envelope']);
  const opened = await ask({
    method: 'POST',
    path: `/objects/v1/open${place}`,
    headers: { 'x-sello-envelope': envelope },
    body: sealed.body,
  });
  if (!opened.body.equals(content)) throw new Error(`not opened: ${String(opened.status)}`);
  const issued = await ask({
    method: 'POST',
    path: '/objects/v1/keys/issue',
    body: JSON.stringify({ bucket: 'photos', object: 'a' }),
  });
  const { plaintext, ciphertext } = JSON.parse(issued.body.toString()) as Record<string, string>;
  secrets.add('data key of an object', Buffer.from(plaintext!, 'base64'));
  const body = (canary: Buffer): string =>
    JSON.stringify({ bucket: 'photos', object: 'a', ciphertext, context: { secret: b64(canary) } });
  for (const route of objectRoutes) {
    const [key, copied, value] = ['key', 'copied key', 'context value'].map((what) =>
      secrets.add(`${what} of ${route.path}`, randomBytes(32)),
    );
    const headers = {
      ...customerHeaders(key!),
      ...customerHeaders(copied!, copySource),
    };
    const path = `${objectsPrefix}${route.path}${place}`;
    const call = { method: route.method, path, ...(route.method === 'POST' ? { body: body(value!) } : {}) };
    await ask(call);
    await ask({ ...call, headers });
    await ask({ ...call, headers: { 'x-sello-envelope': envelope, ...customerHeaders(key!) } });
    await ask(call, 'stranger');
  }
  const refused = secrets.add('bytes for administrators', randomBytes(32));
  for (const route of adminRoutes) {
    const path = adminPrefix + route.path.replace('{key}', 'spare').replace('{version}', '1');
    const text = JSON.stringify({ ciphertexts: [b64(refused)], ciphertext, confirm: b64(refused) });
    const call = { method: route.method, path, ...(route.maxBody > 0 ? { body: text } : {}) };
    await ask(call);
    await ask(call, 'stranger');
  }
  for (const route of kesRoutes)
    await ask({
      method: route.method,
      path: route.path.endsWith('/') ? `${route.path}spare` : route.path,
      body: body(refused),
      headersOnly: true,
    });
}

/** As clients of Vault ask: their plaintexts, data keys, secrets at rest and tokens. */
async function transitFace(
  t: Test,
  secrets: Secrets,
  ask: (call: Call, as?: 'admin' | 'stranger') => Promise<Answer>,
): Promise<void> {
  const post = async (at: string, body: object, token?: string): Promise<Record<string, unknown>> => {
    const headers = token === undefined ? {} : { headers: { 'x-vault-token': token } };
    const call = { method: 'POST', path: `/v1/${at}`, body: JSON.stringify(body), ...headers };
    await ask(call, 'stranger');
    const answer = await ask(call);
    const text = answer.body.toString();
    return { status: answer.status, ...(text === '' ? {} : (JSON.parse(text) as Record<string, unknown>)) };
  };
  const plaintext = secrets.add('plaintext of the Transit face', randomBytes(32));
  const stored = secrets.add('secret in the KV engine', randomBytes(32));
  const wrong = secrets.add('token that is none', randomBytes(32));
  t.match(await post('transit/keys/vaulted', {}), { status: 200 });
  const sealed = await post('transit/encrypt/vaulted', { plaintext: b64(plaintext) });
  const { ciphertext } = sealed['data'] as { ciphertext: string };
  t.match(await post('transit/decrypt/vaulted', { ciphertext }), { data: { plaintext: b64(plaintext) } });
  await post('transit/decrypt/vaulted', { ciphertext: ciphertext.slice(0, -8), plaintext: b64(plaintext) });
  await post('transit/rewrap/vaulted', { ciphertext });
  await post('transit/hmac/vaulted', { input: b64(plaintext) });
  await post('transit/encrypt/vaulted', { plaintext: `${b64(plaintext)}!` });
  await post('transit/encrypt/absent', { plaintext: b64(plaintext), context: '!' });
  const issued = await post('transit/datakey/plaintext/vaulted', {});
  secrets.add(
    'data key of the Transit face',
    Buffer.from((issued['data'] as { plaintext: string }).plaintext, 'base64'),
  );
  t.match(await post('secret/data/database', { data: { password: b64(stored) } }), { status: 200 });
  const read = await ask({ method: 'GET', path: '/v1/secret/data/database' });
  t.ok(read.body.includes(b64(stored)), 'the KV engine keeps it');
  const login = await post('auth/cert/login', {});
  const { client_token: token } = login['auth'] as { client_token: string };
  secrets.add('token', Buffer.from(token));
  t.match(await post('auth/token/renew-self', {}, token), { status: 200 });
  await post('transit/encrypt/vaulted', { plaintext: b64(plaintext) }, wrong.toString('hex'));
}

t.test('no secret is in a log, a record, a trace, a number or an error', { timeout: 40_000 }, async (t) => {
  const admin = issue('admin');
  const site = new Site();
  t.teardown(() => site.remove());
  const receiver = await OtlpReceiver.start(t);
  const root = randomBytes(32);
  site.write('root.key', b64(root));
  await site.start(
    listenerYaml.replace('probes: off', 'probes: 127.0.0.1:0') +
      `log: {level: trace}\naudit: {path: server.jsonl}\ntraces: {url: "${receiver.url}"}\n` +
      tenantsYaml({
        name: 'alpha',
        admins: [admin.identity],
        clients: { auth: 'off', requireClientAuthEku: false },
        keystore: { file: { path: 'keys', rootKey: { file: 'root.key' } } },
        audit: { path: 'alpha.jsonl' },
        objects: { key: 'spare' },
        transit: { certificate: 'enough' },
        keys: ['spare'],
      }),
  );
  const secrets = new Secrets();
  secrets.add('root key', root);
  const canary = secrets.add('imported key', randomBytes(32));
  const refusedCanary = secrets.add('refused import', randomBytes(32));
  const oddCanary = secrets.add('import of a wrong size', randomBytes(48));
  const plaintext = secrets.add('plaintext to encrypt', randomBytes(32));
  const message = secrets.add('message to authenticate', randomBytes(32));
  const session = await Session.open(site.as(admin));
  const stranger = await Session.open(site.as(issue('stranger')));
  const errors: Buffer[] = [];
  const keep = (answer: Answer): Answer => {
    if (answer.status >= 300) errors.push(answer.body, Buffer.from(JSON.stringify(answer.headers)));
    else errors.push(Buffer.from(JSON.stringify(answer.headers)));
    return answer;
  };
  const logs: Buffer[] = [];
  for (const which of ['audit', 'error']) {
    const stream = session.http2.request({ ':path': `/v1/log/${which}` });
    stream.on('data', (chunk: Buffer) => logs.push(chunk));
    stream.on('error', () => undefined);
  }

  const body = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value));
  const overBoth = async (call: Call, as: 'admin' | 'stranger' = 'admin'): Promise<Answer> => {
    keep(
      await askHttp1(site.as(as === 'admin' ? admin : undefined), call).catch(() => ({
        status: 200,
        headers: {},
        body: Buffer.alloc(0),
      })),
    );
    return keep(await (as === 'admin' ? session : stranger).ask(call));
  };
  const put = (at: string, value: unknown): Promise<Answer> =>
    overBoth({ method: 'PUT', path: at, body: body(value) });

  await put('/v1/key/import/canary', { key: b64(canary), cipher: 'AES256' });
  await put('/v1/key/import/canary', { key: b64(refusedCanary), cipher: 'AES256' });
  await put('/v1/key/import/canary-2', { bytes: b64(canary), algorithm: 'XCHACHA20-POLY1305' });
  await put('/v1/key/import/odd', { key: b64(oddCanary), cipher: 'AES256' });
  await put('/v1/key/import/odd', { key: b64(refusedCanary), cipher: 'ROT13' });
  await put('/v1/key/import/odd', { key: `${b64(refusedCanary)}!`, cipher: 'AES256' });
  await put('/v1/key/import/odd', `{"key":"${b64(refusedCanary)}"`);
  await put('/v1/key/import/odd', `{"key":"${b64(refusedCanary)}","cipher":"AES256"}}}`);
  await put(`/v1/key/import/${'n'.repeat(81)}`, { key: b64(refusedCanary), cipher: 'AES256' });
  await overBoth(
    {
      method: 'PUT',
      path: '/v1/key/import/stolen',
      body: body({ key: b64(refusedCanary), cipher: 'AES256' }),
    },
    'stranger',
  );
  await overBoth({ method: 'GET', path: '/v1/key/import/canary', body: body({ key: b64(refusedCanary) }) });
  const post = (at: string, value: unknown): Promise<Answer> =>
    overBoth({ method: 'POST', path: `/admin/v1/keys/${at}`, body: body(value) });
  t.equal(
    (await post('canary-3/import', { key: b64(canary), cipher: 'AES256' })).status,
    409,
    'made over HTTP/1.1',
  );
  t.equal((await post('odd/import', { key: b64(oddCanary), cipher: 'AES256' })).status, 400);
  await post('odd/import', { key: b64(refusedCanary), cipher: 'ROT13' });
  await post('odd/import', { key: `${b64(refusedCanary)}!`, cipher: 'AES256' });
  await post('odd/import', `{"key":"${b64(refusedCanary)}"`);
  await post(`${'n'.repeat(81)}/import`, { key: b64(refusedCanary), cipher: 'AES256' });
  await post('odd/create', { key: b64(refusedCanary) });
  await post('canary-3/rotate', { key: b64(refusedCanary) });
  await overBoth({ method: 'PUT', path: '/v1/no/route', body: body({ key: b64(refusedCanary) }) });

  const sealed = JSON.parse(
    (await put('/v1/key/encrypt/canary', { plaintext: b64(plaintext), context: 'YQ==' })).body.toString(),
  ) as { ciphertext: string };
  await put('/v1/key/encrypt/absent', { plaintext: b64(plaintext) });
  await put('/v1/key/encrypt/canary', `{"plaintext":"${b64(plaintext)}","context":1}`);
  await put('/v1/key/hmac/canary', { message: b64(message) });
  await put('/v1/key/hmac/absent', { message: b64(message) });
  await put('/v1/key/hmac/canary', `{"message":"${b64(message)}"`);
  for (let i = 0; i < 20; i++) {
    const issued = JSON.parse(
      (
        await session.ask({ method: 'PUT', path: '/v1/key/generate/canary', body: '{"context":"YQ=="}' })
      ).body.toString(),
    ) as {
      plaintext: string;
      ciphertext: string;
    };
    secrets.add(`data key ${i}`, Buffer.from(issued.plaintext, 'base64'));
    const opened = await put('/v1/key/decrypt/canary', { ciphertext: issued.ciphertext, context: 'YQ==' });
    t.equal((JSON.parse(opened.body.toString()) as { plaintext: string }).plaintext, issued.plaintext);
    await put('/v1/key/decrypt/canary', { ciphertext: issued.ciphertext, context: 'Yg==' });
    await put('/v1/key/decrypt/canary-2', { ciphertext: issued.ciphertext, context: 'YQ==' });
    await overBoth({
      method: 'POST',
      path: '/v1/key/bulk/decrypt/canary',
      body: body([{ ciphertext: issued.ciphertext, context: 'YQ==' }]),
    });
    await overBoth({
      method: 'POST',
      path: '/v1/key/bulk/decrypt/canary',
      body: body([{ ciphertext: issued.ciphertext }, { ciphertext: 'AAAA' }]),
    });
  }
  const mac = JSON.parse((await put('/v1/key/hmac/canary', { message: b64(message) })).body.toString()) as {
    hmac: string;
  };
  secrets.add('authentication code', Buffer.from(mac.hmac, 'base64'));
  await put('/v1/key/decrypt/canary', { ciphertext: sealed.ciphertext, context: 'YQ==' });
  await everyRoute(secrets, overBoth);
  await transitFace(t, secrets, overBoth);
  // Clients that go away in the middle, and bodies that break off.
  for (const fields of ['Content-Length: 500\r\n', 'Transfer-Encoding: chunked\r\n']) {
    const socket = await openSocket(site.as(admin), 'http/1.1');
    socket.write(`PUT /v1/key/import/broken HTTP/1.1\r\nHost: x\r\n${fields}\r\n`);
    socket.write(
      fields.includes('chunked')
        ? `50\r\n{"key":"${b64(refusedCanary)}"\r\nzz\r\n`
        : `{"key":"${b64(refusedCanary)}"`,
    );
    await pause(50);
    socket.destroy();
  }
  for (const at of [
    '/v1/key/describe/canary',
    '/v1/key/list/*',
    '/v1/status',
    '/v1/metrics',
    '/v1/api',
    '/version',
    '/v1/identity/self/describe',
  ]) {
    const answer = await overBoth({ method: 'GET', path: at });
    errors.push(answer.body);
  }
  await overBoth({ method: 'DELETE', path: '/v1/key/delete/canary' });
  const scraped = await new Promise<Buffer>((resolve, reject) => {
    http
      .get({ host: '127.0.0.1', port: site.server.probePort!, path: '/metrics' }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve(Buffer.concat(chunks)));
      })
      .on('error', reject);
  });
  await pause(100);
  session.close();
  stranger.close();
  await site.server.stop();
  await pause(100);

  const found = [
    ...secrets.findIn(Buffer.concat(errors), 'answers'),
    ...secrets.findIn(scraped, 'metrics'),
    ...secrets.findIn(Buffer.concat(receiver.bodies), 'traces'),
    ...secrets.findIn(Buffer.concat(logs), 'log streams'),
  ];
  const files = readdirSync(site.folder, { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile() && entry.name !== 'root.key',
  );
  for (const { parentPath, name } of files)
    found.push(...secrets.findIn(readFileSync(path.join(parentPath, name)), name));
  t.same(found, [], 'nothing is found');
  t.equal(secrets.size, 27 + 3 * objectRoutes.length + 3 + 5);
  const traced = new Set(receiver.spans.map(({ attributes }) => attributes['http.route']));
  const routes = [
    ...adminRoutes.map((route) => adminPrefix + route.path),
    ...objectRoutes.map((route) => objectsPrefix + route.path),
    ...kesRoutes.map((route) => route.path),
  ];
  t.same(
    routes.filter((route) => !traced.has(route)),
    [],
    'every route has been asked, and traced',
  );
  const names = files.map(({ name }) => name);
  for (const name of ['sello.log', 'alpha.jsonl', 'server.jsonl'])
    t.ok(names.includes(name), `${name} was looked through`);
  t.match(
    readFileSync(site.file('alpha.jsonl'), 'utf8'),
    /canary/,
    'the records tell of the key by its name',
  );
  const seeing = new Secrets();
  seeing.add('planted', canary);
  t.equal(
    seeing.findIn(Buffer.from(`x${b64(canary)}y`), 'a text').length > 0,
    true,
    'the search sees what is there',
  );
});
