/** How the client finds, keeps and changes connections. The servers are small and real: TLS, HTTP/2 and HTTP/1.1 sockets. */
import t, { type Test } from 'tap';
import { ClientError, type ClientOptions, ConnectionError, createClient } from '../../src/client/index.ts';
import { closedPort } from '../cli/seeded-server.ts';
import { type Reply, adminCredentials, serverCertificate, startWireServer } from './wire-server.ts';

const version: Reply = { status: 200, body: '{"version":"v","commit":"c"}\n' };

function client(t: Test, endpoints: string[], more: Partial<ClientOptions> = {}) {
  const made = createClient({
    endpoints,
    ...adminCredentials,
    insecure: true,
    retryDelayMs: [1, 2],
    ...more,
  });
  t.teardown(() => made.close());
  return made;
}

async function server(t: Test, ...args: Parameters<typeof startWireServer>) {
  const started = await startWireServer(...args);
  t.teardown(() => started.close());
  return started;
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

void t.test('speaks HTTP/2 over one shared connection', async (t) => {
  const wire = await server(t, () => version);
  const kes = client(t, [wire.endpoint]);
  await Promise.all(Array.from({ length: 20 }, () => kes.version()));
  t.equal(wire.connections(), 1);
  t.same(new Set(wire.heard.map(({ protocol }) => protocol)), new Set(['2.0']));
});

void t.test('falls back to HTTP/1.1 where the server offers nothing else', async (t) => {
  const wire = await server(t, ({ path }) => (path === '/version' ? version : { status: 200 }), 'http/1.1');
  const kes = client(t, [wire.endpoint]);
  t.equal((await kes.version()).version, 'v');
  await kes.createKey('a');
  t.same(
    wire.heard.map(({ method, path, protocol }) => [method, path, protocol]),
    [
      ['GET', '/version', '1.1'],
      ['PUT', '/v1/key/create/a', '1.1'],
    ],
  );
});

void t.test(
  'opens a new connection after the server said good-bye, and loses no request over it',
  async (t) => {
    const wire = await server(t, () => version);
    const kes = client(t, [wire.endpoint]);
    await kes.version();
    wire.goAway();
    await new Promise((resolve) => setImmediate(resolve));
    for (let i = 0; i < 5; i++) t.equal((await kes.version()).version, 'v');
    t.equal(wire.connections(), 2);
  },
);

void t.test('tries twice more when the connection breaks', async (t) => {
  const wire = await server(t, (_request, number) => (number < 3 ? { status: 0, reset: true } : version));
  t.equal((await client(t, [wire.endpoint]).version()).version, 'v');
  t.equal(wire.heard.length, 3);
});

void t.test('gives up after the third broken connection', async (t) => {
  const wire = await server(t, () => ({ status: 0, reset: true }));
  await t.rejects(client(t, [wire.endpoint]).version(), { name: 'ConnectionError', endpoint: wire.endpoint });
  t.equal(wire.heard.length, 3);
});

void t.test('tries twice more on 503, and on no other status', async (t) => {
  for (const [status, tries] of [
    [503, 3],
    [500, 1],
    [502, 1],
    [504, 1],
    [429, 1],
    [403, 1],
  ] as const) {
    // prettier-ignore
    const wire = await server(t, () => ({ status, body: '{"message":"no"\n}' }));
    await t.rejects(client(t, [wire.endpoint]).version(), { name: 'ClientError', status, message: 'no' });
    t.equal(wire.heard.length, tries, `status ${String(status)}`);
  }
});

void t.test('sends the same body again when it tries again', async (t) => {
  const wire = await server(t, (_request, number) =>
    number === 1 ? { status: 503 } : { status: 200, body: '{"ciphertext":"AAEC"}\n' },
  );
  const ciphertext = await client(t, [wire.endpoint]).encrypt('k', Buffer.from('Hello'), Buffer.from('ctx'));
  t.same(ciphertext, Buffer.from([0, 1, 2]));
  t.equal(wire.heard[0]!.body, '{"plaintext":"SGVsbG8=","context":"Y3R4"}');
  t.equal(wire.heard[1]!.body, wire.heard[0]!.body);
});

void t.test('asks another endpoint when one is down, and leaves that one alone for 30 s', async (t) => {
  let nowMs = 1_000_000;
  const bad = await server(t, () => ({ status: 503, body: '{"message":"busy"}' }));
  const good = await server(t, () => version);
  const kes = client(t, [bad.endpoint, good.endpoint], { now: () => nowMs });
  for (let i = 0; i < 20; i++) await kes.version();
  t.ok(bad.heard.length <= 1, `asked ${String(bad.heard.length)} times`);
  const before = bad.heard.length;
  nowMs += 30_001;
  for (let i = 0; i < 40; i++) await kes.version();
  // Each of the 40 picks at random until the bad one is met: none of them all misses it but once in 2^40.
  t.equal(bad.heard.length, before + 1, 'asked again once, then left alone again');
});

void t.test('asks another endpoint when nothing listens at one', async (t) => {
  const good = await server(t, () => version);
  const kes = client(t, [`127.0.0.1:${String(await closedPort())}`, good.endpoint]);
  for (let i = 0; i < 10; i++) t.equal((await kes.version()).version, 'v');
});

void t.test('a refusal of one endpoint is the answer: the other is not asked', async (t) => {
  const refusing = await server(t, () => ({ status: 403, body: '{"message":"not authorized"}' }));
  const other = await server(t, () => ({ status: 403, body: '{"message":"not authorized"}' }));
  await t.rejects(client(t, [refusing.endpoint, other.endpoint]).version(), {
    name: 'ClientError',
    status: 403,
  });
  t.equal(refusing.heard.length + other.heard.length, 1);
});

void t.test('ends a request that is not answered in time', async (t) => {
  const wire = await server(t, () => ({ status: 0, silent: true }));
  const kes = client(t, [wire.endpoint], { timeoutMs: 50 });
  await t.rejects(kes.version(), { name: 'ConnectionError', code: 'SELLO_TIMEOUT' });
  t.equal(wire.heard.length, 3);
});

void t.test('refuses a server whose certificate it does not trust, without trying again', async (t) => {
  const wire = await server(t, () => version);
  const error = await client(t, [wire.endpoint], { insecure: false })
    .version()
    .catch((e: unknown) => e);
  t.ok(error instanceof ConnectionError && error.untrusted, String(error));
  t.equal(wire.heard.length, 0);
});

void t.test('trusts a server by the CA it is given', async (t) => {
  const wire = await server(t, () => version);
  const kes = client(t, [wire.endpoint], { insecure: false, ca: serverCertificate });
  t.equal((await kes.version()).version, 'v');
});

void t.test('reads error bodies as KES clients do', async (t) => {
  const cases: [Partial<Reply>, string][] = [
    [{ body: '{"message":"m"\n}' }, 'm'],
    [{ body: '{"message":"m","error":"e"}' }, 'e'],
    [{ body: '{"message":"m"}', contentType: 'application/json; charset=utf-8' }, 'm'],
    [{ body: '404 page not found\n', contentType: 'text/plain' }, '404 page not found'],
    [{ body: '<html>', contentType: 'application/json' }, '<html>'],
    [{ body: '' }, 'status 400'],
  ];
  for (const [reply, message] of cases) {
    const wire = await server(t, () => ({ status: 400, ...reply }));
    await t.rejects(client(t, [wire.endpoint]).version(), new ClientError(400, message));
  }
});

void t.test('an answer that is no answer of this API is an error', async (t) => {
  for (const body of ['', 'null', '[]', '{"version":', '<html>']) {
    const wire = await server(t, () => ({ status: 200, body }));
    await t.rejects(client(t, [wire.endpoint]).version(), { name: 'ClientError', status: 502 }, body);
  }
});

void t.test('follows pages by the token the server gives, and ends when a server repeats one', async (t) => {
  const pages: Record<string, string> = {
    '/v1/key/list/%2A': '{"names":["a","b"],"continue_at":"-t/1"}',
    '/v1/key/list/-t%2F1': '{"names":["c"],"continue_at":"-t/2"}',
    '/v1/key/list/-t%2F2': '{"names":["d"],"continue_at":"-t/2"}',
  };
  const wire = await server(t, ({ path }) => ({ status: 200, body: pages[path] ?? '{"names":null}' }));
  t.same(await all(client(t, [wire.endpoint]).listKeys()), ['a', 'b', 'c', 'd']);
  t.same(await all(client(t, [wire.endpoint]).listKeys('none')), []);
});

void t.test('knows the shapes of self/describe that servers have sent', async (t) => {
  const at = '"identity":"ab","created_at":"2026-01-01T00:00:00Z"';
  const shapes = [
    `{${at},"policy":"p","allow":{"/v1/x":{}},"deny":{}}`,
    `{${at},"policy":{"name":"p","allow":{"/v1/x":{}},"deny":{}}}`,
    `{${at},"policy_name":"p","policy":{"allow":["/v1/x"]}}`,
  ];
  for (const body of shapes) {
    const wire = await server(t, () => ({ status: 200, body }));
    const self = await client(t, [wire.endpoint]).describeSelf();
    t.match(self, { identity: 'ab', admin: false, policy: 'p' });
    t.same(self.allow, ['/v1/x']);
    t.same(self.deny, []);
  }
});

void t.test('refuses names that would change the path', async (t) => {
  const wire = await server(t, () => ({ status: 200 }));
  const kes = client(t, [wire.endpoint]);
  for (const name of ['', '.', '..'])
    await t.rejects(kes.createKey(name), { name: 'ClientError', status: 400 });
  t.equal(wire.heard.length, 0);
  await kes.createKey('a/../b?c#d');
  t.equal(wire.heard[0]!.path, '/v1/key/create/a%2F..%2Fb%3Fc%23d');
});

void t.test('refuses options it cannot use', (t) => {
  const wrong: [Partial<ClientOptions> & { endpoints: string[] }, RegExp][] = [
    [{ endpoints: [], ...adminCredentials }, /at least one endpoint/],
    [{ endpoints: ['a:1'] }, /apiKey, or certPem/],
    [{ endpoints: ['a:1'], apiKey: 'kes:v1:x', ...adminCredentials }, /not both/],
    [{ endpoints: ['http://a:1'], ...adminCredentials }, /must use https/],
    [{ endpoints: ['a:99999'], ...adminCredentials }, /form host:port/],
    [{ endpoints: ['https://a:1/path'], ...adminCredentials }, /form host:port/],
  ];
  for (const [options, message] of wrong)
    t.throws(() => createClient(options), { name: 'TypeError', message });
  t.throws(() => createClient({ endpoints: ['a:1'], apiKey: 'kes:v1:x' }), { code: 'SELLO_API_KEY_INVALID' });
  t.end();
});
