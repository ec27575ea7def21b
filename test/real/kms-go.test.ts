/** MinIO's own client library against Sello: what it returns to Go code, error constants by `==` included. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { createApiKey, createAuthority } from './certificates.ts';
import { KmsGo, kmsGoLoad, type Page } from './kmsgo.ts';
import { Sello } from './sello.ts';
import { needTools } from './tools.ts';

const tool = await needTools(t, 'kmsgo');
if (tool !== undefined) {
  const folder = await mkdtemp(join(tmpdir(), 'sello-kms-go-'));
  const authority = await createAuthority(join(folder, 'certs'));
  const appKey = createApiKey();
  const nodeCertificate = await authority.issue('node', 'client');
  const appPolicy = {
    allow: [
      '/v1/key/create/app-*',
      '/v1/key/generate/app-*',
      '/v1/key/decrypt/app-*',
      '/v1/key/describe/app-*',
      '/v1/identity/self/describe',
    ],
    deny: ['/v1/key/create/app-forbidden*'],
    identities: [appKey.identity],
  };
  const sello = await Sello.start({
    folder,
    authority,
    policies: {
      app: appPolicy,
      node: { allow: ['/v1/status', '/v1/key/*'], identities: [nodeCertificate.identity] },
    },
  });
  const connect = (credential: ConstructorParameters<typeof KmsGo>[0]['credential']): KmsGo =>
    new KmsGo({ program: tool.kmsgo, endpoint: sello.endpoint, ca: authority.ca, credential });
  const admin = connect({ apiKey: sello.admin.text });
  const app = connect({ apiKey: appKey.text });
  const node = connect(nodeCertificate);
  const stranger = connect({ apiKey: createApiKey().text });

  t.teardown(async () => {
    await Promise.all([admin, app, node, stranger].map((client) => client.close()));
    await sello.stop();
    await rm(folder, { recursive: true, force: true });
  });

  t.test('says who and how it is', async (t) => {
    t.match(await admin.ok('version'), /\S/);
    const status = await admin.ok<Record<string, unknown>>('status');
    t.equal(status['os'], process.platform);
    t.equal(status['num_cpu'] !== 0, true);
    t.notOk(status['keystore_unreachable']);
    t.equal(await admin.ok('ready'), true);
    const apis =
      await admin.ok<{ method: string; path: string; max_body: number; timeout: number }[]>('apis');
    const generate = apis.find((api) => api.path.startsWith('/v1/key/generate/'));
    t.match(generate, { method: 'PUT', max_body: 1_000_000, timeout: 15 });
    t.equal(apis.length, 22, 'as many routes as KES has');
  });

  t.test('creates a key once', async (t) => {
    await admin.ok('create', { name: 'once' });
    t.match(await admin.fails('create', { name: 'once' }), { status: 400, is: 'ErrKeyExists' });
    const described = await admin.ok<Record<string, string>>('describe', { name: 'once' });
    t.match(described, { name: 'once', algorithm: 'AES256', createdBy: sello.admin.identity });
    t.ok(Math.abs(Date.now() - Date.parse(described['createdAt']!)) < 60_000, 'created a moment ago');
  });

  t.test('opens what it issued, with the same context only', async (t) => {
    await admin.ok('create', { name: 'data' });
    const context = base64('{"bucket":"bucket/object"}');
    const dataKey = await admin.ok<{ plaintext: string; ciphertext: string }>('generate', {
      name: 'data',
      context,
    });
    t.equal(Buffer.from(dataKey.plaintext, 'base64').length, 32);
    const { plaintext, ciphertext } = dataKey;
    t.equal(await admin.ok('decrypt', { name: 'data', ciphertext, context }), plaintext);
    const again = await admin.ok<{ plaintext: string }>('generate', { name: 'data', context });
    t.not(again.plaintext, plaintext, 'every data key is new');

    const wrong = [{ context: base64('{"bucket":"bucket/other"}') }, {}];
    for (const call of wrong) {
      t.match(await admin.fails('decrypt', { name: 'data', ciphertext, ...call }), {
        status: 400,
        is: 'ErrDecrypt',
      });
    }
    const bytes = Buffer.from(ciphertext, 'base64');
    bytes[0]! ^= 1;
    const changed = bytes.toString('base64');
    t.match(await admin.fails('decrypt', { name: 'data', ciphertext: changed, context }), {
      is: 'ErrDecrypt',
    });
    await admin.ok('create', { name: 'data-2' });
    t.match(await admin.fails('decrypt', { name: 'data-2', ciphertext, context }), { is: 'ErrDecrypt' });
  });

  t.test('encrypts what it is given, empty and large', async (t) => {
    await admin.ok('create', { name: 'enc' });
    for (const size of [0, 1, 32, 500_000]) {
      const plaintext = randomBytes(size).toString('base64');
      const ciphertext = await admin.ok<string>('encrypt', { name: 'enc', plaintext });
      t.equal(
        Buffer.from(ciphertext, 'base64').length,
        size + 44,
        `${String(size)} bytes: 44 longer, as KES's`,
      );
      t.equal((await admin.ok<string>('decrypt', { name: 'enc', ciphertext })) ?? '', plaintext);
    }
    const tooLarge = randomBytes(1_000_000).toString('base64');
    t.match(await admin.fails('encrypt', { name: 'enc', plaintext: tooLarge }), { status: 400 });
    t.equal(await admin.ok('ready'), true, 'serves on');
  });

  t.test('imports a key of the caller', async (t) => {
    for (const algorithm of ['AES256', 'ChaCha20']) {
      const name = `imported-${algorithm}`;
      const material = randomBytes(32).toString('base64');
      await admin.ok('import', { name, plaintext: material, algorithm });
      t.match(await admin.ok('describe', { name }), { algorithm });
      const ciphertext = await admin.ok<string>('encrypt', { name, plaintext: base64('seal') });
      t.equal(await admin.ok('decrypt', { name, ciphertext }), base64('seal'));
      // The same bytes under a second name are the same key.
      await admin.ok('import', { name: `${name}-2`, plaintext: material, algorithm });
      t.equal(await admin.ok('decrypt', { name: `${name}-2`, ciphertext }), base64('seal'));
      t.match(await admin.fails('import', { name, plaintext: material, algorithm }), { is: 'ErrKeyExists' });
    }
    const short = randomBytes(31).toString('base64');
    t.match(await admin.fails('import', { name: 'short', plaintext: short, algorithm: 'AES256' }), {
      status: 406,
    });
  });

  t.test('computes the same HMAC each time', async (t) => {
    await admin.ok('create', { name: 'mac' });
    const first = await admin.ok<string>('hmac', { name: 'mac', plaintext: base64('message') });
    t.equal(Buffer.from(first, 'base64').length, 32);
    t.equal(await admin.ok('hmac', { name: 'mac', plaintext: base64('message') }), first);
    t.not(await admin.ok('hmac', { name: 'mac', plaintext: base64('other') }), first);
  });

  t.test('a deleted key is gone for every call', async (t) => {
    await admin.ok('create', { name: 'short-lived' });
    const dataKey = await admin.ok<{ ciphertext: string }>('generate', { name: 'short-lived' });
    await admin.ok('delete', { name: 'short-lived' });
    const name = 'short-lived';
    for (const op of ['describe', 'generate', 'delete'] as const) {
      t.match(await admin.fails(op, { name }), { status: 404, is: 'ErrKeyNotFound' }, op);
    }
    t.match(await admin.fails('decrypt', { name, ciphertext: dataKey.ciphertext }), { is: 'ErrKeyNotFound' });
    t.match(await admin.fails('encrypt', { name, plaintext: base64('x') }), { is: 'ErrKeyNotFound' });
    t.match(await admin.fails('hmac', { name, plaintext: base64('x') }), { is: 'ErrKeyNotFound' });
    await admin.ok('create', { name });
    t.match(
      await admin.fails('decrypt', { name, ciphertext: dataKey.ciphertext }),
      { is: 'ErrDecrypt' },
      'a new key',
    );
  });

  t.test('refuses names that KES refuses', async (t) => {
    for (const name of ['bad name', 'dot.ted', 'x'.repeat(81), '-dash']) {
      const error = await admin.fails('create', { name });
      t.equal(error.status, 400, name);
      t.match(error.message, /^key name '.*' is empty, too long or contains invalid characters$/);
    }
  });

  t.test('a policy decides, deny first', async (t) => {
    await app.ok('create', { name: 'app-1' });
    const context = base64('{}');
    const dataKey = await app.ok<{ plaintext: string; ciphertext: string }>('generate', {
      name: 'app-1',
      context,
    });
    const opened = await app.ok('decrypt', { name: 'app-1', ciphertext: dataKey.ciphertext, context });
    t.equal(opened, dataKey.plaintext);
    t.match(await app.ok('describe', { name: 'app-1' }), { createdBy: appKey.identity });

    const denied: [string, Parameters<KmsGo['call']>[1]][] = [
      ['create', { name: 'app-forbidden-1' }],
      ['create', { name: 'other' }],
      ['delete', { name: 'app-1' }],
      ['encrypt', { name: 'app-1', plaintext: base64('x') }],
      ['hmac', { name: 'app-1', plaintext: base64('x') }],
      ['list', {}],
      ['status', {}],
      ['metrics', {}],
      ['policies', {}],
      ['identities', {}],
      ['audit', { n: 1 }],
    ];
    for (const [op, call] of denied) {
      t.match(await app.fails(op, call), { status: 403, is: 'ErrNotAllowed' }, `${op} ${call?.name ?? ''}`);
    }
    t.match(
      await app.fails('generate', { name: 'absent' }),
      { is: 'ErrNotAllowed' },
      'not even that it is absent',
    );
  });

  t.test('a client certificate is as good as an API key', async (t) => {
    await node.ok('create', { name: 'node-1' });
    const { plaintext, ciphertext } = await node.ok<{ plaintext: string; ciphertext: string }>('generate', {
      name: 'node-1',
    });
    t.equal(await node.ok('decrypt', { name: 'node-1', ciphertext }), plaintext);
    t.match(await node.ok('describe', { name: 'node-1' }), { createdBy: nodeCertificate.identity });
    t.ok(await node.ok('status'));
    t.match(await node.fails('metrics'), { is: 'ErrNotAllowed' });
  });

  t.test('an identity that nobody named may do nothing but look at itself and the version', async (t) => {
    t.match(await stranger.ok('version'), /\S/);
    for (const op of ['status', 'list', 'metrics', 'apis'] as const) {
      t.match(await stranger.fails(op), { is: 'ErrNotAllowed' }, op);
    }
    t.match(await stranger.fails('generate', { name: 'once' }), { is: 'ErrNotAllowed' });
  });

  t.test('tells policies and identities', async (t) => {
    t.same(await admin.ok<Page>('policies'), { names: ['app', 'node'], continue: '' });
    const policy = await admin.ok<{ allow: object; deny: object }>('policy', { name: 'app' });
    t.same(Object.keys(policy.allow).sort(), [...appPolicy.allow].sort());
    t.same(Object.keys(policy.deny), appPolicy.deny);
    t.match(await admin.ok('describe-policy', { name: 'app' }), { name: 'app' });
    t.match(await admin.fails('policy', { name: 'nobody' }), { status: 404, is: 'ErrPolicyNotFound' });

    const identities = await admin.ok<Page>('identities');
    const everyone = [sello.admin.identity, appKey.identity, nodeCertificate.identity].sort();
    t.same([...identities.names].sort(), everyone);
    t.match(await admin.ok('identity', { name: appKey.identity }), { admin: false, policy: 'app' });
    t.match(await admin.ok('identity', { name: sello.admin.identity }), { admin: true });
    t.match(await admin.fails('identity', { name: '0'.repeat(64) }), {
      status: 404,
      is: 'ErrIdentityNotFound',
    });

    t.match(await admin.ok('self'), { identity: sello.admin.identity, admin: true });
    const self = await app.ok<{ identity: string; allow: object }>('self');
    t.match(self, { identity: appKey.identity, admin: false });
    t.same(Object.keys(self.allow).sort(), [...appPolicy.allow].sort());
  });

  t.test('lists more than one page of keys without losing one', async (t) => {
    const made = Array.from({ length: 1_150 }, (_, i) => `page-${String(i).padStart(4, '0')}`);
    const atOnce = 50;
    for (let i = 0; i < made.length; i += atOnce) {
      await Promise.all(made.slice(i, i + atOnce).map((name) => admin.ok('create', { name })));
    }
    const first = await admin.ok<Page>('list', { name: 'page' });
    t.equal(first.names.length, 1024);
    const second = await admin.ok<Page>('list', { name: first.continue });
    t.same([...first.names, ...second.names], made, 'two pages hold every key once');
    t.equal(second.continue, '');
    t.same(await admin.ok('walk', { name: 'page' }), made, "the library's own iterator too");
    const everything = await admin.ok<string[]>('walk', { name: '' });
    t.ok(everything.includes('once') && everything.includes('page-1149'), 'and without a prefix');
    const some = made.filter((name) => name.startsWith('page-11'));
    t.same(
      await admin.ok<Page>('list', { name: 'page-11*' }),
      { names: some, continue: '' },
      'a last star is understood',
    );
  });

  t.test('metrics are read by the library and count', async (t) => {
    interface Counts {
      ok: number;
      err: number;
      cpus: number;
      buckets: number;
      upTimeNs: number;
    }
    const before = await admin.ok<Counts>('metrics');
    t.ok(before.cpus > 0 && before.upTimeNs > 0 && before.buckets > 0);
    for (let i = 0; i < 5; i++) await admin.ok('generate', { name: 'once' });
    await admin.fails('generate', { name: 'absent' });
    const after = await admin.ok<Counts>('metrics');
    t.ok(after.ok - before.ok >= 5, 'successes');
    t.ok(after.err - before.err >= 1, 'errors');
  });

  t.test('streams what happens, denials too', async (t) => {
    const watching = admin.call<{ path: string; identity: string; status: number; ip: string }[]>('audit', {
      name: '/watched',
      n: 3,
    });
    // The stream has no word for "open": act until it has seen enough.
    let over = false;
    void watching.finally(() => (over = true));
    for (let round = 0; round < 60 && !over; round++) {
      await admin.call('create', { name: 'watched' });
      await admin.call('generate', { name: 'watched' });
      await stranger.call('generate', { name: 'watched' });
      await sleep(50);
    }
    const { value: events, error } = await watching;
    t.equal(error, undefined);
    t.ok(
      events.some((e) => e.path === '/v1/key/generate/watched' && e.status === 200 && e.ip === '127.0.0.1'),
    );
    t.ok(events.some((e) => e.status === 403 && e.identity !== sello.admin.identity));
  });

  t.test('answers every request of 32 busy callers', async (t) => {
    await admin.ok('create', { name: 'busy' });
    const { ca } = authority;
    for (const operation of ['generate', 'decrypt'] as const) {
      const options = { name: 'busy', operation, callers: 32, clients: 1, seconds: 1.5 };
      const result = await kmsGoLoad(
        { program: tool.kmsgo, endpoint: sello.endpoint, ca, credential: nodeCertificate },
        options,
      );
      t.same(result.errors, {}, `${operation}: none failed`);
      t.ok(result.requests > 500, `${operation}: ${String(result.requests)} answered`);
    }
  });

  t.test('no secret is in what the server wrote', async (t) => {
    const context = base64('{"secret-context":"yes"}');
    const { plaintext } = await admin.ok<{ plaintext: string }>('generate', { name: 'once', context });
    const output = await sello.output();
    t.notMatch(output, plaintext);
    t.notMatch(output, 'secret-context');
    t.notMatch(output, appKey.text);
    t.match(output, '/v1/key/generate/once', 'but the call itself is');
  });
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}
