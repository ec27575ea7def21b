/** The `operators` section: the listener for people, OpenID providers, directories, and who gets which role. */
import Type from 'typebox';
import type { Static } from 'typebox';
import { tokenAlgorithms } from '../access/people/token-algorithms.ts';
import { roles } from '../access/people/roles.ts';
import type { TenantName } from '../tenants/name.ts';
import { choice, duration, fields, flag, list, named, path, scalar, section, text } from './fields.ts';
import type { Address } from './kinds.ts';

/** Of people's sources, secrets are in files: an environment is handed on to every child of a process. */
const fileSecret = (description: string) =>
  Type.Object(
    {
      file: Type.Optional(path('A file that holds the secret and nothing else.')),
      credential: Type.Optional(
        scalar<string>('credential name', { description: 'A systemd credential (`LoadCredential=`).' }),
      ),
    },
    { additionalProperties: false, minProperties: 1, maxProperties: 1, description },
  );

const claimName = text({ description: 'The name of a claim, whole.' });
const claim = (description: string) => list(claimName, description);
const texts = (each: string, description: string) => list(text({ description: each }), description);

const tenantOfRole = scalar<TenantName | '*'>('tenant name or *', {
  description: 'In which tenant; `*`: in each.',
});
const role = choice(roles, { description: 'Which role, docs/people.md.' });
const revoked = texts(
  'A subject.',
  'People who are refused whatever their provider says, by subject: tokens, sessions and approvals end with the reload.',
);
const ca = Type.Optional(path('CAs of the server, PEM. Not given: those of the system.'));
const timeout = duration('5s', 'For an answer.');

const oidc = fields({
  issuer: scalar<string>('issuer URL', {
    description:
      'The issuer, as its tokens have it. `/.well-known/openid-configuration` below it tells the rest.',
  }),
  alsoIssuers: list(
    text({ description: 'An issuer, as it stands in `iss`.' }),
    'Issuers of access tokens that differ from it, as AD FS’s `access_token_issuer`.',
  ),
  audiences: texts('An audience.', 'A bearer token must be for one of these; none: for `client.id`.'),
  client: Type.Optional(
    fields(
      {
        id: text({ description: 'Client id, as registered at the provider.' }),
        secret: Type.Optional(fileSecret('Client secret. Not given: a public client.')),
        authentication: choice(['basic', 'post'], {
          default: 'basic',
          description: 'How the secret is sent: `client_secret_basic` or `client_secret_post`.',
        }),
        scopes: texts('A scope.', 'Asked for beside `openid`; none: `profile` and `email`.'),
      },
      'For logins by browser, back at `URL/v1/operators/callback`. Not given: bearer tokens alone.',
    ),
  ),
  authorizedParties: texts(
    'A client id.',
    'Clients whose bearer tokens are taken (`azp`, `appid`, `client_id`, `cid`). None: a token’s `azp`, if it has one, is `client.id` or its audience.',
  ),
  algorithms: list(
    choice(tokenAlgorithms, { description: 'A signature algorithm.' }),
    'Algorithms that are taken; none: RS256, PS256, ES256 and EdDSA.',
  ),
  clockSkew: duration('30s', 'By which clocks may differ; at most 5m.'),
  maxTokenAge: duration('12h', 'Tokens issued longer ago are refused, whatever their end.'),
  bearer: choice(['any', 'at+jwt'], {
    default: 'any',
    description: '`at+jwt`: bearer tokens are RFC 9068 access tokens; an ID token is none.',
  }),
  rolesClaim: Type.Array(claimName, {
    minItems: 1,
    description: 'Where roles or groups are: names from the outside in, such as `[realm_access, roles]`.',
  }),
  roles: Type.Array(
    fields({
      value: text({ description: 'A value of the claim, whole.' }),
      claim: claim('In place of `rolesClaim`. `[email]` counts when `email_verified` is true.'),
      tenant: tenantOfRole,
      role,
    }),
    { minItems: 1, description: 'Who gets which role.' },
  ),
  require: named(
    text({ description: 'The text it must have.' }),
    'Claims that every token must have, such as `hd: example.org` at Google.',
  ),
  subjectClaim: claim(
    'What a person is known by; none: `[sub]`. At Entra `[oid]` is the same in every application.',
  ),
  stableClaim: claim(
    'Tells a human apart across providers and accounts, for dual control, such as `[employee_number]`. With several providers and none, one of each cannot approve for the other.',
  ),
  revoked,
  ca,
  timeout,
  keys: section('The provider’s keys.', {
    fresh: duration('5m', 'They are asked for again after this time.'),
    kept: duration('1h', 'While the provider is down the last ones serve up to this age.'),
  }),
});

