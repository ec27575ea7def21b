/** Logins over the operators' listener of a running server, with a real OpenID provider. */
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import type { Identity } from '../../../src/access/index.ts';
import { personOfCertificate } from '../../../src/access/people/index.ts';
import type { TenantName } from '../../../src/tenants/name.ts';
import { Site, listenerYaml, tenantsYaml } from '../../attacks/site.ts';
import { freePort } from '../../real/process.ts';
import { Browser, type Answer } from './browser.ts';
import { clientSecret, IdentityProvider, type Account } from './identity-provider.ts';

const ann: Account = { sub: 'ann-1', name: 'Ann <b>', roles: ['sello-root', 'staff'] };
const bob: Account = { sub: 'bob-1', name: 'Bob', roles: ['sello-watch'] };
const nobody: Account = { sub: 'carl-1', name: 'Carl', roles: ['staff'] };

interface Running {
  readonly site: Site;
  readonly idp: IdentityProvider;
  readonly origin: string;
  readonly yaml: (changes?: { rolesOfRoot?: string; revoked?: readonly string[]; idle?: string }) => string;
}

async function start(t: Test): Promise<Running> {
  const origin = `https://127.0.0.1:${String(await freePort())}`;
  const idp = await IdentityProvider.start(`${origin}/v1/operators/callback`);
  const site = new Site();
  t.teardown(async () => {
    await site.remove();
    await idp.stop();
  });
  site.write('client-secret', `${clientSecret}\n`);
  const yaml: Running['yaml'] = ({ rolesOfRoot = 'administrator', revoked = [], idle = '15m' } = {}) => {
    const operators = {
      address: origin.slice('https://'.length),
      tls: { cert: 'server.crt', key: 'server.key' },
      url: origin,
      sessions: { idle },
      oidc: {
        main: {
          issuer: idp.issuer,
          audiences: ['sello-api'],
          client: { id: 'console', secret: { file: 'client-secret' }, scopes: ['profile', 'sello'] },
          rolesClaim: ['roles'],
          roles: [
            { value: 'sello-root', tenant: '*', role: rolesOfRoot },
            { value: 'sello-watch', tenant: 'blue', role: 'auditor' },
          ],
          revoked,
        },
      },
    };
    const tenants = tenantsYaml(
      { name: 'blue', admins: ['1'.repeat(64)], clients: { auth: 'off' } },
      { name: 'green', admins: ['2'.repeat(64)], clients: { auth: 'off' } },
    );
    return `${listenerYaml}log: {level: trace}\naudit: {path: audit/server.jsonl}\noperators: ${JSON.stringify(operators)}\n${tenants}`;
  };
  await site.start(yaml());
  return { site, idp, origin, yaml };
}

async function login(
  { idp, origin }: Running,
  browser: Browser,
  account: Account | undefined,
  more = '',
): Promise<Answer> {
  idp.person = account;
  return browser.open(`${origin}/v1/operators/login?provider=main${more}`);
}

const whoami = async ({ origin }: Running, browser: Browser) => {
  const answer = await browser.open(`${origin}/v1/operators/whoami`);
  return { status: answer.status, ...(JSON.parse(answer.body) as Record<string, unknown>) } as Record<
    string,
    unknown
  > & { status: number };
};

