import http from 'node:http';
import net from 'node:net';
import t from 'tap';
import type { Test } from 'tap';
import { createHealth, createMetrics, createProbeServer, type Health } from '../../src/telemetry/index.ts';
import { HandClock } from '../audit/fixtures.ts';

t.test('ready while no check of the process fails', async (t) => {
  const health = createHealth(new HandClock(t));
  t.strictSame(health.report(), { ready: true, failing: [] });
  let trouble: string | undefined = 'not loaded';
  const withdraw = health.check('certificates', undefined, () => trouble);
  t.strictSame(health.report(), { ready: false, failing: [{ check: 'certificates', detail: 'not loaded' }] });
  trouble = undefined;
  t.equal(health.report().ready, true);
  trouble = 'again';
  withdraw();
  t.equal(health.report().ready, true);
  health.drain();
  t.match(health.report(), { ready: false, failing: [{ check: 'draining' }] });
});

t.test("one tenant's broken disk is named, and does not take the node from the others", async (t) => {
  const health = createHealth(new HandClock(t));
  const broken = new Set(['acme']);
  for (const tenant of ['acme', 'globex']) {
    health.check('audit', tenant, () => (broken.has(tenant) ? 'stalled' : undefined));
    health.check('keystore', tenant, () => undefined);
  }
  t.strictSame(health.report(), {
    ready: true,
    failing: [{ check: 'audit', tenant: 'acme', detail: 'stalled' }],
  });
  t.strictSame(health.states(), [
    { check: 'audit', tenant: 'acme', isUp: false },
    { check: 'keystore', tenant: 'acme', isUp: true },
    { check: 'audit', tenant: 'globex', isUp: true },
    { check: 'keystore', tenant: 'globex', isUp: true },
  ]);
  broken.add('globex');
  t.equal(health.report().ready, false, 'unless no tenant works');
});

t.test('a polled check fails until asked, when it rejects, and when it hangs; and recovers', async (t) => {
  const clock = new HandClock(t);
  const health = createHealth(clock);
  let answer: PromiseWithResolvers<void> = Promise.withResolvers();
  let asked = 0;
  health.poll(
    'keystore',
    'acme',
    () => {
      asked++;
      answer = Promise.withResolvers();
      return answer.promise;
    },
    { everyMs: 5_000, timeoutMs: 3_000 },
  );
  const detail = (): string | undefined => health.report().failing[0]?.detail;
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  t.equal(detail(), 'not asked yet');
  answer.resolve();
  await settled();
  t.equal(detail(), undefined);
  clock.advance(5_000);
  answer.reject(new Error('key store is not reachable'));
  await settled();
  t.equal(detail(), 'key store is not reachable');
  clock.advance(5_000);
  clock.advance(3_000);
  t.equal(detail(), 'no answer within 3000 ms');
  clock.advance(60_000);
  t.equal(asked, 3, 'a probe that hangs is not asked again');
  answer.resolve();
  await settled();
  t.equal(detail(), undefined);
  health.close();
  clock.advance(60_000);
  t.equal(asked, 3);
});

interface Reply {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

async function probes(
  t: Test,
): Promise<{ health: Health; port: number; ask: (path: string, method?: string) => Promise<Reply> }> {
  const health = createHealth(new HandClock(t));
  const metrics = createMetrics({ version: '1' });
  const server = await createProbeServer(
    { host: '127.0.0.1', port: 0 },
    { alive: () => true, report: () => health.report(), metrics: () => metrics.text() },
  );
  t.teardown(() => server.close());
  const ask = (path: string, method = 'GET'): Promise<Reply> =>
    new Promise((resolve, reject) => {
      const request = http.request(
        { host: '127.0.0.1', port: server.port, path, method, agent: false },
        (response) => {
          let body = '';
          response.setEncoding('utf8').on('data', (text: string) => (body += text));
          response.on('end', () =>
            resolve({ status: response.statusCode!, headers: response.headers, body }),
          );
        },
      );
      request.on('error', reject).end();
    });
  return { health, port: server.port, ask };
}

t.test('the probe listener answers three paths and nothing else', async (t) => {
  const { health, ask } = await probes(t);
  t.match(await ask('/livez'), { status: 200, body: 'ok\n' });
  t.match(await ask('/readyz'), { status: 200, body: '{"status":"ready","failing":[]}\n' });
  t.match(await ask('/metrics'), {
    status: 200,
    headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
    body: /^sello_build_info\{version="1"/m,
  });
  for (const path of ['/', '/v1/status', '/metrics/', '//metrics', '/livez/..', '/LIVEZ']) {
    t.equal((await ask(path)).status, 404, path);
  }
  t.match(await ask('/metrics', 'POST'), { status: 405, headers: { allow: 'GET, HEAD' } });
  t.match(await ask('/readyz', 'HEAD'), { status: 200, headers: { 'content-length': '32' }, body: '' });

  let trouble: string | undefined = 'stalled';
  health.check('audit', 'acme', () => trouble);
  health.check('audit', 'globex', () => undefined);
  const failing = [{ check: 'audit', tenant: 'acme', detail: 'stalled' }];
  const degraded = await ask('/readyz');
  t.equal(degraded.status, 200);
  t.strictSame(JSON.parse(degraded.body), { status: 'degraded', failing });
  const strict = await ask('/readyz?strict');
  t.equal(strict.status, 503);
  t.strictSame(JSON.parse(strict.body), { status: 'unavailable', failing });
  trouble = undefined;
  t.equal((await ask('/readyz?strict')).status, 200);
  health.drain();
  t.equal((await ask('/readyz')).status, 503);
  t.equal((await ask('/livez')).status, 200, 'alive all the same');
});

function raw(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(text));
    let got = '';
    socket.setEncoding('latin1').on('data', (some: string) => (got += some));
    socket.on('error', reject).on('close', () => resolve(got));
  });
}

t.test('a body, a huge header and more connections than allowed get nowhere', async (t) => {
  const { port, ask } = await probes(t);
  const withBody = await raw(port, 'GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /');
  t.match(withBody, /^HTTP\/1\.1 200 [^]*Connection: close/i);
  t.equal(withBody.match(/HTTP\/1\.1/g)?.length, 1);
  t.match(
    await raw(port, `GET /livez HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(10_000)}\r\n\r\n`),
    /^HTTP\/1\.1 431/,
  );
  const sockets = await Promise.all(
    Array.from(
      { length: 64 },
      () =>
        new Promise<net.Socket>((resolve) => {
          const socket = net.connect(port, '127.0.0.1', () => resolve(socket));
        }),
    ),
  );
  await t.rejects(ask('/livez'));
  for (const socket of sockets) socket.destroy();
});
