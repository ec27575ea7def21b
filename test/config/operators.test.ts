/** The `operators` section: what it means, and what is refused with its place. */
import path from 'node:path';
import t from 'tap';
import { parseConfig, watchedFiles } from '../../src/config/index.ts';
import type { Config } from '../../src/config/model.ts';

const oidc = {
  issuer: 'https://idp.example.org/realms/main',
  audiences: ['sello'],
  rolesClaim: ['realm_access', 'roles'],
  roles: [{ value: 'admins', tenant: 'acme', role: 'administrator' }],
};
const ldap = {
  url: 'ldaps://dc1.example.org',
  bind: { service: { dn: 'cn=sello,dc=example,dc=org', password: { file: 'ldap-password' } } },
  userBase: 'ou=people,dc=example,dc=org',
  groups: { search: { base: 'ou=groups,dc=example,dc=org' } },
  roles: [{ group: 'cn=Key Admins,ou=groups,dc=example,dc=org', tenant: '*', role: 'auditor' }],
};
const base = {
  address: '127.0.0.1:7375',
  tls: { cert: 'o.crt', key: 'o.key' },
  url: 'https://sello.example.org:7375',
  oidc: { main: oidc },
  ldap: { office: ldap },
};

function parse(operators: unknown): Config {
  return parseConfig(
    `version: sello/v1
listeners: [{address: "127.0.0.1:7373", tls: {cert: s.crt, key: s.key}}]
operators: ${JSON.stringify(operators)}
tenants: [{name: acme, admins: [${'a'.repeat(64)}], clients: {auth: off}, keystore: {fs: {path: keys}}}]
`,
    { file: path.resolve('/etc/sello/sello.yaml'), env: {} },
  );
}

const refused = (operators: unknown): string => {
  try {
    parse(operators);
    return 'taken';
  } catch (error) {
    return String((error as { detail?: string }).detail);
  }
};

t.test('a section as it is read', async (t) => {
  const { operators } = parse({
    ...base,
    oidc: {
      main: {
        ...oidc,
        client: { id: 'console', secret: { file: 'secret' } },
        stableClaim: ['email'],
        ca: 'idp.pem',
      },
    },
  });
  t.match(operators, {
    host: '127.0.0.1',
    port: 7375,
    tls: { certFile: '/etc/sello/o.crt', minVersion: 'TLSv1.3' },
    url: 'https://sello.example.org:7375',
    sessions: { idleMs: 900_000, absoluteMs: 28_800_000 },
    approvals: { lifeMs: 3_600_000, useWithinMs: 600_000 },
    oidc: [
      {
        name: 'main',
        algorithms: ['RS256', 'PS256', 'ES256', 'EdDSA'],
        client: {
          id: 'console',
          secret: { from: 'file', path: '/etc/sello/secret' },
          authentication: 'basic',
          scopes: ['openid', 'profile', 'email'],
        },
        rolesClaim: ['realm_access', 'roles'],
        subjectClaim: ['sub'],
        stableClaim: ['email'],
        clockSkewMs: 30_000,
        caFile: '/etc/sello/idp.pem',
      },
    ],
    ldap: [
      {
        name: 'office',
        bind: { by: 'service', password: { from: 'file' } },
        userFilter: '(&(objectClass=person)(uid={name}))',
        idAttribute: 'entryUUID',
        groups: { by: 'search', attribute: 'member', nested: false },
        roles: [{ tenant: '*', role: 'auditor' }],
      },
    ],
  });
  const files = watchedFiles(parse({ ...base, oidc: { main: { ...oidc, ca: 'idp.pem' } } }));
  for (const file of ['o.crt', 'o.key', 'idp.pem']) t.ok(files.includes(`/etc/sello/${file}`), file);
  t.equal(parse(base).operators!.oidc[0]!.client, undefined);
});

t.test('what would let in the wrong people is refused, with its place', async (t) => {
  const provider = (changes: object) => ({ ...base, oidc: { main: { ...oidc, ...changes } } });
  const directory = (changes: object) => ({ ...base, ldap: { office: { ...ldap, ...changes } } });
  const cases: [unknown, RegExp][] = [
    [{ ...base, oidc: {}, ldap: {} }, /nobody could log in/],
    [provider({ audiences: [] }), /'audiences' or 'client' is missing/],
    [provider({ algorithms: ['none'] }), /must be one of: RS256/],
    [provider({ algorithms: ['HS256'] }), /must be one of: RS256/],
    [provider({ issuer: 'http://idp.example.org' }), /the URL of an issuer/],
    [provider({ issuer: 'https://idp.example.org?x=1' }), /the URL of an issuer/],
    [provider({ issuer: 'https://user:pass@idp.example.org' }), /the URL of an issuer/],
    [provider({ clockSkew: '6m' }), /'clockSkew' is at most 5m/],
    [provider({ keys: { fresh: '2h', kept: '1h' } }), /shorter/],
    [provider({ rolesClaim: [] }), /at least 1/],
    [provider({ roles: [{ value: 'a', tenant: 'acne', role: 'auditor' }] }), /there is no tenant 'acne'/],
    [
      provider({ roles: [{ value: 'a', tenant: 'acme', role: 'root' }] }),
      /must be one of: auditor, operator, administrator/,
    ],
    [provider({ client: { id: 'x', secret: { env: 'SECRET' } } }), /unknown field 'env'/],
    [{ ...provider({ client: { id: 'x' } }), url: undefined }, /'url' is missing/],
    [{ ...base, url: 'http://sello.example.org' }, /an address as browsers have it/],
    [{ ...base, url: 'https://sello.example.org/' }, /without a slash/],
    [{ ...base, url: 'https://sello.example.org/path' }, /an address as browsers have it/],
    [{ ...base, oidc: { a: oidc, b: oidc } }, /two providers have the issuer/],
    [{ ...base, oidc: { 'a b': oidc } }, /no name/],
    [{ ...base, sessions: { idle: '0s' } }, /without an end/],
    [{ ...base, approvals: { expire: '0s' } }, /without an end/],
    [{ ...base, address: '127.0.0.1:7373' }, /two listeners have the address/],
    [directory({ url: 'http://dc1' }), /upgraded to TLS/],
    [directory({ url: 'ldap://dc1/dc=x' }), /upgraded to TLS/],
    [directory({ userFilter: '(uid=ann)' }), /no \{name\}/],
    [directory({ bind: { template: '{name}' } }), /something beside it/],
    [directory({ bind: { template: 'uid={name},=x' } }), /no distinguished name/],
    [directory({ bind: { template: '{name}@x', service: ldap.bind.service } }), /exactly one of/],
    [directory({ groups: {} }), /exactly one of/],
    [directory({ roles: [{ group: 'Key Admins', tenant: '*', role: 'auditor' }] }), /distinguished name/],
  ];
  for (const [operators, message] of cases) {
    const said = refused(operators);
    t.match(said, message);
    t.match(said, /^\/etc\/sello\/sello\.yaml:\d+:\d+: /, 'with its place');
  }
});
