/** The fields of a tenant's `transit` section. */
import Type from 'typebox';
import type { Static, TSchema } from 'typebox';
import { tokenAlgorithms } from '../access/people/token-algorithms.ts';
import { choice, count, duration, fields, list, named, path, scalar, section, text } from './fields.ts';

const mount = (value: string, description: string) => text({ default: value, description });

const roleFields = {
  policy: text({ description: 'The policy of whoever logs in with this role.' }),
  ttl: Type.Optional(scalar<number>('duration', { description: 'As `tokens.ttl`, for this role.' })),
  maxTtl: Type.Optional(scalar<number>('duration', { description: 'As `tokens.maxTtl`, for this role.' })),
  sources: list(
    scalar<string>('network', { description: 'CIDR block.' }),
    'Networks that may log in; none: all.',
  ),
};

const ca = Type.Optional(path('CAs of it, PEM; the system’s unless given.'));

export function transitSection<T extends TSchema>(secret: (description: string) => T) {
  return fields(
    {
      mounts: section('First segments of paths after `/v1/` or `/v1/auth/`, as clients have them.', {
        transit: mount('transit', 'The Transit engine.'),
        kv: mount('secret', 'The KV engine, version 2.'),
        approle: mount('approle', 'Logins by AppRole.'),
        kubernetes: mount('kubernetes', 'Logins of service accounts.'),
        cert: mount('cert', 'Logins by client certificate.'),
        jwt: mount('jwt', 'Logins by a token of an OpenID provider.'),
      }),
      namespace: Type.Optional(
        text({
          description:
            'What `X-Vault-Namespace` may say. It confirms the tenant and chooses none. The tenant’s name unless given.',
        }),
      ),
      certificate: choice(['login', 'enough'], {
        default: 'login',
        description:
          '`login`: a certificate gets a token at `auth/cert/login`, and requests need the token. `enough`: requests without a token are judged by their certificate.',
      }),
      tokens: section('Tokens that logins give.', {
        ttl: duration('1h', 'Life of a token, and what a renewal gives.'),
        maxTtl: duration('24h', 'A token is renewed up to this age.'),
      }),
      approle: named(
        fields({
          ...roleFields,
          roleId: Type.Optional(
            text({ description: 'Made from tenant and role unless given. It is no secret.' }),
          ),
          secretIdTtl: duration('24h', 'Life of a secret id; `0`: it has no end.'),
          secretIdUses: count(
            0,
            { minimum: 0, maximum: 1_000_000 },
            'Logins with one secret id; 0: any number.',
          ),
        }),
        'Roles that log in with a role id and a secret id.',
      ),
      kubernetes: Type.Optional(
        fields(
          {
            review: Type.Optional(
              fields(
                {
                  url: text({ description: 'The API server, such as `https://kubernetes.default.svc`.' }),
                  ca,
                  token: Type.Optional(
                    secret('Bearer token for the TokenReview; the login’s own unless given.'),
                  ),
                },
                'Tokens are shown to the API server (TokenReview): what it revoked is refused.',
              ),
            ),
            issuer: Type.Optional(
              fields(
                { url: text({ description: 'Issuer of service account tokens.' }), ca },
                'Tokens are checked with the issuer’s published keys, without asking for each.',
              ),
            ),
            audiences: list(
              text({ description: 'An audience.' }),
              'One of these must be the token’s audience; required with `issuer`.',
            ),
            roles: named(
              fields({
                ...roleFields,
                serviceAccounts: Type.Array(text({ description: 'Name of a service account; `*`: any.' }), {
                  minItems: 1,
                  description: 'Service accounts that may log in.',
                }),
                namespaces: Type.Array(text({ description: 'A namespace.' }), {
                  minItems: 1,
                  description: 'Their namespaces.',
                }),
              }),
              'Roles of service accounts.',
            ),
          },
          'Logins of Kubernetes service accounts; off unless given.',
        ),
      ),
      jwt: Type.Optional(
        fields(
          {
            issuer: text({ description: 'The provider’s issuer, as in its tokens.' }),
            ca,
            audiences: Type.Array(text({ description: 'An audience.' }), {
              minItems: 1,
              description: 'One of these must be the token’s audience.',
            }),
            algorithms: list(
              choice(tokenAlgorithms, { description: 'Algorithm.' }),
              'RS256 and ES256 unless given.',
            ),
            roles: named(
              fields({
                ...roleFields,
                subject: Type.Optional(text({ description: 'The `sub` claim must be this.' })),
                claims: named(text({ description: 'Text of the claim.' }), 'Claims that must be there.'),
              }),
              'Roles of the provider’s subjects.',
            ),
          },
          'Logins with tokens of an OpenID provider; off unless given.',
        ),
      ),
    },
    'Vault’s Transit and KV 2 for RustFS and other clients of Vault; off unless given.',
  );
}

export type TransitFields = Static<ReturnType<typeof transitSection>>;
