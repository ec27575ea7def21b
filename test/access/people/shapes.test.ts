/**
 * Tokens as the providers make them, from their own documentation: which settings take them, and that their neighbours' tokens are refused.
 * Values that only say who somebody is are made up.
 */
import type { JWTPayload } from 'jose';
import t, { type Test } from 'tap';
import type { JsonFetcher } from '../../../src/access/people/fetch.ts';
import { OidcVerifier, type OidcRules } from '../../../src/access/people/oidc.ts';
import { Provider } from '../../../src/access/people/provider.ts';
import type { LoginReason } from '../../../src/access/people/refusal.ts';
import type { TenantName } from '../../../src/tenants/name.ts';
import { HandClock } from '../../audit/fixtures.ts';
import { newKey, sign } from './idp.ts';

const acme = 'acme' as TenantName;
const key = await newKey('k1');

const refusal = (reason: LoginReason) => ({ code: 'SELLO_LOGIN_REFUSED', reason });

interface Shape {
  readonly issuer: string;
  /** Where the provider says its keys are. */
  readonly jwksUri: string;
  readonly rules: Partial<OidcRules>;
  readonly header?: Record<string, unknown>;
  readonly claims: JWTPayload;
}

async function take(t: Test, shape: Shape, changes: JWTPayload = {}, rules: Partial<OidcRules> = {}) {
  const { issuer, jwksUri, header = {}, claims } = shape;
  const clock = new HandClock(t);
  const asked: string[] = [];
  const fetcher: JsonFetcher = {
    async fetch({ url }) {
      asked.push(url);
      const body =
        url === jwksUri ? { keys: [{ ...key.jwk, x5t: 'abc', issuer }] } : { issuer, jwks_uri: jwksUri };
      return { status: 200, body };
    },
    close: async () => undefined,
  };
  const verifier = new OidcVerifier({
    rules: {
      name: 'shape',
      issuer,
      alsoIssuers: [],
      audiences: [],
      clientId: undefined,
      authorizedParties: [],
      algorithms: ['RS256'],
      clockSkewMs: 30_000,
      maxTokenAgeMs: 12 * 3_600_000,
      bearer: 'any',
      rolesClaim: ['roles'],
      grants: [{ value: 'key-admins', tenant: acme, role: 'administrator' }],
      require: {},
      subjectClaim: ['sub'],
      nameClaims: [['name'], ['preferred_username'], ['upn'], ['unique_name'], ['email']],
      stableClaim: undefined,
      revoked: [],
      ...shape.rules,
      ...rules,
    },
    provider: new Provider({ issuer, fetcher, clock }),
    clock,
    tenants: [acme],
  });
  const nowS = Math.floor(clock.now() / 1000);
  const payload = { iss: issuer, iat: nowS, nbf: nowS, exp: nowS + 3600, ...claims, ...changes };
  const token = await sign(key, payload as JWTPayload, { typ: 'JWT', ...header });
  const { person } = await verifier.verifyBearer(token);
  return { person, asked, role: person.roles.get(acme) };
}

const keycloak: Shape = {
  issuer: 'https://sso.example.org/realms/main',
  jwksUri: 'https://sso.example.org/realms/main/protocol/openid-connect/certs',
  rules: { audiences: ['sello'], authorizedParties: ['sello-cli'], rolesClaim: ['realm_access', 'roles'] },
  claims: {
    jti: '9d1b3c0a-0001',
    aud: ['sello', 'account'],
    sub: '5f0e6d0b-7c4e-4d38-9b0e-aaaaaaaaaaaa',
    typ: 'Bearer',
    azp: 'sello-cli',
    sid: 'c4c1',
    acr: '1',
    realm_access: { roles: ['offline_access', 'key-admins', 'uma_authorization'] },
    resource_access: { sello: { roles: ['key-admins'] }, account: { roles: ['manage-account'] } },
    scope: 'openid profile email',
    email_verified: true,
    preferred_username: 'ann',
    name: 'Ann',
  },
};

