/** Logins with tokens of others, against a provider and an API server that say and sign what a test says. */
import { createServer } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import t, { type Test } from 'tap';
import { SignJWT } from 'jose';
import { Idp, newKey } from '../../access/people/idp.ts';
import { Session, type Answer } from '../../attacks/client.ts';
import { serverAuditOff, Site, tenantsYaml } from '../../attacks/site.ts';

interface Peers {
  readonly login: (path: string, body: object) => Promise<Answer>;
  readonly use: (token: string) => Promise<number>;
}

async function serve(t: Test, transit: object): Promise<Peers> {
  const site = new Site();
  t.teardown(() => site.remove());
  await site.start(`version: sello/v1
probes: off
listeners:
  - {address: '127.0.0.1:0', clientCertificate: optional, tenant: alpha, tls: {cert: server.crt, key: server.key}}
${serverAuditOff}${tenantsYaml({
    name: 'alpha',
    clients: { auth: 'off' },
    policies: { app: { allow: [{ operations: ['list'] }], identities: [] } },
    transit,
  } as never)}`);
  const session = await Session.open({ port: site.port });
  t.teardown(() => session.close());
  return {
    login: (path, body) =>
      session.ask({ method: 'POST', path: `/v1/auth/${path}/login`, body: JSON.stringify(body) }),
    use: async (token) =>
      (await session.ask({ method: 'LIST', path: '/v1/transit/keys', headers: { 'x-vault-token': token } }))
        .status,
  };
}

const authOf = (answer: Answer): { client_token: string; metadata: Record<string, string> } =>
  (JSON.parse(answer.body.toString()) as { auth: { client_token: string; metadata: Record<string, string> } })
    .auth;

t.test('jwt', { timeout: 60_000 }, async (t) => {
  const idp = await Idp.start();
  t.teardown(() => idp.stop());
  const [key, strange] = [await newKey('k1'), await newKey('k1')];
  idp.keys = [key.jwk];
  const peers = await serve(t, {
    jwt: {
      issuer: idp.url,
      audiences: ['sello'],
      roles: {
        app: { policy: 'app', subject: 'node-1' },
        team: { policy: 'app', claims: { team: 'storage' } },
      },
    },
  });
  const tokenOf = (claims: object, from = key, lifeSeconds = 300): Promise<string> =>
    new SignJWT({ ...claims })
      .setProtectedHeader({ alg: 'RS256', kid: 'k1' })
      .setIssuer(idp.url)
      .setAudience('sello')
      .setIssuedAt()
      .setExpirationTime(Math.floor(Date.now() / 1000) + lifeSeconds)
      .sign(from.privateKey);
  const good = await peers.login('jwt', { role: 'app', jwt: await tokenOf({ sub: 'node-1' }) });
  t.equal(good.status, 200, good.body.toString());
  t.equal(await peers.use(authOf(good).client_token), 404, 'its token is good: an empty list');
  const team = await peers.login('jwt', {
    role: 'team',
    jwt: await tokenOf({ sub: 'x', team: ['other', 'storage'] }),
  });
  t.equal(team.status, 200);

  const refusals: Record<string, object> = {
    'another subject': { role: 'app', jwt: await tokenOf({ sub: 'node-2' }) },
    'a claim that is missing': { role: 'team', jwt: await tokenOf({ sub: 'x' }) },
    'a claim inherited from nothing': {
      role: 'team',
      jwt: await tokenOf({ sub: 'x', __proto__: { team: 'storage' } }),
    },
    'a signature by another key': { role: 'app', jwt: await tokenOf({ sub: 'node-1' }, strange) },
    expired: { role: 'app', jwt: await tokenOf({ sub: 'node-1' }, key, -120) },
    'no algorithm': {
      role: 'app',
      jwt: (await tokenOf({ sub: 'node-1' })).replace(
        /^[^.]+/,
        Buffer.from('{"alg":"none"}').toString('base64url'),
      ),
    },
    'no token': { role: 'app', jwt: 'x.y.z' },
  };
  for (const [claim, body] of Object.entries(refusals)) {
    const answer = await peers.login('jwt', body);
    t.equal(answer.status, 403, claim);
    t.equal(
      answer.body.toString(),
      '{"errors":["1 error occurred:\\n\\t* permission denied\\n\\n"]}\n',
      'and nothing more is said',
    );
  }
  t.equal((await peers.login('jwt', { role: 'none', jwt: 'x' })).status, 400);
  t.equal((await peers.login('jwt', { role: '__proto__', jwt: 'x' })).status, 400);
  t.equal((await peers.login('jwt', { jwt: 'x' })).status, 400);
  t.equal(
    (await peers.login('kubernetes', { role: 'app', jwt: 'x' })).status,
    404,
    'kubernetes is not configured',
  );
});

