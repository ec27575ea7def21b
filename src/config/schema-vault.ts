/** How a Sello file describes a Vault: the connection and the login, shared by every kind of custody in it. */
import Type from 'typebox';
import type { Static, TSchema } from 'typebox';
import { bytes, choice, count, duration, fields, list, path, scalar, section } from './fields.ts';

export const vaultTiming = {
  timeout: duration('10s', 'For a whole call, with what is tried again in it.'),
  connectTimeout: duration('3s', 'For a connection, TLS handshake included.'),
  ping: duration(
    '10s',
    'An idle Vault is looked after this often, so that an outage is known before a request meets it.',
  ),
  maxConnections: count(16, { minimum: 1, maximum: 1024 }, 'Connections per address and process.'),
};

const mount = (value: string) =>
  scalar<string>('vault folder', {
    default: value,
    description: 'Where the login method is mounted below `auth/`.',
  });

const loginNamespace = Type.Optional(
  scalar<string>('vault folder', {
    description: 'Namespace of the login; `/` is the root. Not given: the one of the data.',
  }),
);

const role = (description: string) => scalar<string>('vault role', { description });

/** `secret` is the dialect's way to name a secret. */
export function vaultFields<S extends TSchema>(secret: (description: string) => S) {
  return {
    addresses: Type.Array(scalar<string>('vault address', { description: 'An address of Vault.' }), {
      minItems: 1,
      description: 'Addresses of one Vault, in order of preference. Redirects lead nowhere else.',
    }),
    namespace: Type.Optional(
      scalar<string>('vault folder', { description: 'Namespace of the data (Vault Enterprise, OpenBao).' }),
    ),
    tls: section('TLS to Vault. Files are read again when they change.', {
      ca: Type.Optional(path('CA of Vault’s certificate, PEM. Not given: the system’s.')),
      cert: Type.Optional(path('Client certificate, PEM.')),
      key: Type.Optional(path('Its private key, PEM.')),
      serverName: Type.Optional(
        scalar<string>('server name', {
          description: 'Name in Vault’s certificate, where it is not the address’s.',
        }),
      ),
    }),
    login: Type.Object(
      {
        token: Type.Optional(secret('A token. From a file it is read again when Vault refuses it.')),
        approle: Type.Optional(
          fields(
            {
              mount: mount('approle'),
              namespace: loginNamespace,
              roleId: secret('The role_id.'),
              secretId: secret('The secret_id, or a wrapping token of it.'),
              wrappedFor: Type.Optional(
                role(
                  'Role for which `secretId` is a response-wrapped secret_id; where it was made is checked.',
                ),
              ),
            },
            'AppRole.',
          ),
        ),
        kubernetes: Type.Optional(
          fields(
            {
              mount: mount('kubernetes'),
              namespace: loginNamespace,
              role: role('Role of the login.'),
              jwt: path(
                'File with the service account’s token; `/var/run/secrets/kubernetes.io/serviceaccount/token` in a pod.',
              ),
            },
            'A Kubernetes service account, checked by the cluster.',
          ),
        ),
        jwt: Type.Optional(
          fields(
            {
              mount: mount('jwt'),
              namespace: loginNamespace,
              role: role('Role of the login.'),
              jwt: secret('The JWT.'),
            },
            'A JWT, checked by its signature.',
          ),
        ),
        cert: Type.Optional(
          fields(
            {
              mount: mount('cert'),
              namespace: loginNamespace,
              role: Type.Optional(role('Name of the certificate role. Not given: Vault tries them all.')),
            },
            'The client certificate of `tls`.',
          ),
        ),
        agent: Type.Optional(fields({}, 'No token: a Vault agent in front adds one.')),
      },
      {
        additionalProperties: false,
        minProperties: 1,
        maxProperties: 1,
        description: 'How Sello comes by a token. Exactly one.',
      },
    ),
    ...vaultTiming,
  };
}

export function vaultKvFields<S extends TSchema>(secret: (description: string) => S) {
  return {
    ...vaultFields(secret),
    engine: scalar<string>('vault folder', { default: 'kv', description: 'Mount of the KV engine.' }),
    version: count(
      2,
      { minimum: 1, maximum: 2 },
      'Version of the KV engine. Version 1 has no records and so no rotation.',
    ),
    prefix: Type.Optional(
      scalar<string>('vault folder', {
        description: 'Folder of the keys in the engine, `/` for its top. Not given: the name of the tenant.',
      }),
    ),
    records: Type.Optional(
      scalar<string>('vault folder', {
        description:
          'Folder in the same engine for what KES must not see: states and later versions. Not given: `PREFIX.sello`; none where the keys are at the top.',
      }),
    ),
    transit: Type.Optional(
      fields(
        {
          engine: scalar<string>('vault folder', {
            default: 'transit',
            description: 'Mount of the Transit engine.',
          }),
          key: role('Key that encrypts what is stored; any of its versions decrypts.'),
        },
        'Stored values are encrypted by a Transit key before they are written.',
      ),
    ),
    auditSigning: Type.Optional(
      fields(
        {
          engine: scalar<string>('vault folder', {
            default: 'transit',
            description: 'Mount of the Transit engine.',
          }),
          key: role('Ed25519 key; it must not be derived or exportable.'),
        },
        'The checkpoints of this tenant’s audit trail are signed by a Transit key, in place of `audit.signingKey`.',
      ),
    ),
  };
}

/** Vault Transit as the keeper of master keys, with a KV engine for what is stored beside them. */
export function vaultTransitFields<S extends TSchema>(secret: (description: string) => S) {
  const { version: _version, transit: _transit, prefix, records, engine, ...vault } = vaultKvFields(secret);
  return {
    ...vault,
    engine,
    prefix,
    records,
    mode: choice(['strict', 'cached'], {
      default: 'cached',
      description:
        '`strict`: each data key is wrapped by Transit. `cached`: by an intermediate key in memory, which Transit wrapped and which is stored (docs/custody.md).',
    }),
    transit: section('Where the master keys are.', {
      engine: scalar<string>('vault folder', {
        default: 'transit',
        description: 'Mount of the Transit engine.',
      }),
      keyPrefix: Type.Optional(role('Names of the master keys in it begin so. Not given: `sello-TENANT-`.')),
      key: Type.Optional(
        role('Key that encrypts what is stored in the KV engine. Not given: `sello-TENANT`.'),
      ),
    }),
    intermediate: section(
      'Bounds of one intermediate key in one process (`cached`). They bound what it seals, never what it opens.',
      {
        maxAge: duration('24h', 'After this time another one seals.'),
        maxUses: count(10_000_000, { minimum: 1, maximum: 1_000_000_000 }, 'Data keys it seals.'),
        maxBytes: bytes('1GiB', 'Bytes it seals: a data key is 32 of them.'),
      },
    ),
  };
}

const secretShape = () =>
  Type.Object({
    file: Type.Optional(Type.String()),
    env: Type.Optional(Type.String()),
    credential: Type.Optional(Type.String()),
  });

/** The sections' shapes, for their types. */
export const kvShape = fields(vaultKvFields(secretShape));
export const transitShape = fields(vaultTransitFields(secretShape));

/** A Vault as a Sello file has it, read. */
export type VaultKvSection = Static<typeof kvShape>;
export type VaultTransitSection = Static<typeof transitShape>;

export const extraAddresses = list(
  scalar<string>('vault address', { description: 'An address of the same Vault.' }),
  'Further addresses of the Vault of `keystore.vault`, asked when its endpoint does not serve.',
);