t.test('a person logs in by browser, is known, and logs out', { timeout: 60_000 }, async (t) => {
  const running = await start(t);
  const { site, idp, origin } = running;
  const browser = new Browser();
  t.match(await whoami(running, browser), { status: 401, code: 'SELLO_LOGIN_REFUSED' });
  t.match(JSON.parse((await browser.open(`${origin}/v1/operators/ways`)).body), {
    ways: [{ name: 'main', kind: 'oidc' }],
  });
  const page = await login(running, browser, ann, '&return=%2Fv1%2Foperators%2Fwhoami%3Fa%3D1%26b');
  t.equal(page.status, 200);
  t.match(page.headers['content-security-policy'], /default-src 'none'/);
  t.equal(page.headers['referrer-policy'], 'no-referrer');
  t.equal(page.headers['cache-control'], 'no-store');
  const cookies = browser.cookies(origin);
  t.same([...cookies.keys()], ['__Host-sello-session'], 'the login’s own cookie is gone');
  t.equal(cookies.get('__Host-sello-session')!.sameSite, 'strict');
  // As the page goes on, its Strict cookie goes along.
  const on = await browser.refresh(page);
  t.equal(on.url, `${origin}/v1/operators/whoami?a=1&b`);
  const me = JSON.parse(on.body) as { csrf: string };
  t.match(me, {
    subject: 'ann-1',
    name: 'Ann <b>',
    issuer: idp.issuer,
    roles: { blue: 'administrator', green: 'administrator' },
  });
  t.equal(
    (await browser.open(`${origin}/v1/operators/whoami`, { from: 'https://evil.example' })).status,
    401,
    'a link of another site brings no session',
  );
  const logout = (headers: Record<string, string>, from?: string) =>
    browser.open(`${origin}/v1/operators/logout`, {
      method: 'POST',
      headers,
      ...(from === undefined ? {} : { from }),
    });
  const { csrf } = me;
  for (const [headers, claim] of [
    [{}, 'no token'],
    [{ 'x-sello-csrf': 'x' }, 'another token'],
    [{ 'x-sello-csrf': `${csrf}x` }, 'a longer token'],
    [{ 'x-sello-csrf': csrf, origin: 'https://evil.example' }, 'another origin'],
    [{ 'x-sello-csrf': csrf, origin: 'null' }, 'no origin at all'],
    [{ 'x-sello-csrf': csrf, 'sec-fetch-site': 'cross-site' }, 'another site'],
    [{ 'x-sello-csrf': csrf, 'sec-fetch-site': 'same-site' }, 'a sibling'],
  ] as [Record<string, string>, string][]) {
    const answer = await logout(headers);
    t.match([answer.status, JSON.parse(answer.body)], [403, { code: 'SELLO_REQUEST_FORGED' }], claim);
  }
  t.equal((await whoami(running, browser)).status, 200, 'still there');
  t.equal((await logout({ 'x-sello-csrf': csrf, origin, 'sec-fetch-site': 'same-origin' })).status, 204);
  t.equal((await whoami(running, browser)).status, 401);
  cookies.set('__Host-sello-session', {
    value: /session=([^;]*)/.exec(String(page.headers['set-cookie']))![1]!,
    sameSite: 'strict',
  });
  t.equal((await whoami(running, browser)).status, 401, 'its cookie is worth nothing now');
  await site.server.stop();
  const records = readFileSync(site.file('audit/server.jsonl'), 'utf8');
  t.match(records, /"login by oidc main"/);
  t.match(records, /"logout"/);
  const log = readFileSync(site.file('sello.log'), 'utf8');
  for (const secret of [clientSecret, csrf, cookies.get('__Host-sello-session')!.value])
    t.notOk(records.includes(secret) || log.includes(secret), 'and no secret in records or log');
});

t.test('who may not come in', { timeout: 60_000 }, async (t) => {
  const running = await start(t);
  const { origin, idp } = running;
  const refusal = async (account: Account | undefined, more = '') => {
    const browser = new Browser();
    const page = await login(running, browser, account, more);
    t.same([...browser.cookies(origin).keys()], [], 'no cookie is left');
    t.notOk(page.body.includes('refresh'));
    return page.status;
  };
  t.equal(await refusal(nobody), 401, 'nobody without a role');
  t.equal(await refusal(undefined), 401, 'who cancelled');
  const browser = new Browser();
  t.equal(
    (await browser.open(`${origin}/v1/operators/login?provider=other`)).status,
    401,
    'an unknown provider',
  );
  t.equal((await browser.open(`${origin}/v1/operators/login`)).status, 401);
  await idp.stop();
  // Its discovery document is fresh for five minutes, so the login begins; its code cannot be redeemed.
  const begun = await browser.open(`${origin}/v1/operators/login?provider=main`, { follow: false });
  t.equal(begun.status, 302);
  const { searchParams } = new URL(begun.headers.location!);
  const answer = new URLSearchParams({ code: 'x', state: searchParams.get('state')!, iss: idp.issuer });
  const page = await browser.open(`${origin}/v1/operators/callback?${answer.toString()}`);
  t.equal(page.status, 503, 'a provider that is down is said to be');
});

