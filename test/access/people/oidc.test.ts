/** What a token must be to be taken: each attack refused, for the reason that is ours to give. */
import { createHmac } from 'node:crypto';
import { exportSPKI, SignJWT, type JWTPayload } from 'jose';
import t, { type Test } from 'tap';
import { createFetcher } from '../../../src/access/people/fetch.ts';
import { maxTokenBytes, OidcVerifier, type OidcRules } from '../../../src/access/people/oidc.ts';
import { Provider, type KeyTimes } from '../../../src/access/people/provider.ts';
import type { LoginError, LoginReason } from '../../../src/access/people/refusal.ts';
import type { TenantName } from '../../../src/tenants/name.ts';
import { HandClock } from '../../audit/fixtures.ts';
import { Idp, newKey, rawToken, sign, type IdpKey } from './idp.ts';

const acme = 'acme' as TenantName;
const globex = 'globex' as TenantName;

interface Site {
  readonly idp: Idp;
  readonly key: IdpKey;
  readonly clock: HandClock;
  readonly verifier: OidcVerifier;
  readonly claims: (changes?: JWTPayload) => JWTPayload;
}

async function site(
  t: Test,
  changes: Partial<OidcRules> = {},
  times: Partial<KeyTimes> = {},
  timeoutMs = 10_000,
): Promise<Site> {
  const idp = await Idp.start();
  const key = await newKey('first');
  idp.keys = [key.jwk];
  const clock = new HandClock(t);
  const fetcher = createFetcher({ caFile: undefined, timeoutMs });
  const provider = new Provider({ issuer: idp.url, fetcher, clock, times });
  t.teardown(async () => {
    await fetcher.close();
    await idp.stop();
  });
  const rules: OidcRules = {
    name: 'test',
    issuer: idp.url,
    alsoIssuers: [],
    audiences: ['sello'],
    clientId: undefined,
    authorizedParties: [],
    algorithms: ['RS256', 'ES256', 'PS256', 'EdDSA'],
    clockSkewMs: 30_000,
    maxTokenAgeMs: 12 * 3_600_000,
    bearer: 'any',
    rolesClaim: ['roles'],
    grants: [
      { value: 'watch', tenant: acme, role: 'auditor' },
      { value: 'run', tenant: acme, role: 'operator' },
      { value: 'root', tenant: '*', role: 'administrator' },
    ],
    require: {},
    subjectClaim: ['sub'],
    nameClaims: [['name'], ['preferred_username'], ['email']],
    stableClaim: undefined,
    revoked: [],
    ...changes,
  };
  const verifier = new OidcVerifier({ rules, provider, clock, tenants: [acme, globex] });
  const claims = (more: JWTPayload = {}): JWTPayload => {
    const nowS = Math.floor(clock.now() / 1000);
    return { iss: idp.url, sub: 'u1', aud: 'sello', iat: nowS, exp: nowS + 300, roles: ['run'], ...more };
  };
  return { idp, key, clock, verifier, claims };
}

async function refused(
  t: Test,
  promise: Promise<unknown>,
  reason: LoginReason,
  claim: string,
): Promise<void> {
  await t.rejects(promise, { code: 'SELLO_LOGIN_REFUSED', reason }, claim);
}

t.test('takes a good token: a person with the highest role of each tenant', async (t) => {
  const { key, verifier, claims, idp } = await site(t);
  const { person } = await verifier.verifyBearer(
    await sign(key, claims({ roles: ['watch', 'run', 'other'], name: 'Ann \u202eexe\n' })),
  );
  t.same([...person.roles], [['acme', 'operator']]);
  t.match(person, { issuer: idp.url, subject: 'u1', displayName: 'Ann exe', stableId: undefined });
  const root = await verifier.verifyBearer(await sign(key, claims({ roles: 'root' })));
  t.same(
    [...root.person.roles],
    [
      ['acme', 'administrator'],
      ['globex', 'administrator'],
    ],
  );
  const none = await verifier.verifyBearer(
    await sign(key, claims({ roles: ['RUN', 'runner', 'run ', 'ru'] })),
  );
  t.same([...none.person.roles], [], 'values are compared whole and exactly');
  t.equal(idp.count('/keys'), 1, 'keys are asked for once');
});

