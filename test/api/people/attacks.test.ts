/** What somebody tries who has a login, and wants more: another tenant, a second self, an approval that is over, another's browser. */
import t from 'tap';
import { adminRoutes } from '../../../src/api/admin/index.ts';
import { Browser } from './browser.ts';
import { clientSecret, IdentityProvider } from './identity-provider.ts';
import { office } from './office.ts';
import { listenerYaml, serverAuditOff, Site, tenantsYaml } from '../../attacks/site.ts';
import { freePort } from '../../real/process.ts';

t.test('what a role allows in one tenant it allows in no other', { timeout: 60_000 }, async (t) => {
  const { as } = await office(t);
  // Auditor in one, administrator in the other: neither role leaks.
  const both = as('mia/e9', 'acme-watch', 'globex-root');
  const bob = as('bob/e2', 'globex-root');
  for (const { method, operation, path } of adminRoutes) {
    if (operation === undefined || operation === 'describe') continue;
    const at = path.replace('{key}', 'app').replace('{version}', '1');
    t.match(
      await both(method, `acme/${at}`, method === 'POST' ? {} : undefined),
      { status: 403, code: 'SELLO_NOT_AUTHORIZED' },
      path,
    );
  }
  for (const path of [
    'acme/approvals',
    'acme/../acme/approvals',
    'ACME/approvals',
    'globex%2f..%2facme/approvals',
  ])
    t.match(await both('POST', path, { key: 'app' }), { status: /^(403|404)$/ }, path);

  const { id } = await both('POST', 'globex/approvals', { key: 'app', atOnce: true });
  t.match(await bob('POST', `globex/approvals/${String(id)}/approve`), { status: 200 });
  const headers = { 'x-sello-approval': String(id) };
  const admin = as('max/e8', 'acme-root', 'globex-root');
  t.match(
    await admin('POST', 'acme/keys/app/delete', undefined, headers),
    { status: 404, code: 'SELLO_APPROVAL_NOT_FOUND' },
    'the key of the same name in another tenant',
  );
  t.match(await admin('GET', 'acme/keys/app'), { status: 200, state: 'enabled' });
  t.match(await bob('POST', 'globex/keys/app/delete', undefined, headers), { status: 200 });
  t.match(await bob('POST', 'globex/keys/app/create'), { status: 200 });
  const again = await Promise.all(
    [headers, { 'x-sello-approval': `${String(id)},${String(id)}` }, { 'x-sello-approval': '' }].map((each) =>
      bob('POST', 'globex/keys/app/delete', undefined, each),
    ),
  );
  t.same(
    again.map(({ code }) => code),
    ['SELLO_APPROVAL_USED', 'SELLO_APPROVAL_NOT_FOUND', 'SELLO_APPROVAL_NOT_FOUND'],
    'replayed, and no list of them',
  );
});

t.test('one human is not two people', { timeout: 60_000 }, async (t) => {
  const { as } = await office(t);
  const ann = as('ann/e1', 'acme-root');
  const { id } = await ann('POST', 'acme/approvals', { key: 'app' });
  for (const who of ['ann/e1', 'ann', 'ann/e7', 'test-account/E1', 'test-account/ e1', 'test-account'])
    t.match(
      await as(who, 'acme-root')('POST', `acme/approvals/${String(id)}/approve`),
      { status: 403, code: 'SELLO_APPROVAL_SAME_PERSON' },
      who,
    );
  t.match(await as('bob/e2', 'acme-root')('POST', `acme/approvals/${String(id)}/approve`), { status: 200 });
});

t.test('a page of another site changes nothing with a visitor’s session', { timeout: 90_000 }, async (t) => {
  const origin = `https://127.0.0.1:${String(await freePort())}`;
  const idp = await IdentityProvider.start(`${origin}/v1/operators/callback`);
  const site = new Site();
  t.teardown(async () => {
    await site.remove();
    await idp.stop();
  });
  site.write('client-secret', clientSecret);
  const operators = {
    address: origin.slice('https://'.length),
    tls: { cert: 'server.crt', key: 'server.key' },
    url: origin,
    oidc: {
      main: {
        issuer: idp.issuer,
        client: { id: 'console', secret: { file: 'client-secret' }, scopes: ['profile', 'sello'] },
        rolesClaim: ['roles'],
        roles: [{ value: 'root', tenant: '*', role: 'administrator' }],
      },
    },
  };
  const acme = { name: 'acme', admins: ['1'.repeat(64)], clients: { auth: 'off' }, keys: ['app'] };
  await site.start(
    `${listenerYaml}${serverAuditOff}operators: ${JSON.stringify(operators)}\n${tenantsYaml(acme)}`,
  );
  idp.person = { sub: 'ann-1', name: 'Ann', roles: ['root'] };
  const browser = new Browser();
  await browser.open(`${origin}/v1/operators/login?provider=main`);
  const whoami = await browser.open(`${origin}/v1/operators/whoami`);
  const { csrf } = JSON.parse(whoami.body) as { csrf: string };
  const below = `${origin}/v1/operators/tenants/acme/`;
  const paths = [
    ...adminRoutes.filter(({ method, operation }) => method === 'POST' && operation !== undefined),
    ...['approvals', 'audit/verification'].map((path) => ({ path })),
  ].map(({ path }) => path.replace('{key}', 'app').replace('{version}', '1'));
  /** What a form or `fetch` without CORS can send, cookie included: as if SameSite were not there. */
  const simple = [
    { headers: {}, body: undefined },
    { headers: { 'content-type': 'text/plain' }, body: '{"key":"app"}' },
    { headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: 'key=app' },
    { headers: { 'content-type': 'multipart/form-data; boundary=x' }, body: '--x--' },
    { headers: { 'content-type': 'application/json' }, body: '{}' },
  ];
  for (const path of paths)
    for (const { headers, body } of simple) {
      const answer = await browser.open(`${below}${path}`, {
        method: 'POST',
        headers: headers as Record<string, string>,
        ...(body === undefined ? {} : { body }),
      });
      t.match(
        [answer.status, answer.body],
        [403, /SELLO_REQUEST_FORGED/],
        `${path} ${String(headers['content-type'])}`,
      );
    }
  const crossed = await browser.open(`${below}keys/app/rotate`, {
    method: 'POST',
    headers: { 'x-sello-csrf': csrf, origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
  });
  t.equal(crossed.status, 403, 'nor with the token, from elsewhere');
  for (const method of ['GET', 'PUT', 'DELETE', 'HEAD'])
    t.equal((await browser.open(`${below}keys/app/rotate`, { method })).status, 404, method);
  const key = JSON.parse((await browser.open(`${below}keys/app`)).body) as object;
  t.match(key, { generation: 0, state: 'enabled', versions: [{ version: 1 }] }, 'nothing was done');
  const made = await browser.open(`${below}keys/app/rotate`, {
    method: 'POST',
    headers: { 'x-sello-csrf': csrf },
  });
  t.equal(made.status, 200, 'the page itself may');
});