t.test('Keycloak: realm roles and client roles', async (t) => {
  const { person, role, asked } = await take(t, keycloak);
  t.equal(role, 'administrator');
  t.equal(person.displayName, 'Ann');
  t.same(asked, [`${keycloak.issuer}/.well-known/openid-configuration`, keycloak.jwksUri]);
  const client: ['resource_access', 'sello', 'roles'] = ['resource_access', 'sello', 'roles'];
  t.equal(
    (await take(t, keycloak, { realm_access: undefined }, { rolesClaim: client })).role,
    'administrator',
  );
  t.equal((await take(t, keycloak, { realm_access: { roles: ['user'] } })).role, undefined);
  t.equal(
    (
      await take(
        t,
        keycloak,
        { resource_access: { other: { roles: ['key-admins'] } } },
        { rolesClaim: client },
      )
    ).role,
    undefined,
    'roles of another client',
  );
  await t.rejects(take(t, keycloak, { realm_access: { roles: 7 } }), {
    reason: 'token claim missing or wrong',
  } as never);
  await t.rejects(take(t, keycloak, { realm_access: { roles: ['key-admins', 7] } }), {
    reason: 'token claim missing or wrong',
  } as never);
  await t.rejects(
    take(t, keycloak, { aud: 'account' }),
    refusal('token for another audience'),
    'its default audience',
  );
  await t.rejects(take(t, keycloak, { azp: 'shop' }), refusal('token for another client'));
  await t.rejects(
    take(t, keycloak, { iss: 'https://sso.example.org/realms/other' }),
    refusal('token from another issuer'),
    'another realm',
  );
  t.equal(
    (await take(t, keycloak, { realm_access: ['key-admins'] } as never)).role,
    undefined,
    'a list where a map belongs',
  );
});

t.test('Okta: groups of a custom authorization server', async (t) => {
  const okta: Shape = {
    issuer: 'https://dev-1.okta.com/oauth2/default',
    jwksUri: 'https://dev-1.okta.com/oauth2/default/v1/keys',
    rules: { audiences: ['api://default'], authorizedParties: ['0oa1'], rolesClaim: ['groups'] },
    claims: {
      ver: 1,
      jti: 'AT.1',
      aud: 'api://default',
      cid: '0oa1',
      uid: '00u1',
      scp: ['openid'],
      auth_time: 1_700_000_000,
      sub: 'ann@example.org',
      groups: ['Everyone', 'key-admins'],
    },
  };
  const { person, role } = await take(t, okta);
  t.equal(role, 'administrator');
  t.equal(person.authTimeMs, 1_700_000_000_000);
  await t.rejects(take(t, okta, { cid: '0oa2' }), refusal('token for another client'));
  await t.rejects(
    take(t, okta, { iss: 'https://dev-1.okta.com' }),
    refusal('token from another issuer'),
    'the org server',
  );
});

t.test('Auth0: a claim whose name is a URL, an issuer that ends in a slash', async (t) => {
  const auth0: Shape = {
    issuer: 'https://example.eu.auth0.com/',
    jwksUri: 'https://example.eu.auth0.com/.well-known/jwks.json',
    rules: {
      audiences: ['https://sello.example.org'],
      authorizedParties: ['spa'],
      rolesClaim: ['https://sello.example.org/roles'],
    },
    header: { typ: 'at+jwt' },
    claims: {
      sub: 'auth0|62f',
      aud: ['https://sello.example.org', 'https://example.eu.auth0.com/userinfo'],
      azp: 'spa',
      scope: 'openid',
      'https://sello.example.org/roles': ['key-admins'],
    },
  };
  const { role, asked } = await take(t, auth0);
  t.equal(role, 'administrator');
  t.equal(asked[0], 'https://example.eu.auth0.com/.well-known/openid-configuration', 'one slash');
  t.equal(
    (await take(t, auth0, { 'https://sello.example.org/roles': 'key-admins' })).role,
    'administrator',
    'a text counts as one',
  );
  await t.rejects(take(t, auth0, { iss: 'https://example.eu.auth0.com' }), {
    reason: 'token from another issuer',
  } as never);
});