t.test('times: expired, not valid yet, too old, from the future; the skew is bounded', async (t) => {
  const { key, verifier, claims, clock } = await site(t, { maxTokenAgeMs: 600_000 });
  const nowS = Math.floor(clock.now() / 1000);
  const of = async (changes: JWTPayload) => verifier.verifyBearer(await sign(key, claims(changes)));
  await t.resolves(of({ exp: nowS - 25 }), 'within the skew');
  await refused(t, of({ exp: nowS - 35 }), 'token expired', 'past the skew');
  await t.resolves(of({ nbf: nowS + 25 }));
  await refused(t, of({ nbf: nowS + 35 }), 'token not valid yet', 'nbf');
  await refused(t, of({ iat: nowS + 35 }), 'token not valid yet', 'iat in the future');
  await refused(t, of({ iat: nowS - 700 }), 'token too old', 'however far its exp');
  for (const name of ['exp', 'iat', 'sub', 'aud'] as const) {
    const { [name]: _left, ...rest } = claims();
    await refused(
      t,
      verifier.verifyBearer(await sign(key, rest)),
      'token claim missing or wrong',
      `without ${name}`,
    );
  }
  const raw = (json: string): Promise<string> => signRaw(key, json);
  const good = JSON.stringify(claims());
  for (const exp of ['"9999999999"', 'null', '1e999', '[9999999999]', 'true']) {
    const token = await raw(good.replace(/"exp":\d+/, `"exp":${exp}`));
    await refused(t, verifier.verifyBearer(token), 'token claim missing or wrong', `exp ${exp}`);
  }
  for (const sub of ['""', '[]', '{"a":1}', 'null', JSON.stringify('x'.repeat(600))]) {
    const token = await raw(good.replace('"sub":"u1"', `"sub":${sub}`));
    await refused(t, verifier.verifyBearer(token), 'token claim missing or wrong', `sub ${sub.slice(0, 10)}`);
  }
});

t.test('issuer, audience and client', async (t) => {
  const { key, verifier, claims, idp } = await site(t, { clientId: 'console' });
  const of = async (changes: JWTPayload) => verifier.verifyBearer(await sign(key, claims(changes)));
  for (const iss of [`${idp.url}/`, idp.url.toUpperCase(), 'https://evil.example', `${idp.url}.evil.example`])
    await refused(t, of({ iss }), 'token from another issuer', iss);
  for (const aud of ['other', 'Sello', 'sello ', 'sell', ['other', 'sell']])
    await refused(t, of({ aud }), 'token for another audience', String(aud));
  await refused(t, of({ aud: [] }), 'token for another audience', 'no audience at all');
  await t.resolves(of({ aud: ['sello'] }));
  await refused(t, of({ aud: ['sello', 'other'] }), 'token for another client', 'shared, and no azp');
  await t.resolves(of({ aud: ['sello', 'other'], azp: 'console' }));
  await refused(t, of({ azp: 'other' }), 'token for another client', 'azp of somebody else');
  const listed = await site(t, { authorizedParties: ['cli'] });
  const listedOf = async (changes: JWTPayload) =>
    listed.verifier.verifyBearer(await sign(listed.key, listed.claims(changes)));
  for (const name of ['azp', 'appid', 'client_id', 'cid'])
    await t.resolves(listedOf({ [name]: 'cli' }), name);
  await refused(t, listedOf({}), 'token for another client', 'a listed client is demanded');
  await refused(t, listedOf({ azp: 'x', client_id: 'cli' }), 'token for another client', 'azp decides');
  await refused(
    t,
    listedOf({ azp: ['cli'] as unknown as string }),
    'token for another client',
    'azp is a text',
  );
});

