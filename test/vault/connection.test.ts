/** What each of Vault's refusals means and leads to; deadlines, addresses, connections. Scripted where a real Vault cannot be made to. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { correlation } from '../../src/correlation.ts';
import type { VaultConfig } from '../../src/config/model.ts';
import { pathOf, VaultConnection, VaultError } from '../../src/vault/index.ts';
import { vaultConfig } from './configs.ts';
import { FakeVault, type FakeAnswer } from './fake-vault.ts';

const value: FakeAnswer = {
  status: 200,
  body: { request_id: '11111111-2222-3333-4444-555555555555', data: { x: 'y' } },
};
const path = pathOf('kv/data/k');

async function connect(
  t: Test,
  fakes: readonly FakeVault[],
  change: Partial<VaultConfig> = {},
): Promise<VaultConnection> {
  const config = vaultConfig(
    { address: '', rootToken: 'token-of-the-test' },
    { addresses: fakes.map(({ address }) => address), login: { method: 'none' }, ...change },
  );
  const connection = await VaultConnection.open(config);
  t.teardown(() => connection.close());
  return connection;
}

const withToken = (fake: FakeVault): Partial<VaultConfig> => ({
  addresses: [fake.address],
  login: vaultConfig({ address: fake.address, rootToken: 'token-of-the-test' }).login,
});

async function failureOf(call: Promise<unknown>): Promise<VaultError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof VaultError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

async function until(what: () => Promise<boolean> | boolean, withinMs = 20_000): Promise<boolean> {
  const endMs = Date.now() + withinMs;
  while (Date.now() < endMs) {
    if (await what()) return true;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}

t.test('answers are told apart', async (t) => {
  const empty = { errors: [] };
  const says = (...errors: string[]) => ({ errors });
  const table: [claim: string, answer: FakeAnswer, problem: string, code: string][] = [
    ['nothing there', { status: 404, body: empty }, 'absent', 'SELLO_STORE_FAILED'],
    [
      'a deleted version',
      { status: 404, body: { data: { data: null, metadata: {} } } },
      'deleted',
      'SELLO_STORE_FAILED',
    ],
    [
      'no engine there',
      { status: 404, body: says('no handler for route "kv/data/k". route entry not found.') },
      'no-mount',
      'SELLO_STORE_UNREACHABLE',
    ],
    [
      'an engine of another version',
      { status: 404, body: { data: null, warnings: ['Invalid path for a versioned K/V secrets engine.'] } },
      'no-mount',
      'SELLO_STORE_UNREACHABLE',
    ],
    [
      'the 404 of a load balancer',
      { status: 404, body: 'default backend' },
      'malformed',
      'SELLO_STORE_FAILED',
    ],
    [
      'the 404 of a load balancer that speaks JSON',
      { status: 404, body: { message: 'no route' } },
      'no-mount',
      'SELLO_STORE_UNREACHABLE',
    ],
    ['a wrong call', { status: 400, body: says('missing data') }, 'refused', 'SELLO_STORE_FAILED'],
    [
      'an unknown method',
      { status: 405, body: says('unsupported operation') },
      'refused',
      'SELLO_STORE_FAILED',
    ],
    ['forbidden', { status: 403, body: says('permission denied') }, 'forbidden', 'SELLO_STORE_FAILED'],
    ['sealed', { status: 503, body: says('Vault is sealed') }, 'sealed', 'SELLO_STORE_UNREACHABLE'],
    [
      'a sealed namespace',
      { status: 503, body: says('namespace is sealed') },
      'sealed',
      'SELLO_STORE_UNREACHABLE',
    ],
    [
      'not initialised',
      { status: 501, body: says('Vault is not initialized') },
      'uninitialised',
      'SELLO_STORE_UNREACHABLE',
    ],
    [
      'too many requests, for long',
      { status: 429, headers: { 'retry-after': '3600' }, body: says('quota exceeded') },
      'rate-limited',
      'SELLO_STORE_UNREACHABLE',
    ],
    [
      'a redirect to elsewhere',
      { status: 307, headers: { location: 'http://192.0.2.1:8200/v1/kv/data/k' } },
      'redirected',
      'SELLO_STORE_UNREACHABLE',
    ],
    ['an answer that is no JSON', { status: 418, body: 'teapot' }, 'refused', 'SELLO_STORE_FAILED'],
  ];
  for (const [claim, answer, problem, code] of table) {
    const fake = await FakeVault.start(t, ({ path }) => (path.includes('health') ? { status: 200 } : answer));
    const connection = await connect(t, [fake], { timeoutMs: 5_000 });
    const error = await failureOf(connection.read({ path }));
    t.equal(error.problem, problem, claim);
    t.equal(error.code, code, `${claim}: ${code}`);
    t.equal(fake.count(/kv/), 1, `${claim}: asked once`);
  }
});

t.test('what passes by itself is waited for', async (t) => {
  const passing: [claim: string, first: FakeAnswer][] = [
    ['a node that lags behind', { status: 412, body: { errors: ['required index state not present'] } }],
    [
      'too many requests',
      { status: 429, headers: { 'retry-after': '1' }, body: { errors: ['rate limit quota exceeded'] } },
    ],
    [
      'an election',
      { status: 500, body: { errors: ['local node not active but active cluster node not found'] } },
    ],
    ['a load balancer without a backend', { status: 502 }],
  ];
  for (const [claim, first] of passing) {
    let left = 2;
    const fake = await FakeVault.start(t, () => (left-- > 0 ? first : value));
    const connection = await connect(t, [fake]);
    const startMs = performance.now();
    t.equal((await connection.read({ path })).status, 200, claim);
    t.equal(fake.calls.length, 3, `${claim}: three calls`);
    if (claim === 'too many requests')
      t.ok(performance.now() - startMs > 1_900, 'Retry-After was kept, twice');
  }
});

t.test('a redirect is followed to listed addresses alone, and the token goes nowhere else', async (t) => {
  const active = await FakeVault.start(t, ({ path }) =>
    path.includes('lookup') ? { status: 200, body: { data: { ttl: 0 } } } : value,
  );
  const stranger = await FakeVault.start(t, () => value);
  const standby = await FakeVault.start(t, ({ path }) =>
    path.includes('health') || path.includes('lookup')
      ? { status: 200, body: { data: { ttl: 0 } } }
      : { status: 307, headers: { location: `${active.address}${path}` } },
  );
  const connection = await connect(t, [standby, active], {
    ...withToken(standby),
    addresses: [standby.address, active.address],
  });
  t.equal((await connection.read({ path })).status, 200);
  t.equal(active.calls[0]?.headers['x-vault-token'], 'token-of-the-test');
  await connection.read({ path });
  t.equal(standby.count(/kv/), 1, 'later calls go to the active one at once');

  standby.answer = ({ path }) =>
    path.includes('health') || path.includes('lookup')
      ? { status: 200, body: { data: { ttl: 0 } } }
      : { status: 307, headers: { location: `${stranger.address}${path}` } };
  const misled = await connect(t, [standby], withToken(standby));
  t.equal((await failureOf(misled.read({ path }))).problem, 'redirected');
  t.equal(stranger.calls.length, 0, 'nobody asked the stranger');
});

t.test('a dead address costs no call while another serves', async (t) => {
  const alive = await FakeVault.start(t, () => value);
  const dead = createServer().listen(0, '127.0.0.1');
  await once(dead, 'listening');
  const address = `http://127.0.0.1:${String((dead.address() as AddressInfo).port)}`;
  dead.close();
  const connection = await connect(t, [alive], { addresses: [address, alive.address] });
  for (let i = 0; i < 20; i++) t.equal((await connection.read({ path })).status, 200);
  t.equal(alive.count(/kv/), 20);
});

t.test(
  'a call ends at its deadline, and then the silent address is asked no more until it is well',
  async (t) => {
    let silent = true;
    const fake = await FakeVault.start(t, () => (silent ? undefined : value));
    const connection = await connect(t, [fake], { timeoutMs: 500 });
    const startMs = performance.now();
    const error = await failureOf(connection.read({ path }));
    t.equal(error.problem, 'timeout');
    t.ok(performance.now() - startMs >= 490);
    const asked = fake.count(/kv/);
    for (let i = 0; i < 100; i++) {
      const again = await failureOf(connection.read({ path }));
      t.match(again, { problem: 'timeout', code: 'SELLO_STORE_UNREACHABLE' });
    }
    t.equal(fake.count(/kv/), asked, 'a hundred calls failed without a connection');
    silent = false;
    t.ok(
      await until(() =>
        connection.read({ path }).then(
          () => true,
          () => false,
        ),
      ),
      'and it comes back by itself',
    );
  },
);

t.test('a slow Vault is not a dead one', async (t) => {
  const fake = await FakeVault.start(t, async () => {
    await new Promise((resolve) => setTimeout(resolve, 400));
    return value;
  });
  const connection = await connect(t, [fake], { timeoutMs: 300 });
  const calls = await Promise.allSettled([connection.read({ path }), connection.read({ path })]);
  t.strictSame(
    calls.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  const patient = await connect(t, [fake], { timeoutMs: 10_000 });
  t.equal((await patient.read({ path })).status, 200);
});

t.test('what may have been done is not done again', async (t) => {
  const fake = await FakeVault.start(t, (_call, request) => {
    request.socket.destroy();
    return undefined;
  });
  const connection = await connect(t, [fake], { timeoutMs: 2_000 });
  const error = await failureOf(connection.write({ path, body: { a: 1 } }));
  t.match(error, { problem: 'unreachable', mayBeDone: true });
  t.equal(fake.count(/kv/), 1);
});

t.test('a caller can give up', async (t) => {
  const fake = await FakeVault.start(t, () => undefined);
  const connection = await connect(t, [fake]);
  const giveUp = new AbortController();
  const call = failureOf(connection.read({ path, signal: giveUp.signal }));
  t.ok(await until(() => fake.count(/kv/) === 1));
  giveUp.abort();
  t.equal((await call).problem, 'closed');
});

t.test('connections are kept, and bounded', async (t) => {
  const fake = await FakeVault.start(t, async () => {
    await new Promise((resolve) => setTimeout(resolve, 2));
    return value;
  });
  const connection = await connect(t, [fake], { maxConnections: 4 });
  for (let i = 0; i < 5; i++) await Promise.all(Array.from({ length: 100 }, () => connection.read({ path })));
  t.equal(fake.calls.length, 500);
  t.ok(fake.connections <= 4, `${String(fake.connections)} connections for 500 calls`);
});

t.test('an answer without end is cut off', async (t) => {
  const fake = await FakeVault.start(t, (_call, _request, response) => {
    response.writeHead(200);
    const piece = Buffer.alloc(1024 * 1024, 0x20);
    let sent = 0;
    const more = (): void => {
      while (sent++ < 64) if (!response.write(piece)) return void response.once('drain', more);
      response.end();
    };
    more();
    return undefined;
  });
  const connection = await connect(t, [fake]);
  t.match(await failureOf(connection.read({ path })), { problem: 'malformed', detail: /larger than/ });
});

t.test('each call carries the request’s id, and leaves Vault’s behind', async (t) => {
  const fake = await FakeVault.start(t, () => value);
  const connection = await connect(t, [fake]);
  const context = { requestId: 'request-1', vaultRequestId: undefined };
  await correlation.run(context, () => connection.read({ path }));
  t.equal(fake.calls.at(-1)!.headers['x-correlation-id'], 'request-1');
  t.equal(context.vaultRequestId, '11111111-2222-3333-4444-555555555555');
  await connection.read({ path });
  t.match(
    fake.calls.at(-1)!.headers['x-correlation-id'],
    /^[0-9a-f-]{36}$/,
    'one of its own outside of requests',
  );
});

t.test('every token refused at once: one login, and no call fails', async (t) => {
  let valid = 'hvs.first';
  let logins = 0;
  const fake = await FakeVault.start(t, ({ path, headers }) => {
    if (path.endsWith('/login')) {
      valid = `hvs.number-${String(++logins)}`;
      return { status: 200, body: { auth: { client_token: valid, lease_duration: 3600, renewable: true } } };
    }
    if (headers['x-vault-token'] !== valid) return { status: 403, body: { errors: ['permission denied'] } };
    return path.includes('lookup') ? { status: 200, body: { data: { ttl: 3600, renewable: true } } } : value;
  });
  const secret = vaultConfig({ address: '', rootToken: 'x' }).login;
  if (secret.method !== 'token') throw new Error('another login');
  const connection = await connect(t, [fake], {
    login: {
      method: 'approle',
      mount: 'approle',
      namespace: '',
      roleId: secret.token,
      secretId: secret.token,
      wrappedFor: undefined,
    },
  });
  await connection.read({ path });
  for (let round = 0; round < 3; round++) {
    valid = 'revoked';
    const results = await Promise.allSettled(Array.from({ length: 300 }, () => connection.read({ path })));
    t.equal(results.filter(({ status }) => status === 'rejected').length, 0, 'no call failed');
    t.equal(logins, 2 + round, 'one login');
  }
});

t.test('a token without the right is not replaced, and Vault is not asked over and over', async (t) => {
  const fake = await FakeVault.start(t, ({ path }) =>
    path.includes('kv')
      ? { status: 403, body: { errors: ['permission denied'] } }
      : { status: 200, body: { data: { ttl: 0 } } },
  );
  const connection = await connect(t, [fake], withToken(fake));
  for (let i = 0; i < 50; i++) t.equal((await failureOf(connection.read({ path }))).problem, 'forbidden');
  t.ok(fake.count(/lookup/) <= 3, `${String(fake.count(/lookup/))} lookups`);
});

t.test('a Vault that is away at the start is waited for', async (t) => {
  const fake = await FakeVault.start(t, () => ({ status: 503, body: { errors: ['Vault is sealed'] } }));
  const connection = await connect(t, [fake], withToken(fake));
  t.match(await failureOf(connection.read({ path })), { code: 'SELLO_STORE_UNREACHABLE' });
  fake.answer = ({ path }) => (path.includes('lookup') ? { status: 200, body: { data: { ttl: 0 } } } : value);
  t.ok(
    await until(() =>
      connection.read({ path }).then(
        () => true,
        () => false,
      ),
    ),
    'and serves once it is there',
  );
});

t.test('readiness says what is missing', async (t) => {
  const fake = await FakeVault.start(t, ({ path }) =>
    path.includes('login') ? { status: 503, body: { errors: ['x'] } } : value,
  );
  const secret = vaultConfig({ address: '', rootToken: 'x' }).login;
  if (secret.method !== 'token') throw new Error('another login');
  const connection = await connect(t, [fake], {
    timeoutMs: 1_000,
    login: {
      method: 'approle',
      mount: 'approle',
      namespace: '',
      roleId: secret.token,
      secretId: secret.token,
      wrappedFor: undefined,
    },
  });
  t.match(await failureOf(connection.health()), { detail: /.*/, code: 'SELLO_STORE_UNREACHABLE' });
  fake.answer = ({ path }) =>
    path.includes('health') ? { status: 503, body: { sealed: true, errors: ['Vault is sealed'] } } : value;
  const other = await connect(t, [fake], { timeoutMs: 1_000 });
  t.match(await failureOf(other.health()), { problem: 'sealed' });
});
