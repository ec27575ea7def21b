/** A running server with two processes, a directory and a provider: passwords and tokens over its operators' listener. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import tls from 'node:tls';
import t from 'tap';
import { Idp, newKey, sign } from '../access/people/idp.ts';
import { Browser } from '../api/people/browser.ts';
import { createAuthority } from './certificates.ts';
import { freePort } from './process.ts';
import { Sello, type ConfigFacts } from './sello.ts';
import { needSlapd, passwords, service, suffix } from './slapd.ts';

t.test('people of a directory and of a provider, with two processes', { timeout: 120_000 }, async (t) => {
  const slapd = await needSlapd(t);
  if (slapd === undefined) return;
  const idp = await Idp.start();
  t.teardown(() => idp.stop());
  const key = await newKey('k1');
  idp.keys = [key.jwk];
  const folder = join(slapd.folder, 'sello');
  await mkdir(folder);
  await writeFile(join(folder, 'ldap-password'), `${service.password}\n`, { mode: 0o600 });
  const authority = await createAuthority(join(folder, 'certs'));
  const port = await freePort();
  const origin = `https://127.0.0.1:${String(port)}`;
  const group = (name: string) => `cn=${name},ou=groups,${suffix}`;
  const sello = await Sello.start({
    folder,
    authority,
    config: ({ address, server, adminIdentity, keys }: ConfigFacts) => ({
      version: 'sello/v1',
      processes: 2,
      probes: 'off',
      listeners: [{ address, tls: { cert: server.cert, key: server.key } }],
      operators: {
        address: `127.0.0.1:${String(port)}`,
        tls: { cert: server.cert, key: server.key },
        oidc: {
          main: {
            issuer: idp.url,
            audiences: ['sello'],
            rolesClaim: ['roles'],
            roles: [{ value: 'run', tenant: 'acme', role: 'operator' }],
          },
        },
        ldap: {
          office: {
            url: slapd.ldap,
            ca: slapd.ca,
            bind: { service: { dn: service.dn, password: { file: 'ldap-password' } } },
            userBase: `ou=people,${suffix}`,
            userFilter: '(&(objectClass=inetOrgPerson)(uid={name}))',
            groups: { search: { base: `ou=groups,${suffix}` } },
            roles: [
              { group: group('Key Admins'), tenant: 'acme', role: 'administrator' },
              { group: group('Key Watchers'), tenant: 'acme', role: 'auditor' },
            ],
          },
        },
      },
      tenants: [
        { name: 'acme', admins: [adminIdentity], clients: { auth: 'off' }, keystore: { fs: { path: keys } } },
      ],
    }),
  });
  t.teardown(() => sello.stop());

  // The listeners come up one after the other, in two processes.
  await listening(port);

  const whoami = async (browser: Browser, headers: Record<string, string> = {}) => {
    const answer = await browser.open(`${origin}/v1/operators/whoami`, { headers });
    return { status: answer.status, ...(JSON.parse(answer.body) as object) };
  };
  const login = async (browser: Browser, name: string, password: string) => {
    const answer = await browser.open(`${origin}/v1/operators/login`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', origin },
      body: JSON.stringify({ name, password }),
    });
    return { status: answer.status, ...(JSON.parse(answer.body) as object) };
  };

  await t.test('by password', async (t) => {
    const browser = new Browser();
    t.match(await login(browser, 'ann', passwords.ann), {
      status: 200,
      name: 'Ann Möller',
      roles: { acme: 'administrator' },
    });
    t.same(
      [...browser.cookies(origin)].map(([name, { sameSite }]) => [name, sameSite]),
      [['__Host-sello-session', 'strict']],
    );
    for (let i = 0; i < 20; i++)
      t.match(await whoami(browser), { status: 200 }, 'whichever process takes the connection');
    const stranger = new Browser();
    const refusals = [
      await login(stranger, 'ann', 'wrong'),
      await login(stranger, 'nobody', 'wrong'),
      await login(stranger, '*', passwords.ann),
      await login(stranger, 'bob', ''),
    ];
    for (const refusal of refusals)
      t.same(
        refusal,
        { status: 401, code: 'SELLO_LOGIN_REFUSED', error: 'sign-in is not accepted' },
        'all alike',
      );
    for (let i = 0; i < 9; i++) await login(stranger, 'bob', `guess ${String(i)}`);
    t.match(
      await login(stranger, 'bob', passwords.bob),
      { status: 429, code: 'SELLO_RATE_LIMITED' },
      'not even with the right one',
    );
    t.same([...stranger.cookies(origin).keys()], []);
  });

  await t.test('by token', async (t) => {
    const nowS = Math.floor(Date.now() / 1000);
    const claims = { iss: idp.url, sub: 'u1', aud: 'sello', iat: nowS, exp: nowS + 300, roles: ['run'] };
    const bearer = async (changes: object) => ({
      authorization: `Bearer ${await sign(key, { ...claims, ...changes })}`,
    });
    const browser = new Browser();
    t.match(await whoami(browser, await bearer({})), {
      status: 200,
      subject: 'u1',
      roles: { acme: 'operator' },
    });
    for (const [changes, claim] of [
      [{ exp: nowS - 60 }, 'expired'],
      [{ aud: 'other' }, 'another audience'],
      [{ iss: 'https://evil.example' }, 'another issuer'],
      [{ roles: [] }, 'no role'],
      [{ sub: '' }, 'nobody'],
    ] as const) {
      t.same(
        await whoami(browser, await bearer(changes)),
        { status: 401, code: 'SELLO_LOGIN_REFUSED', error: 'sign-in is not accepted' },
        claim,
      );
    }
  });

  await t.test('TLS: a client certificate is taken and not needed; old versions are not', async (t) => {
    const client = await authority.issue('somebody', 'client');
    const connect = async (options: tls.ConnectionOptions) => {
      const socket = tls.connect({ host: '127.0.0.1', port, ca: readFileSync(authority.ca), ...options });
      await once(socket, 'secureConnect');
      socket.write('GET /v1/operators/ways HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      let text = '';
      for await (const chunk of socket) text += String(chunk);
      return text;
    };
    t.match(await connect({}), /^HTTP\/1\.1 200 /);
    t.match(
      await connect({ cert: readFileSync(client.cert), key: readFileSync(client.key) }),
      /^HTTP\/1\.1 200 /,
    );
    t.match(
      await connect({}),
      /"ways":\[\{"name":"office","kind":"ldap"\}\]/,
      'a provider without a client is no way for a browser',
    );
    await t.rejects(connect({ maxVersion: 'TLSv1.2' }));
    const plain = net.connect(port, '127.0.0.1');
    plain.on('error', () => undefined);
    plain.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    const [heard] = (await Promise.race([once(plain, 'data'), once(plain, 'close').then(() => [''])])) as [
      unknown,
    ];
    t.notMatch(String(heard), /HTTP/, 'nothing in clear');
  });

  await t.test('nothing secret is written, and the server stops with people connected', async (t) => {
    const open = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
    open.on('error', () => undefined);
    await once(open, 'secureConnect');
    t.equal(await sello.stop(), 0);
    const output = await sello.output();
    for (const secret of [...Object.values(passwords), service.password]) t.notOk(output.includes(secret));
  });
});

async function listening(port: number): Promise<void> {
  for (const endMs = performance.now() + 30_000; performance.now() < endMs;) {
    const socket = net.connect(port, '127.0.0.1');
    const isThere = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    });
    socket.destroy();
    if (isThere) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