t.test('algorithms: none, key confusion, and whatever is not listed', async (t) => {
  const { key, verifier, claims, idp } = await site(t);
  const payload = JSON.stringify(claims());
  for (const alg of ['none', 'None', 'NONE', 'nOnE', '', 'HS256', 'RS384', 'dir']) {
    await refused(
      t,
      verifier.verifyBearer(rawToken(JSON.stringify({ alg, kid: 'first' }), payload)),
      'token algorithm not allowed',
      `alg '${alg}', no signature`,
    );
  }
  await refused(
    t,
    verifier.verifyBearer(rawToken('{"kid":"first"}', payload)),
    'token algorithm not allowed',
    'no alg',
  );
  const spki = await exportSPKI(key.publicKey);
  for (const secret of [spki, spki.trim(), JSON.stringify(key.jwk), JSON.stringify({ keys: [key.jwk] })]) {
    for (const alg of ['HS256', 'HS384', 'HS512']) {
      const signed = await new SignJWT(claims())
        .setProtectedHeader({ alg, kid: 'first' })
        .sign(new TextEncoder().encode(secret));
      await refused(
        t,
        verifier.verifyBearer(signed),
        'token algorithm not allowed',
        `${alg} with the public key`,
      );
    }
  }
  // The header says RS256, the signature is a MAC with the public key.
  const head = `${Buffer.from('{"alg":"RS256","kid":"first"}').toString('base64url')}.${Buffer.from(payload).toString('base64url')}`;
  const mac = createHmac('sha256', spki).update(head).digest('base64url');
  await refused(t, verifier.verifyBearer(`${head}.${mac}`), 'token signature wrong', 'a MAC under RS256');
  t.throws(
    () =>
      new OidcVerifier({
        ...partsOf(verifier),
        rules: { ...verifier.rules, algorithms: ['HS256' as 'RS256'] },
      }),
    TypeError,
  );
  t.throws(
    () =>
      new OidcVerifier({
        ...partsOf(verifier),
        rules: { ...verifier.rules, algorithms: ['none' as 'RS256'] },
      }),
    TypeError,
  );
  // An 'oct' key in the key set is nobody's.
  idp.keys = [{ kty: 'oct', k: Buffer.alloc(32).toString('base64url'), kid: 'sym', alg: 'HS256' }, key.jwk];
  const sym = await new SignJWT(claims())
    .setProtectedHeader({ alg: 'HS256', kid: 'sym' })
    .sign(Buffer.alloc(32));
  await refused(
    t,
    verifier.verifyBearer(sym),
    'token algorithm not allowed',
    'a symmetric key that is published',
  );
  const ec = await newKey('first', 'ES256');
  await refused(
    t,
    verifier.verifyBearer(await sign(ec, claims())),
    'token signed by an unknown key',
    'the kid of an RSA key with another algorithm',
  );
});

function partsOf(verifier: OidcVerifier) {
  const provider = new Provider({
    issuer: verifier.rules.issuer,
    fetcher: createFetcher({ caFile: undefined, timeoutMs: 1000 }),
    clock: {
      now: () => 0,
      monotonic: () => 0,
      setTimer: () => ({ cancel: () => undefined, keepAlive: () => undefined }),
    },
  });
  return {
    provider,
    clock: {
      now: () => 0,
      monotonic: () => 0,
      setTimer: () => ({ cancel: () => undefined, keepAlive: () => undefined }),
    },
    tenants: [acme],
  };
}