t.test(
  'the callback takes the answer to a login that this browser began, once',
  { timeout: 60_000 },
  async (t) => {
    const running = await start(t);
    const { origin, idp } = running;
    idp.person = ann;
    const begin = async (browser: Browser): Promise<{ location: URL; answer: string }> => {
      const begun = await browser.open(`${origin}/v1/operators/login?provider=main`, { follow: false });
      t.equal(begun.status, 302);
      const location = new URL(begun.headers.location!);
      // Through the provider, up to the address it sends the browser back to.
      let at = location.href;
      for (let hops = 0; hops < 8 && !at.startsWith(origin); hops++) {
        const step = await browser.open(at, { follow: false });
        at = new URL(step.headers.location!, at).href;
      }
      return { location, answer: at };
    };
    const victim = new Browser();
    const attacker = new Browser();
    const { location } = await begin(victim);
    const { searchParams } = location;
    t.equal(searchParams.get('response_type'), 'code');
    t.equal(searchParams.get('code_challenge_method'), 'S256');
    t.match(searchParams.get('code_challenge'), /^[\w-]{43}$/);
    t.match(searchParams.get('nonce'), /^[\w-]{43}$/);
    t.match(searchParams.get('state'), /^[\w-]{43}$/);
    t.equal(searchParams.get('redirect_uri'), `${origin}/v1/operators/callback`);
    const own = await begin(attacker);
    const refused = async (browser: Browser, url: string, claim: string): Promise<void> => {
      const page = await browser.open(url);
      t.equal(page.status, 401, claim);
      t.notOk(browser.cookies(origin).has('__Host-sello-session'), claim);
    };
    await refused(victim, own.answer, 'login CSRF: the answer of another browser’s login');
    await refused(new Browser(), own.answer, 'a browser that began none');
    const changed = (change: (query: URLSearchParams) => void): string => {
      const url = new URL(own.answer);
      change(url.searchParams);
      return url.href;
    };
    for (const [url, claim] of [
      [changed((query) => query.delete('state')), 'no state'],
      [changed((query) => query.append('state', query.get('state')!)), 'state twice'],
    ] as const) {
      const copy = copyOf(attacker, origin);
      await refused(copy, url, claim);
    }
    for (const [change, claim] of [
      [
        (query: URLSearchParams) => query.set('iss', 'https://evil.example'),
        'the answer of another issuer (RFC 9207)',
      ],
      [(query: URLSearchParams) => query.append('code', 'x'), 'code twice'],
      [(query: URLSearchParams) => query.set('code', 'x'), 'another code'],
      [(query: URLSearchParams) => query.delete('iss'), 'no issuer, though the provider names it'],
    ] as const) {
      const browser = new Browser();
      const one = await begin(browser);
      const url = new URL(one.answer);
      change(url.searchParams);
      await refused(browser, url.href, claim);
    }
    const used = copyOf(attacker, origin);
    t.equal((await attacker.open(own.answer)).status, 200, 'the real one');
    await refused(used, own.answer, 'and not a second time');
    const sealed = attacker.cookies(origin);
    sealed.set('__Host-sello-login', { value: 'A'.repeat(300), sameSite: 'lax' });
    sealed.delete('__Host-sello-session');
    await refused(attacker, own.answer, 'a cookie that we did not seal');
  },
);

function copyOf(browser: Browser, origin: string): Browser {
  const copy = new Browser();
  for (const [name, cookie] of browser.cookies(origin)) copy.cookies(origin).set(name, cookie);
  return copy;
}

