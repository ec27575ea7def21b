/** A tenant's `transit` section: checked where a schema cannot, with every default in its place. */
import type { SecretSource, TransitConfig, TransitRole } from './model.ts';
import type { SelloSecret, SelloTenant } from './schema-sello.ts';

type Refuse = (message: string, ...path: (string | number)[]) => void;

/** First segments that the KES face has, and those that belong to no mount. */
const takenSegments = new Set([
  'key',
  'policy',
  'identity',
  'log',
  'status',
  'metrics',
  'api',
  'ready',
  'sys',
  'auth',
]);
const segment = /^[0-9A-Za-z_-]{1,64}$/;

/** @param policies names of the tenant's */
export function transitOf(
  source: SelloTenant['transit'],
  tenant: string,
  policies: readonly string[],
  sourceOf: (secret: SelloSecret) => SecretSource,
  refuse: Refuse,
): TransitConfig | undefined {
  if (source === undefined) return undefined;
  const { mounts, tokens } = source;
  for (const [name, mount] of Object.entries(mounts)) {
    if (!segment.test(mount)) refuse(`mount '${mount}' is no single path segment`, 'mounts', name);
    if ((name === 'transit' || name === 'kv') && takenSegments.has(mount))
      refuse(`mount '${mount}' is taken by another face`, 'mounts', name);
  }
  if (mounts.transit === mounts.kv) refuse('Transit and KV need mounts of their own', 'mounts');
  const logins = [mounts.approle, mounts.kubernetes, mounts.cert, mounts.jwt, 'token'];
  if (new Set(logins).size !== logins.length) refuse('each kind of login needs a mount of its own', 'mounts');
  if (tokens.maxTtl < tokens.ttl) refuse("'maxTtl' is shorter than 'ttl'", 'tokens');
  if (tokens.ttl < leastTtlMs) refuse('a token lives for a second at least', 'tokens');

  const roleOf = (
    role: { policy: string; ttl?: number; maxTtl?: number; sources: string[] },
    ...path: string[]
  ): TransitRole => {
    if (!policies.includes(role.policy)) refuse(`policy '${role.policy}' is not there`, ...path);
    const ttlMs = role.ttl ?? tokens.ttl;
    const maxTtlMs = role.maxTtl ?? Math.max(tokens.maxTtl, ttlMs);
    if (maxTtlMs < ttlMs || ttlMs < leastTtlMs) refuse("'maxTtl' is shorter than 'ttl'", ...path);
    return { policy: role.policy, ttlMs, maxTtlMs, sources: role.sources };
  };
  const { jwt, kubernetes } = source;
  if (kubernetes !== undefined) {
    if ((kubernetes.review === undefined) === (kubernetes.issuer === undefined))
      refuse("needs 'review' or 'issuer', and not both", 'kubernetes');
    if (kubernetes.issuer !== undefined && kubernetes.audiences.length === 0)
      refuse("'audiences' is missing: without one a token for anybody would do", 'kubernetes');
    for (const [what, url] of [
      ['review', kubernetes.review?.url],
      ['issuer', kubernetes.issuer?.url],
    ] as const)
      if (url !== undefined && !isSafeUrl(url)) refuse(`'${url}' is no https: URL`, 'kubernetes', what);
  }
  if (jwt !== undefined && !isSafeUrl(jwt.issuer))
    refuse(`'${jwt.issuer}' is no https: URL`, 'jwt', 'issuer');
  return {
    mounts,
    namespace: source.namespace ?? tenant,
    certificateIsEnough: source.certificate === 'enough',
    tokens: { ttlMs: tokens.ttl, maxTtlMs: tokens.maxTtl },
    approle: Object.fromEntries(
      Object.entries(source.approle).map(([name, role]) => [
        name,
        {
          ...roleOf(role, 'approle', name),
          roleId: role.roleId,
          secretIdTtlMs: role.secretIdTtl,
          secretIdUses: role.secretIdUses,
        },
      ]),
    ),
    kubernetes: kubernetes && {
      review: kubernetes.review && {
        url: kubernetes.review.url,
        caFile: kubernetes.review.ca,
        token: kubernetes.review.token && sourceOf(kubernetes.review.token as SelloSecret),
      },
      issuer: kubernetes.issuer && { url: kubernetes.issuer.url, caFile: kubernetes.issuer.ca },
      audiences: kubernetes.audiences,
      roles: Object.fromEntries(
        Object.entries(kubernetes.roles).map(([name, role]) => [
          name,
          {
            ...roleOf(role, 'kubernetes', 'roles', name),
            serviceAccounts: role.serviceAccounts,
            namespaces: role.namespaces,
          },
        ]),
      ),
    },
    jwt: jwt && {
      issuer: jwt.issuer,
      caFile: jwt.ca,
      audiences: jwt.audiences,
      algorithms: jwt.algorithms.length === 0 ? ['RS256', 'ES256'] : jwt.algorithms,
      roles: Object.fromEntries(
        Object.entries(jwt.roles).map(([name, role]) => {
          if (role.subject === undefined && Object.keys(role.claims).length === 0)
            refuse("needs 'subject' or 'claims': any token of the provider would do", 'jwt', 'roles', name);
          return [
            name,
            { ...roleOf(role, 'jwt', 'roles', name), subject: role.subject, claims: role.claims },
          ];
        }),
      ),
    },
  };
}

const leastTtlMs = 1000;

/** Keys and tokens go over TLS; on this machine itself they need not. */
function isSafeUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { hostname, protocol } = new URL(text);
  return (
    protocol === 'https:' || (protocol === 'http:' && ['127.0.0.1', '[::1]', 'localhost'].includes(hostname))
  );
}