t.test('keys that a token brings along are not looked at: jwk, jku, x5u, x5c', async (t) => {
  const { verifier, claims, idp } = await site(t);
  const evil = await newKey('first');
  const trap = await Idp.start();
  t.teardown(() => trap.stop());
  trap.keys = [evil.jwk];
  for (const header of [
    { jwk: evil.jwk },
    { jku: `${trap.url}/keys` },
    { x5u: `${trap.url}/cert.pem` },
    { x5c: [Buffer.from('not even a certificate').toString('base64')] },
    { jku: `${idp.url}/keys#@${trap.url}/keys`, jwk: evil.jwk },
  ]) {
    await refused(
      t,
      verifier.verifyBearer(await sign(evil, claims(), header)),
      'token signature wrong',
      Object.keys(header).join(),
    );
  }
  t.equal(trap.asked.size, 0, 'and nobody is asked');
  await refused(
    t,
    verifier.verifyBearer(await sign({ ...evil, kid: 'other' }, claims(), { jwk: evil.jwk })),
    'token signed by an unknown key',
    'its own kid',
  );
});

t.test('what is signed is what is read: changed claims, changed header, other signature', async (t) => {
  const { key, verifier, claims } = await site(t);
  const token = await sign(key, claims());
  const [header = '', , signature = ''] = token.split('.');
  const forged = Buffer.from(JSON.stringify(claims({ roles: ['root'] }))).toString('base64url');
  await refused(
    t,
    verifier.verifyBearer(`${header}.${forged}.${signature}`),
    'token signature wrong',
    'claims',
  );
  await refused(t, verifier.verifyBearer(`${token}A`), 'token signature wrong', 'one character more');
  await refused(t, verifier.verifyBearer(token.slice(0, -4)), 'token signature wrong', 'cut');
  await refused(
    t,
    verifier.verifyBearer(`${header}.${token.split('.')[1]!}.`),
    'token signature wrong',
    'none',
  );
});

t.test('shape: too large, not a token, claims that stand twice, critical extensions', async (t) => {
  const { key, verifier, claims, idp } = await site(t);
  const huge = await sign(key, claims({ junk: 'x'.repeat(maxTokenBytes) }));
  await refused(t, verifier.verifyBearer(huge), 'token too large', 'signed, and too large');
  await refused(t, verifier.verifyBearer('a'.repeat(50_000_000)), 'token too large', '50 MB');
  for (const junk of [
    '',
    '.',
    '..',
    'a.b',
    'a.b.c.d.e',
    'e30.e30.',
    'ä.ö.ü',
    'e30.W10.x',
    ' a.b.c',
    'a.b.c\n',
    'bnVsbA.bnVsbA.x',
  ])
    await t.rejects(verifier.verifyBearer(junk), { code: 'SELLO_LOGIN_REFUSED' }, JSON.stringify(junk));
  const good = JSON.stringify(claims());
  const twice = [
    good.replace('{', '{"aud":"other",'),
    good.replace('{', '{"sub":"root",'),
    good.replace('{', '{"\\u0073ub":"root",'),
    good.replace('{', '{"a":{"b":[{"c":1,"c":2}]},'),
    good.replace('}', ',"roles":["root"]}'),
  ];
  for (const json of twice)
    await refused(
      t,
      verifier.verifyBearer(await signRaw(key, json)),
      'token repeats a claim',
      json.slice(0, 30),
    );
  const header = '{"alg":"none","alg":"RS256","kid":"first"}';
  await refused(
    t,
    verifier.verifyBearer(await signRaw(key, good, header)),
    'token repeats a claim',
    'in the header',
  );
  await t.rejects(
    verifier.verifyBearer(await signRaw(key, `{"__proto__":{"roles":["root"]},${good.slice(1)}`)),
    { code: 'SELLO_LOGIN_REFUSED', reason: 'token malformed' },
  );
  const deep = good.replace('}', `,"deep":${'['.repeat(1500)}${']'.repeat(1500)}}`);
  await refused(t, verifier.verifyBearer(await signRaw(key, deep)), 'token malformed', 'nested deep');
  const critical = '{"alg":"RS256","kid":"first","crit":["exp2"],"exp2":1}';
  await refused(
    t,
    verifier.verifyBearer(await signRaw(key, good, critical)),
    'token algorithm not allowed',
    'crit',
  );
  const unencoded = '{"alg":"RS256","kid":"first","crit":["b64"],"b64":false}';
  await t.rejects(verifier.verifyBearer(await signRaw(key, good, unencoded)), {
    code: 'SELLO_LOGIN_REFUSED',
  });
  t.ok(idp.count('/keys') <= 1);
});