const ldap = fields({
  url: scalar<string>('LDAP URL', {
    description: 'The server. TLS always: `ldaps:`, or `ldap:` with StartTLS.',
  }),
  ca,
  bind: Type.Object(
    {
      service: Type.Optional(
        fields(
          {
            dn: scalar<string>('distinguished name', { description: 'Its name.' }),
            password: fileSecret('Its password.'),
          },
          'An account that finds people and reads groups, also later, when rights are looked up again.',
        ),
      ),
      template: Type.Optional(
        text({
          description:
            'Without such an account: `uid={name},ou=people,dc=example,dc=org` or `{name}@corp.example.org`. Rights are then those of the login.',
        }),
      ),
    },
    {
      additionalProperties: false,
      minProperties: 1,
      maxProperties: 1,
      description: 'How to log in there. Exactly one.',
    },
  ),
  userBase: scalar<string>('distinguished name', { description: 'People are below it.' }),
  userFilter: text({
    default: '(&(objectClass=person)(uid={name}))',
    description: 'Finds a person by `{name}`. What it leaves out, such as disabled accounts, cannot log in.',
  }),
  idAttribute: scalar<string>('attribute name', {
    default: 'entryUUID',
    description: 'Unique, and never given to another. In Active Directory `objectGUID`.',
  }),
  nameAttribute: scalar<string>('attribute name', { default: 'displayName', description: 'Name to show.' }),
  stableAttribute: Type.Optional(
    scalar<string>('attribute name', {
      description: 'As `stableClaim` of OpenID providers, such as `employeeNumber`.',
    }),
  ),
  groups: Type.Object(
    {
      attribute: Type.Optional(
        scalar<string>('attribute name', {
          description: 'Attribute of a person with the DNs of groups, such as `memberOf`.',
        }),
      ),
      search: Type.Optional(
        fields(
          {
            base: scalar<string>('distinguished name', { description: 'Groups are below it.' }),
            attribute: scalar<string>('attribute name', {
              default: 'member',
              description: 'Has the DNs of members.',
            }),
            nested: flag(
              false,
              'Groups in groups, by Active Directory’s matching rule 1.2.840.113556.1.4.1941.',
            ),
          },
          'Groups that name the person.',
        ),
      ),
    },
    {
      additionalProperties: false,
      minProperties: 1,
      maxProperties: 1,
      description: 'Where groups are. Exactly one.',
    },
  ),
  roles: Type.Array(
    fields({
      group: scalar<string>('distinguished name', { description: 'DN of a group.' }),
      tenant: tenantOfRole,
      role,
    }),
    { minItems: 1, description: 'Who gets which role.' },
  ),
  revoked,
  timeout,
});

export function operatorsSection<T extends ReturnType<typeof fields>>(tls: T) {
  return fields(
    {
      address: scalar<Address>('address', { description: 'IP address and port of its own.' }),
      tls,
      url: Type.Optional(
        scalar<string>('origin', {
          description: 'Its address as browsers have it. Needed for logins by browser.',
        }),
      ),
      sessions: section('Of browsers.', {
        idle: duration('15m', 'A session without a request ends.'),
        absolute: duration('8h', 'Every session ends.'),
      }),
      approvals: section('What one person asks for and another approves.', {
        expire: duration('1h', 'A request that was not approved and used ends.'),
        use: duration('10m', 'An approval that was not used ends.'),
      }),
      oidc: named(oidc, 'OpenID providers by name.'),
      ldap: named(ldap, 'LDAP directories by name.'),
    },
    'The listener for people: auditors, operators and administrators. Off unless given.',
  );
}

export type OidcFields = Static<typeof oidc>;
export type LdapFields = Static<typeof ldap>;