t.test('Google: people by hosted domain and verified address', async (t) => {
  const google: Shape = {
    issuer: 'https://accounts.google.com',
    jwksUri: 'https://www.googleapis.com/oauth2/v3/certs',
    rules: {
      clientId: '123.apps.googleusercontent.com',
      rolesClaim: ['email'],
      grants: [{ value: 'ann@example.org', tenant: acme, role: 'administrator' }],
      require: { hd: 'example.org' },
    },
    claims: {
      azp: '123.apps.googleusercontent.com',
      aud: '123.apps.googleusercontent.com',
      sub: '10769150350006150715113082367',
      hd: 'example.org',
      email: 'ann@example.org',
      email_verified: true,
      at_hash: 'HK6E',
      name: 'Ann',
    },
  };
  t.equal((await take(t, google)).role, 'administrator');
  for (const hd of [undefined, 'example.com', 'EXAMPLE.ORG', 'evil.example.org'])
    await t.rejects(take(t, google, { hd }), refusal('token required claim differs'), String(hd));
  for (const verified of [false, undefined, 'true', 1])
    await t.rejects(
      take(t, google, { email_verified: verified }),
      refusal('email not verified'),
      String(verified),
    );
  await t.rejects(
    take(t, google, { aud: '999.apps.googleusercontent.com' }),
    refusal('token for another audience'),
    'any other app of Google’s',
  );
  await t.rejects(take(t, google, { azp: '999' }), refusal('token for another client'));
});

t.test('Facebook: people by their id', async (t) => {
  const facebook: Shape = {
    issuer: 'https://www.facebook.com',
    jwksUri: 'https://www.facebook.com/.well-known/oauth/openid/jwks/',
    rules: {
      clientId: '4242',
      rolesClaim: ['sub'],
      grants: [{ value: '10001', tenant: acme, role: 'auditor' }],
    },
    claims: {
      aud: '4242',
      sub: '10001',
      jti: 'x.1',
      nonce: 'n',
      email: 'ann@example.org',
      given_name: 'Ann',
      family_name: 'A',
      name: 'Ann A',
    },
  };
  t.equal((await take(t, facebook)).role, 'auditor');
  t.equal((await take(t, facebook, { sub: '10002' })).role, undefined);
  const byEmail = {
    rolesClaim: ['email'],
    grants: [{ value: 'ann@example.org', tenant: acme, role: 'auditor' as const }],
  };
  await t.rejects(
    take(t, facebook, {}, byEmail),
    refusal('email not verified'),
    'it does not say whether an address is verified',
  );
});

t.test(
  'AD FS: another issuer in access tokens, roles by URI, one group as a text, times as texts',
  async (t) => {
    const role = 'http://schemas.microsoft.com/ws/2008/06/identity/claims/role';
    const adfs: Shape = {
      issuer: 'https://adfs.example.org/adfs',
      jwksUri: 'https://adfs.example.org/adfs/discovery/keys',
      rules: {
        alsoIssuers: ['http://adfs.example.org/adfs/services/trust'],
        audiences: ['microsoft:identityserver:sello'],
        authorizedParties: ['c3b1'],
        rolesClaim: ['group'],
        subjectClaim: ['sub'],
      },
      header: { x5t: 'abc' },
      claims: {
        iss: 'http://adfs.example.org/adfs/services/trust',
        aud: 'microsoft:identityserver:sello',
        sub: 'mT1=',
        upn: 'ann@corp.example.org',
        unique_name: 'CORP\\ann',
        group: 'key-admins',
        apptype: 'Confidential',
        appid: 'c3b1',
        authmethod: 'urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport',
        auth_time: '2023-11-14T22:13:20.000Z',
        ver: '1.0',
        scp: 'openid',
      },
    };
    const { person, role: held } = await take(t, adfs);
    t.equal(held, 'administrator');
    t.equal(person.authTimeMs, 1_700_000_000_000);
    t.equal(person.issuer, adfs.issuer, 'one person under both issuers');
    t.equal(person.displayName, 'ann@corp.example.org');
    t.equal((await take(t, adfs, { group: ['a', 'key-admins'] })).role, 'administrator');
    t.equal(
      (await take(t, adfs, { group: undefined, [role]: 'key-admins' }, { rolesClaim: [role] })).role,
      'administrator',
    );
    t.equal((await take(t, adfs, { iss: adfs.issuer })).role, 'administrator', 'its ID tokens');
    await t.rejects(
      take(t, adfs, {}, { alsoIssuers: [] }),
      refusal('token from another issuer'),
      'when it is not listed',
    );
    await t.rejects(take(t, adfs, { appid: 'other' }), refusal('token for another client'));
  },
);