t.test('one kind of token is not another', async (t) => {
  const { key, verifier, claims } = await site(t, { clientId: 'sello' });
  for (const typ of ['logout+jwt', 'dpop+jwt', 'secevent+jwt', 'at+jwt2', 'JOSE'])
    await refused(
      t,
      verifier.verifyBearer(await sign(key, claims(), { typ })),
      'token type not allowed',
      typ,
    );
  for (const typ of ['JWT', 'jwt', 'at+jwt', 'application/at+jwt', 'AT+JWT'])
    await t.resolves(async () => verifier.verifyBearer(await sign(key, claims(), { typ })), typ);
  for (const typ of ['Refresh', 'Offline', 'Logout'])
    await refused(
      t,
      verifier.verifyBearer(await sign(key, claims({ typ }))),
      'token type not allowed',
      `Keycloak ${typ}`,
    );
  const events = { 'http://schemas.openid.net/event/backchannel-logout': {} };
  await refused(
    t,
    verifier.verifyBearer(await sign(key, claims({ events }))),
    'token type not allowed',
    'logout token',
  );
  await refused(
    t,
    verifier.verifyIdToken(await sign(key, claims({ nonce: 'n' }), { typ: 'at+jwt' }), 'n'),
    'token type not allowed',
    'an access token in place of an ID token',
  );
  await refused(
    t,
    verifier.verifyIdToken(await sign(key, claims({ nonce: 'n', typ: 'Bearer' })), 'n'),
    'token type not allowed',
    "Keycloak's",
  );
  await refused(
    t,
    verifier.verifyIdToken(await sign(key, claims({ nonce: 'x' })), 'n'),
    'token nonce wrong',
    'of another login',
  );
  await refused(t, verifier.verifyIdToken(await sign(key, claims()), 'n'), 'token nonce wrong', 'none');
  await refused(
    t,
    verifier.verifyIdToken(await sign(key, claims({ nonce: 'n', azp: 'x' })), 'n'),
    'token for another client',
    'azp',
  );
  await t.resolves(async () =>
    verifier.verifyIdToken(await sign(key, claims({ nonce: 'n', azp: 'sello' })), 'n'),
  );
  const strict = await site(t, { bearer: 'at+jwt' });
  for (const typ of [undefined, 'JWT'])
    await refused(
      t,
      strict.verifier.verifyBearer(await sign(strict.key, strict.claims(), typ === undefined ? {} : { typ })),
      'token type not allowed',
      'strict',
    );
  await t.resolves(async () =>
    strict.verifier.verifyBearer(await sign(strict.key, strict.claims(), { typ: 'at+jwt' })),
  );
});

t.test(
  'keys rotate: a new one is found at once, a withdrawn one ends, strangers cause no storm',
  async (t) => {
    const { key, verifier, claims, idp, clock } = await site(t);
    await verifier.verifyBearer(await sign(key, claims()));
    const second = await newKey('second');
    idp.keys = [key.jwk, second.jwk];
    clock.advance(30_000);
    const token = await sign(second, claims());
    await Promise.all(Array.from({ length: 20 }, () => verifier.verifyBearer(token)));
    t.equal(idp.count('/keys'), 2, 'twenty at once ask once');
    const stranger = await newKey('stranger');
    for (let i = 0; i < 50; i++) {
      const forged = await sign({ ...stranger, kid: `k${String(i)}` }, claims());
      await refused(t, verifier.verifyBearer(forged), 'token signed by an unknown key', 'a stranger');
    }
    t.equal(idp.count('/keys'), 2, 'fifty unknown ids within the cooldown ask nobody');
    clock.advance(30_000);
    await refused(
      t,
      verifier.verifyBearer(await sign(stranger, claims())),
      'token signed by an unknown key',
      'later',
    );
    t.equal(idp.count('/keys'), 3, 'once per cooldown');
    await t.resolves(verifier.verifyBearer(await sign(key, claims())), 'the old key is still published');
    idp.keys = [second.jwk];
    clock.advance(5 * 60_000);
    await refused(
      t,
      verifier.verifyBearer(await sign(key, claims())),
      'token signed by an unknown key',
      'withdrawn',
    );
    await t.resolves(async () => verifier.verifyBearer(await sign(second, claims())));
  },
);

