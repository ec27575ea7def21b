/** The operators' listener under slow and greedy peers: each is ended in time, and a stop waits for none of them. */
import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import t from 'tap';
import { listenerYaml, serverAuditOff, Site, tenantsYaml } from '../../attacks/site.ts';

const operators = {
  address: '127.0.0.1:0',
  tls: { cert: 'server.crt', key: 'server.key' },
  oidc: {
    main: {
      issuer: 'http://127.0.0.1:1',
      audiences: ['sello'],
      rolesClaim: ['roles'],
      roles: [{ value: 'a', tenant: '*', role: 'auditor' }],
    },
  },
};

t.test(
  'slow handshakes, headers and bodies end; large headers are refused',
  { timeout: 60_000 },
  async (t) => {
    const site = new Site();
    t.teardown(() => site.remove());
    const server = await site.start(
      `${listenerYaml}${serverAuditOff}limits: {handshakeTimeout: 500ms, headersTimeout: 1s, requestTimeout: 2s}
operators: ${JSON.stringify(operators)}
${tenantsYaml({ name: 'blue', admins: ['1'.repeat(64)], clients: { auth: 'off' } })}`,
    );
    const port = server.operatorsPort!;
    const silent = net.connect(port, '127.0.0.1');
    silent.on('error', () => undefined);
    const closed = (socket: net.Socket) => (socket.closed ? Promise.resolve() : once(socket, 'close'));
    const secure = async (): Promise<{ socket: tls.TLSSocket; heard: () => string }> => {
      const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
      socket.on('error', () => undefined);
      let text = '';
      socket.on('data', (chunk) => (text += String(chunk)));
      await once(socket, 'secureConnect');
      return { socket, heard: () => text };
    };
    const mute = await secure();
    const head = await secure();
    head.socket.write('GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ');
    const body = await secure();
    body.socket.write(
      'POST /v1/operators/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"name":',
    );
    const large = await secure();
    large.socket.write(`GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${'a'.repeat(40_000)}\r\n\r\n`);
    await Promise.all([silent, mute.socket, head.socket, body.socket, large.socket].map(closed));
    t.match(head.heard(), /^HTTP\/1\.1 408 /, 'headers that do not come');
    t.match(body.heard(), /^HTTP\/1\.1 408 /, 'a body that does not come');
    t.match(large.heard(), /^HTTP\/1\.1 431 /, 'headers that do not end');
    const good = await secure();
    good.socket.write('GET /v1/operators/whoami HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(good.socket, 'data');
    t.match(good.heard(), /^HTTP\/1\.1 401 /, 'and others are served');
    const idle = await secure();
    const startMs = performance.now();
    await server.stop();
    t.ok(performance.now() - startMs < 15_000, 'a stop does not wait for idle connections');
    await Promise.all([good.socket, idle.socket].map(closed));
  },
);

t.test('a provider that cannot be reached is 503 with a time to wait', { timeout: 60_000 }, async (t) => {
  const site = new Site();
  t.teardown(() => site.remove());
  const server = await site.start(
    `${listenerYaml}${serverAuditOff}operators: ${JSON.stringify(operators)}\n${tenantsYaml({ name: 'blue', admins: ['1'.repeat(64)], clients: { auth: 'off' } })}`,
  );
  const claims = { iss: operators.oidc.main.issuer, sub: 'x', aud: 'sello', iat: 1, exp: 2 };
  const token = [{ alg: 'RS256', kid: 'k' }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  const { Browser } = await import('./browser.ts');
  const answer = await new Browser().open(
    `https://127.0.0.1:${String(server.operatorsPort)}/v1/operators/whoami`,
    {
      headers: { authorization: `Bearer ${token}.AAAA` },
    },
  );
  t.equal(answer.status, 503);
  t.match(JSON.parse(answer.body), { code: 'SELLO_LOGIN_UNAVAILABLE' });
  t.match(answer.headers['retry-after'], /^\d+$/);
});
