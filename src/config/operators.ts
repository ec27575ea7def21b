/** From the `operators` section to the model, with what a field alone cannot tell. */
import { normalizeDn } from '../access/people/ldap-names.ts';
import { defaultTokenAlgorithms } from '../access/people/token-algorithms.ts';
import { isName } from '../keys/names.ts';
import type { LdapConfig, OidcConfig, OperatorsConfig, SecretSource, TlsConfig } from './model.ts';
import type { LdapFields, OidcFields } from './schema-operators.ts';
import type { SelloFile, SelloSecret } from './schema-sello.ts';

export interface OperatorsReading {
  readonly tenants: readonly string[];
  readonly tls: TlsConfig;
  readonly sourceOf: (secret: SelloSecret) => SecretSource;
  /** `path` is below `operators`. */
  readonly refuse: (message: string, ...path: (string | number)[]) => void;
}

/** More would let a stolen token live on after its end. */
const maxClockSkewMs = 5 * 60_000;

export function operatorsOf(
  source: NonNullable<SelloFile['operators']>,
  reading: OperatorsReading,
): OperatorsConfig {
  const { refuse, tls } = reading;
  const { address, url, sessions, approvals } = source;
  const oidc = Object.entries(source.oidc);
  const ldap = Object.entries(source.ldap);
  if (oidc.length + ldap.length === 0)
    refuse("'operators' needs an OpenID provider or a directory: nobody could log in");
  for (const [kind, entries] of [
    ['oidc', oidc],
    ['ldap', ldap],
  ] as const) {
    for (const [name] of entries)
      if (!isName(name))
        refuse(`'${name}' is no name: 1 to 80 of 'A-Z', 'a-z', '0-9', '_' and '-'`, kind, name);
  }
  if (url === undefined && oidc.some(([, { client }]) => client !== undefined))
    refuse("'url' is missing: a login by browser comes back to it");
  if (sessions.idle === 0 || sessions.absolute === 0)
    refuse('a session without an end is not possible', 'sessions');
  if (approvals.expire === 0 || approvals.use === 0)
    refuse('an approval without an end is not possible', 'approvals');
  repeated(oidc.map(([name, { issuer, alsoIssuers }]) => [name, [issuer, ...alsoIssuers]])).forEach(
    ([name, issuer]) => refuse(`two providers have the issuer '${issuer}'`, 'oidc', name, 'issuer'),
  );
  return {
    ...address,
    tls,
    url,
    sessions: { idleMs: sessions.idle, absoluteMs: sessions.absolute },
    approvals: { lifeMs: approvals.expire, useWithinMs: approvals.use },
    oidc: oidc.map(([name, fields]) => oidcOf(name, fields, reading)),
    ldap: ldap.map(([name, fields]) => ldapOf(name, fields, reading)),
  };
}

function oidcOf(name: string, fields: OidcFields, reading: OperatorsReading): OidcConfig {
  const { client, keys } = fields;
  const refuse = (message: string, ...path: (string | number)[]): void =>
    reading.refuse(message, 'oidc', name, ...path);
  if (client === undefined && fields.audiences.length === 0)
    refuse("'audiences' or 'client' is missing: a token for anybody else would do");
  if (fields.clockSkew > maxClockSkewMs) refuse("'clockSkew' is at most 5m", 'clockSkew');
  if (keys.kept < keys.fresh) refuse("'keys.kept' is shorter than 'keys.fresh'", 'keys', 'kept');
  fields.roles.forEach(({ tenant }, i) => knownTenant(tenant, reading, 'oidc', name, 'roles', i));
  return {
    name,
    issuer: fields.issuer,
    alsoIssuers: fields.alsoIssuers,
    audiences: fields.audiences,
    client: client && {
      id: client.id,
      secret: client.secret && reading.sourceOf(client.secret),
      authentication: client.authentication,
      scopes: ['openid', ...(client.scopes.length === 0 ? ['profile', 'email'] : client.scopes)],
    },
    authorizedParties: fields.authorizedParties,
    algorithms: fields.algorithms.length === 0 ? defaultTokenAlgorithms : fields.algorithms,
    clockSkewMs: fields.clockSkew,
    maxTokenAgeMs: fields.maxTokenAge,
    bearer: fields.bearer,
    rolesClaim: fields.rolesClaim,
    roles: fields.roles.map(({ value, claim, tenant, role }) => ({
      value,
      claim: claim.length === 0 ? undefined : claim,
      tenant,
      role,
    })),
    require: { ...fields.require },
    subjectClaim: fields.subjectClaim.length === 0 ? ['sub'] : fields.subjectClaim,
    nameClaims: [['name'], ['preferred_username'], ['upn'], ['unique_name'], ['email']],
    stableClaim: fields.stableClaim.length === 0 ? undefined : fields.stableClaim,
    revoked: fields.revoked,
    caFile: fields.ca,
    timeoutMs: fields.timeout,
    keys: { freshMs: keys.fresh, keptMs: keys.kept },
  };
}

function ldapOf(name: string, fields: LdapFields, reading: OperatorsReading): LdapConfig {
  const { bind, groups } = fields;
  const refuse = (message: string, ...path: (string | number)[]): void =>
    reading.refuse(message, 'ldap', name, ...path);
  if (!fields.userFilter.includes('{name}')) refuse("'userFilter' has no {name}", 'userFilter');
  if (bind.template !== undefined && !/\{name\}.|.\{name\}/s.test(bind.template))
    refuse("'bind.template' needs {name} and something beside it", 'bind', 'template');
  if (bind.template?.includes('=') && normalizeDn(bind.template.replaceAll('{name}', 'name')) === undefined)
    refuse("'bind.template' is no distinguished name", 'bind', 'template');
  fields.roles.forEach(({ tenant }, i) => knownTenant(tenant, reading, 'ldap', name, 'roles', i));
  return {
    name,
    url: fields.url,
    caFile: fields.ca,
    bind:
      bind.service === undefined
        ? { by: 'template', template: bind.template ?? '' }
        : { by: 'service', dn: bind.service.dn, password: reading.sourceOf(bind.service.password) },
    userBase: fields.userBase,
    userFilter: fields.userFilter,
    idAttribute: fields.idAttribute,
    nameAttribute: fields.nameAttribute,
    stableAttribute: fields.stableAttribute,
    groups:
      groups.search === undefined
        ? { by: 'attribute', attribute: groups.attribute ?? '' }
        : { by: 'search', ...groups.search },
    roles: fields.roles.map(({ group, tenant, role }) => ({ value: group, tenant, role })),
    timeoutMs: fields.timeout,
    revoked: fields.revoked,
  };
}

/** A role in a tenant with a slip of the pen would be nobody's, without a word. */
function knownTenant(
  tenant: string,
  { tenants, refuse }: OperatorsReading,
  ...path: (string | number)[]
): void {
  if (tenant !== '*' && tenant !== '' && !tenants.includes(tenant))
    refuse(`there is no tenant '${tenant}'`, ...path, 'tenant');
}

/** The later of two entries that have a text in common. */
function repeated(entries: readonly (readonly [string, readonly string[]])[]): [string, string][] {
  const seen = new Set<string>();
  const found: [string, string][] = [];
  for (const [name, texts] of entries) {
    for (const text of new Set(texts)) {
      if (seen.has(text)) found.push([name, text]);
      seen.add(text);
    }
  }
  return found;
}