t.test(
  'provider down: known keys serve for a bounded time, then nothing is taken; it recovers',
  async (t) => {
    const { key, verifier, claims, idp, clock } = await site(
      t,
      {},
      { freshMs: 60_000, keptMs: 600_000, cooldownMs: 10_000 },
    );
    idp.isDown = true;
    await t.rejects(
      verifier.verifyBearer(await sign(key, claims())),
      { code: 'SELLO_LOGIN_UNAVAILABLE' },
      'never seen',
    );
    for (let i = 0; i < 20; i++)
      await verifier.verifyBearer(await sign(key, claims())).catch(() => undefined);
    t.equal(idp.count('/.well-known/openid-configuration'), 1, 'and not asked again at once');
    idp.isDown = false;
    clock.advance(10_000);
    await verifier.verifyBearer(await sign(key, claims()));
    idp.isDown = true;
    clock.advance(599_000);
    await t.resolves(async () => verifier.verifyBearer(await sign(key, claims())), 'keys are kept');
    const before = idp.count('/keys') + idp.count('/.well-known/openid-configuration');
    for (let i = 0; i < 20; i++) await verifier.verifyBearer(await sign(key, claims()));
    const after = idp.count('/keys') + idp.count('/.well-known/openid-configuration');
    t.ok(after - before <= 1, 'and a provider that is down is not asked with every request');
    await refused(
      t,
      verifier.verifyBearer(await sign(await newKey('n'), claims())),
      'token signed by an unknown key',
      'new',
    );
    clock.advance(2_000);
    await t.rejects(
      verifier.verifyBearer(await sign(key, claims())),
      { code: 'SELLO_LOGIN_UNAVAILABLE' },
      'too old',
    );
    idp.isDown = false;
    clock.advance(10_000);
    await t.resolves(async () => verifier.verifyBearer(await sign(key, claims())), 'back again');
  },
);

t.test('a provider that answers anything else is not usable', async (t) => {
  const json = { 'content-type': 'application/json' };
  const cases: [string, (idp: Idp) => void][] = [
    ['another issuer', (idp) => void (idp.discovery = { issuer: 'https://evil.example' })],
    ['an issuer with a slash more', (idp) => void (idp.discovery = { issuer: `${idp.url}/` })],
    [
      'the issuer of every Entra tenant',
      (idp) => void (idp.discovery = { issuer: 'https://login.microsoftonline.com/{tenantid}/v2.0' }),
    ],
    ['keys over http elsewhere', (idp) => void (idp.discovery = { jwks_uri: 'http://192.0.2.1/keys' })],
    ['keys in a file', (idp) => void (idp.discovery = { jwks_uri: 'file:///etc/passwd' })],
    ['no keys', (idp) => void (idp.discovery = { jwks_uri: undefined })],
    [
      'a redirect',
      (idp) =>
        void (idp.answer = () => ({
          status: 302,
          headers: { ...json, location: `${idp.url}/keys` },
          body: '{}',
        })),
    ],
    [
      'a page',
      (idp) =>
        void (idp.answer = () => ({ status: 200, headers: { 'content-type': 'text/html' }, body: '{}' })),
    ],
    ['no JSON', (idp) => void (idp.answer = () => ({ status: 200, headers: json, body: '{' }))],
    ['a list', (idp) => void (idp.answer = () => ({ status: 200, headers: json, body: '[]' }))],
    [
      'a name twice',
      (idp) =>
        void (idp.answer = () => ({ status: 200, headers: json, body: '{"issuer":"a","issuer":"b"}' })),
    ],
    [
      'a large document',
      (idp) =>
        void (idp.answer = () => ({ status: 200, headers: json, body: `{"a":"${'x'.repeat(600_000)}"}` })),
    ],
    ['an error', (idp) => void (idp.answer = () => ({ status: 500, headers: json, body: '{}' }))],
    ['not found', (idp) => void (idp.answer = () => ({ status: 404, headers: json, body: '{}' }))],
  ];
  for (const [claim, change] of cases) {
    const { key, verifier, claims, idp } = await site(t);
    change(idp);
    await t.rejects(
      verifier.verifyBearer(await sign(key, claims())),
      { code: 'SELLO_LOGIN_UNAVAILABLE' },
      claim,
    );
  }
  const slow = await site(t, {}, {}, 300);
  slow.idp.answer = (path) =>
    (path === '/keys'
      ? { status: 200, headers: { ...json, 'content-length': '100' }, body: '{' }
      : undefined) as never;
  await t.rejects(
    slow.verifier.verifyBearer(await sign(slow.key, slow.claims())),
    { code: 'SELLO_LOGIN_UNAVAILABLE' },
    'an answer that never ends',
  );
});