t.test('where a login returns to is a path of ours', { timeout: 60_000 }, async (t) => {
  const running = await start(t);
  const { origin } = running;
  for (const evil of [
    '//evil.example',
    'https://evil.example',
    '/\\evil.example',
    '\\\\evil.example',
    'javascript:alert(1)',
    '/\n/evil.example',
    '/\t/evil.example',
    'evil',
    '',
  ]) {
    const browser = new Browser();
    const page = await login(running, browser, bob, `&return=${encodeURIComponent(evil)}`);
    const target = /url=([^"]*)"/.exec(page.body)?.[1];
    t.equal(target, '/', JSON.stringify(evil));
  }
  const browser = new Browser();
  const page = await login(
    running,
    browser,
    bob,
    `&return=${encodeURIComponent('/a"><script>alert(1)</script>')}`,
  );
  t.notOk(page.body.includes('<script'), 'and is text in the page');
  t.ok(page.url.startsWith(origin));
});

t.test('a reload changes what sessions may do at once', { timeout: 60_000 }, async (t) => {
  const running = await start(t);
  const { site, yaml } = running;
  const browser = new Browser();
  await login(running, browser, ann);
  t.match(await whoami(running, browser), { roles: { blue: 'administrator' } });
  await site.reload(yaml({ rolesOfRoot: 'auditor' }));
  t.match(await whoami(running, browser), { status: 200, roles: { blue: 'auditor', green: 'auditor' } });
  await site.reload(yaml({ revoked: ['ann-1'] }));
  t.match(await whoami(running, browser), { status: 401 }, 'revoked');
  await site.reload(yaml());
  t.match(await whoami(running, browser), { status: 200 }, 'and taken back');
  const broken = yaml({ revoked: ['ann-1'] }).replace('"main":{', '"main":{"ca":"missing.pem",');
  await t.rejects(site.reload(broken), { code: 'SELLO_CONFIG_INVALID' });
  t.match(await whoami(running, browser), { status: 200 }, 'a reload that is refused changes nothing');
  const admin = personOfCertificate('1'.repeat(64) as Identity);
  const may = (tenant: string) => site.server.people!.may(admin, tenant as TenantName, 'delete', 'app');
  t.same(
    [await may('blue'), await may('green'), await may('none')],
    [true, false, false],
    'administrators by certificate, in their tenant',
  );
  await site.reload(yaml().replace('1'.repeat(64), '3'.repeat(64)));
  t.equal(await may('blue'), false, 'while they are one');
  await site.reload(yaml({ idle: '1ms' }));
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.match(await whoami(running, browser), { status: 401 }, 'a shorter life reaches sessions that are there');
});

t.test('what is no request of ours is refused without a word', { timeout: 60_000 }, async (t) => {
  const { origin, site } = await start(t);
  const browser = new Browser();
  const json = { 'content-type': 'application/json' };
  const post = (body: string, headers: Record<string, string> = json) =>
    browser.open(`${origin}/v1/operators/login`, { method: 'POST', body, headers });
  for (const body of [
    '',
    '{',
    '[]',
    'null',
    '{"name":"a"}',
    '{"name":"a","password":1}',
    '{"name":"a","password":"b","x":1}',
    '{"name":"a","name":"b","password":"c"}',
    '{"__proto__":{},"name":"a","password":"canary-password"}',
  ]) {
    const answer = await post(body);
    t.equal(answer.status, 400, body);
    t.notOk(answer.body.includes('canary'), body);
  }
  t.equal((await post(`{"name":"${'a'.repeat(5000)}","password":"b"}`)).status, 413, 'too large');
  t.equal(
    (await post('name=a&password=b', { 'content-type': 'application/x-www-form-urlencoded' })).status,
    415,
    'a form, as another site could send',
  );
  t.equal((await post('{"name":"a","password":"b"}', { 'content-type': 'text/plain' })).status, 415);
  t.equal(
    (await post('{"name":"a","password":"b"}', { ...json, origin: 'https://evil.example' })).status,
    403,
    'from another site',
  );
  t.equal((await post('{"name":"a","password":"b"}')).status, 401, 'there is no directory');
  for (const authorization of [
    'Bearer',
    'Bearer ',
    'Bearer a b',
    'Basic YTpi',
    'bearer x',
    `Bearer ${'a'.repeat(15_000)}`,
  ]) {
    const answer = await browser.open(`${origin}/v1/operators/whoami`, { headers: { authorization } });
    t.equal(answer.status, 401, authorization.slice(0, 20));
    t.match(answer.headers['www-authenticate'], /^Bearer realm="sello"/);
  }
  for (const path of [
    '/healthz',
    '/v1/operators',
    '/v1/operators/whoami/',
    '/v1/operators/WHOAMI',
    '/v1/key/create/x',
  ]) {
    const answer = await browser.open(`${origin}${path}`);
    t.equal(answer.status, 404, path);
    t.match(answer.headers['content-security-policy'], /default-src 'none'/);
    t.equal(answer.headers['x-content-type-options'], 'nosniff');
  }
  for (const header of ['server', 'x-powered-by']) t.notOk(header in (await browser.open(origin)).headers);
  t.same(
    [...site.server.routes].filter((route) => route.includes('operators')),
    [],
    'no route of people on a listener that serves keys',
  );
});