t.test('Entra: app roles, groups, and groups that are too many', async (t) => {
  const tid = '11111111-2222-3333-4444-555555555555';
  const entra: Shape = {
    issuer: `https://login.microsoftonline.com/${tid}/v2.0`,
    jwksUri: `https://login.microsoftonline.com/${tid}/discovery/v2.0/keys`,
    rules: {
      audiences: ['sello-api'],
      authorizedParties: ['sello-cli'],
      rolesClaim: ['roles'],
      require: { tid },
      subjectClaim: ['oid'],
    },
    claims: {
      aud: 'sello-api',
      azp: 'sello-cli',
      azpacr: '1',
      oid: 'aaaa-oid',
      sub: 'pairwise',
      tid,
      ver: '2.0',
      uti: 'u',
      rh: 'r',
      roles: ['key-admins'],
      name: 'Ann',
      preferred_username: 'ann@example.org',
    },
  };
  const { person, role } = await take(t, entra);
  t.equal(role, 'administrator');
  t.equal(person.subject, 'aaaa-oid');
  const group = '9d0f-group';
  const byGroup = {
    rolesClaim: ['groups'],
    grants: [{ value: group, tenant: acme, role: 'operator' as const }],
  };
  t.equal((await take(t, entra, { groups: [group] }, byGroup)).role, 'operator');
  const overage = {
    _claim_names: { groups: 'src1' },
    _claim_sources: { src1: { endpoint: `https://graph.microsoft.com/v1.0/users/aaaa/getMemberObjects` } },
  };
  await t.rejects(take(t, entra, overage, byGroup), refusal('token names no groups: too many'), 'overage');
  await t.rejects(
    take(t, entra, { hasgroups: true }, byGroup),
    refusal('token names no groups: too many'),
    'its flag',
  );
  t.equal((await take(t, entra, overage)).role, 'administrator', 'app roles are in the token all the same');
  await t.rejects(take(t, entra, { tid: 'other' }), refusal('token required claim differs'));
  await t.rejects(
    take(t, entra, { iss: `https://sts.windows.net/${tid}/` }),
    refusal('token from another issuer'),
    'a token of version 1',
  );
  t.equal(
    (
      await take(
        t,
        entra,
        { iss: `https://sts.windows.net/${tid}/`, azp: undefined, appid: 'sello-cli', ver: '1.0' },
        { alsoIssuers: [`https://sts.windows.net/${tid}/`] },
      )
    ).role,
    'administrator',
    'when it is listed',
  );
  const common: Shape = { ...entra, issuer: 'https://login.microsoftonline.com/{tenantid}/v2.0' };
  await t.rejects(
    take(t, common, { iss: entra.issuer }),
    refusal('token from another issuer'),
    'a pattern is no issuer',
  );
});

t.test('claims that only look like roles grant nothing', async (t) => {
  for (const claims of [
    { roles: 'key-admins,other' },
    { roles: ' key-admins' },
    { roles: ['Key-Admins'] },
    { roles: ['key-admins\u0000'] },
    { roles: '' },
    { role: ['key-admins'] },
    { scope: 'key-admins' },
  ]) {
    const plain: Shape = {
      issuer: 'https://idp.example.org',
      jwksUri: 'https://idp.example.org/k',
      rules: { audiences: ['a'] },
      claims: { aud: 'a', sub: 's', ...claims } as JWTPayload,
    };
    t.equal((await take(t, plain)).role, undefined, JSON.stringify(claims));
  }
  const inherited: Shape = {
    issuer: 'https://idp.example.org',
    jwksUri: 'https://idp.example.org/k',
    rules: {
      audiences: ['a'],
      rolesClaim: ['constructor', 'name'],
      grants: [{ value: 'Object', tenant: acme, role: 'administrator' }],
    },
    claims: { aud: 'a', sub: 's' },
  };
  t.equal((await take(t, inherited)).role, undefined, 'and nothing that objects inherit');
});

t.test('one human across issuers, by a stable claim', async (t) => {
  const plain: Shape = {
    issuer: 'https://idp.example.org',
    jwksUri: 'https://idp.example.org/k',
    rules: { audiences: ['a'], stableClaim: ['email'] },
    claims: { aud: 'a', sub: 's', roles: ['key-admins'], email: ' Ann@Example.ORG', email_verified: true },
  };
  t.equal((await take(t, plain)).person.stableId, 'ann@example.org');
  t.equal(
    (await take(t, plain, { email_verified: false })).person.stableId,
    undefined,
    'an address that nobody verified tells nothing',
  );
  t.equal((await take(t, plain, { employee: 4711 }, { stableClaim: ['employee'] })).person.stableId, '4711');
});