t.test(
  'key sets: private keys and keys for encryption do not count; several without an id are no choice',
  async (t) => {
    const { key, verifier, claims, idp } = await site(t);
    idp.keys = [{ ...key.jwk, d: 'AQAB' }];
    await t.rejects(verifier.verifyBearer(await sign(key, claims())), { code: 'SELLO_LOGIN_UNAVAILABLE' });
    const other = await site(t);
    const two = await newKey('two');
    other.idp.keys = [{ ...other.key.jwk, use: 'enc' }, two.jwk];
    await refused(
      t,
      other.verifier.verifyBearer(await sign(other.key, other.claims())),
      'token signed by an unknown key',
      'use enc',
    );
    const nameless = await site(t);
    const { kid: _one, ...jwk } = nameless.key.jwk;
    const bare = { ...nameless.key, kid: undefined as unknown as string };
    nameless.idp.keys = [jwk];
    await t.resolves(
      async () => nameless.verifier.verifyBearer(await sign(bare, nameless.claims())),
      'one key, no id',
    );
    const several = await site(t);
    several.idp.keys = [several.key.jwk, two.jwk];
    const unnamed = { ...several.key, kid: undefined as unknown as string };
    await refused(
      t,
      several.verifier.verifyBearer(await sign(unnamed, several.claims())),
      'token signed by an unknown key',
      'two keys, no id',
    );
  },
);

t.test('a person who is revoked has no token that is good', async (t) => {
  const { key, verifier, claims } = await site(t, { revoked: ['u1'] });
  await refused(
    t,
    verifier.verifyBearer(await sign(key, claims())),
    'person is revoked',
    'by the configuration',
  );
  await t.resolves(async () => verifier.verifyBearer(await sign(key, claims({ sub: 'u2' }))));
});

t.test('a refusal tells the log, and nobody else, what was wrong', async (t) => {
  const { key, verifier, claims } = await site(t);
  const token = await sign(key, claims({ aud: 'other' }));
  const error = (await verifier.verifyBearer(token).catch((caught: unknown) => caught)) as LoginError;
  t.equal(error.message, 'sign-in is not accepted');
  t.notOk(JSON.stringify([error.message, error.detail, error.reason]).includes(token.slice(-20)));
});

/** Signs a payload that no serializer would write. */
async function signRaw(key: IdpKey, payload: string, header?: string): Promise<string> {
  const { createSign, KeyObject } = await import('node:crypto');
  const head = header ?? JSON.stringify({ alg: 'RS256', kid: key.kid });
  const input = `${Buffer.from(head).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`;
  const signature = createSign('sha256')
    .update(input)
    .sign(KeyObject.from(key.privateKey as never));
  return `${input}.${signature.toString('base64url')}`;
}