t.test('kubernetes by TokenReview', { timeout: 60_000 }, async (t) => {
  const accounts: Record<string, object> = {
    good: {
      authenticated: true,
      audiences: ['sello'],
      user: { username: 'system:serviceaccount:rustfs:node', uid: 'u1' },
    },
    elsewhere: {
      authenticated: true,
      audiences: ['sello'],
      user: { username: 'system:serviceaccount:other:node' },
    },
    'other audience': {
      authenticated: true,
      audiences: ['api'],
      user: { username: 'system:serviceaccount:rustfs:node' },
    },
    'a person': { authenticated: true, audiences: ['sello'], user: { username: 'kubernetes-admin' } },
    'not accepted': { authenticated: false },
  };
  let isDown = false;
  const asked: unknown[] = [];
  const cluster = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      if (isDown) {
        response.writeHead(503).end();
        return;
      }
      const { spec } = JSON.parse(Buffer.concat(chunks).toString()) as {
        spec: { token: string; audiences: string[] };
      };
      asked.push(request.url, request.headers.authorization, spec.audiences);
      response.writeHead(201, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ kind: 'TokenReview', status: accounts[spec.token] ?? {} }));
    });
  }).listen(0, '127.0.0.1');
  await once(cluster, 'listening');
  t.teardown(() => cluster.close());
  const peers = await serve(t, {
    kubernetes: {
      review: { url: `http://127.0.0.1:${String((cluster.address() as AddressInfo).port)}` },
      audiences: ['sello'],
      roles: { app: { policy: 'app', serviceAccounts: ['node'], namespaces: ['rustfs'] } },
    },
  });
  const good = await peers.login('kubernetes', { role: 'app', jwt: 'good' });
  t.equal(good.status, 200, good.body.toString());
  t.match(authOf(good).metadata, {
    service_account_name: 'node',
    service_account_namespace: 'rustfs',
    role: 'app',
  });
  t.equal(await peers.use(authOf(good).client_token), 404);
  t.same(
    asked,
    ['/apis/authentication.k8s.io/v1/tokenreviews', 'Bearer good', ['sello']],
    'asked as Kubernetes has it',
  );
  for (const token of ['elsewhere', 'other audience', 'a person', 'not accepted', 'unknown'])
    t.equal((await peers.login('kubernetes', { role: 'app', jwt: token })).status, 403, token);
  isDown = true;
  t.equal(
    (await peers.login('kubernetes', { role: 'app', jwt: 'good' })).status,
    503,
    'a cluster that is down: try again',
  );
});

t.test('kubernetes by the issuer’s keys', { timeout: 60_000 }, async (t) => {
  const idp = await Idp.start();
  t.teardown(() => idp.stop());
  const key = await newKey('k1');
  idp.keys = [key.jwk];
  const peers = await serve(t, {
    kubernetes: {
      issuer: { url: idp.url },
      audiences: ['sello'],
      roles: { app: { policy: 'app', serviceAccounts: ['*'], namespaces: ['rustfs'] } },
    },
  });
  const tokenOf = (sub: string, audience = 'sello'): Promise<string> =>
    new SignJWT({ sub, 'kubernetes.io': { serviceaccount: { uid: 'u1' } } })
      .setProtectedHeader({ alg: 'RS256', kid: 'k1' })
      .setIssuer(idp.url)
      .setAudience(audience)
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(key.privateKey);
  const good = await peers.login('kubernetes', {
    role: 'app',
    jwt: await tokenOf('system:serviceaccount:rustfs:any'),
  });
  t.equal(good.status, 200, good.body.toString());
  t.equal(authOf(good).metadata['service_account_uid'], 'u1');
  for (const [sub, audience] of [
    ['system:serviceaccount:other:any'],
    ['alice'],
    ['system:serviceaccount:rustfs:any', 'api'],
  ] as const)
    t.equal(
      (await peers.login('kubernetes', { role: 'app', jwt: await tokenOf(sub, audience) })).status,
      403,
      `${sub} ${audience ?? ''}`,
    );
});
