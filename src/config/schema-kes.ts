/**
 * A KES configuration file, version v1, as KES reads it, and one section of ours: `sello`.
 * Older forms are turned into this one first (kes-legacy.ts); keystores we do not have are refused by name there.
 */
import Type from 'typebox';
import type { Static } from 'typebox';
import type { Identity } from '../access/identity.ts';
import { choice, count, duration, fields, flag, list, named, path, scalar, section, text } from './fields.ts';
import type { Address } from './kinds.ts';
import { extraAddresses, vaultTiming } from './schema-vault.ts';
import {
  auditDeadline,
  auditMode,
  auditModes,
  cacheBounds,
  errorTexts,
  limitsSection,
  listForm,
  patternMatching,
  processes,
  propagation,
  lifecycle,
  quotaSection,
  requireClientAuthEku,
} from './schema-shared.ts';
import { trailFields } from './schema-trail.ts';

const pattern = text({
  description: 'A path, or the beginning of paths followed by `*`. Variables are not replaced here.',
});

const logLevel = (description: string) => text({ default: 'on', description });

const vaultFolder = (value: string, description: string) =>
  scalar<string>('vault folder', { default: value, description });

const vaultNamespace = (description: string) =>
  Type.Optional(scalar<string>('vault folder', { description }));

/** KES's `keystore.vault`, field by field. */
const kesVault = fields(
  {
    endpoint: scalar<string>('vault address', { description: 'Address of Vault.' }),
    engine: vaultFolder('kv', 'Mount of the KV engine.'),
    version: choice(['v1', 'v2'], { default: 'v1', description: 'Version of the KV engine.' }),
    namespace: vaultNamespace('Namespace of the keys.'),
    prefix: Type.Optional(
      scalar<string>('vault folder', { description: 'Folder of the keys in the engine.' }),
    ),
    transit: Type.Optional(
      fields(
        {
          engine: vaultFolder('transit', 'Mount of the Transit engine.'),
          key: scalar<string>('vault role', { description: 'Key that encrypts what is stored.' }),
        },
        'Stored values are encrypted by a Transit key. Any of its versions decrypts, not only the first as in KES.',
      ),
    ),
    approle: Type.Optional(
      fields(
        {
          namespace: vaultNamespace('Namespace of the login; `/` is the root. Not given: that of the keys.'),
          engine: vaultFolder('approle', 'Mount of the login method.'),
          id: text({ description: 'The role_id.' }),
          secret: text({ description: 'The secret_id; better as `${NAME}`.' }),
        },
        'Login by AppRole.',
      ),
    ),
    kubernetes: Type.Optional(
      fields(
        {
          namespace: vaultNamespace('Namespace of the login; `/` is the root. Not given: that of the keys.'),
          engine: vaultFolder('kubernetes', 'Mount of the login method.'),
          role: scalar<string>('vault role', { description: 'Role of the login.' }),
          jwt: Type.Optional(
            text({
              description:
                'The service account’s token, or the file with it, read at every login. Not given: where Kubernetes mounts it.',
            }),
          ),
        },
        'Login by a Kubernetes service account.',
      ),
    ),
    tls: section('TLS to Vault.', {
      key: Type.Optional(path('Private key of the client certificate, PEM.')),
      cert: Type.Optional(path('Client certificate, PEM.')),
      ca: Type.Optional(path('CA of Vault’s certificate, PEM. Not given: the system’s.')),
    }),
    status: section('How Vault is looked after.', {
      ping: duration('10s', 'An idle Vault is looked after this often.'),
    }),
  },
  'Vault’s KV engine as KES uses it.',
);

export const kesSchema = fields({
  version: Type.Optional(text({ description: '`v1`.' })),
  address: scalar<Address>('address', {
    default: '0.0.0.0:7373',
    description: 'IP address and port; no host names.',
  }),
  admin: Type.Optional(
    fields(
      {
        identity: Type.Optional(
          text({
            description:
              'May do everything. Anything that is not an identity, such as `disabled`: no admin. Required.',
          }),
        ),
      },
      'The admin. Required.',
    ),
  ),
  tls: fields(
    {
      key: path('Private key, PEM.'),
      cert: path('Certificate and intermediates, PEM.'),
      password: Type.Optional(
        text({ description: 'Password of an encrypted private key; better as `${NAME}`.' }),
      ),
      auth: choice(['on', 'off'], {
        default: 'off',
        description:
          '`on`: client certificates must chain to `ca`. `off`: the list of identities alone decides.',
      }),
      ca: Type.Optional(path('Trusted CAs with `auth: on`: a file or a folder. Not given: the system’s.')),
      proxy: Type.Optional(
        fields(
          {
            identities: list(
              scalar<Identity>('identity', { description: 'Identity of a proxy.' }),
              'Proxies that may forward client certificates. Works here, unlike in KES since 2023-10.',
            ),
            header: section('Names of headers.', {
              cert: scalar<string>('header name', {
                default: 'X-Tls-Client-Cert',
                description: 'Header with the certificate.',
              }),
            }),
          },
          'TLS proxies in front of the server.',
        ),
      ),
    },
    'The server’s certificate and what it asks of clients. TLS 1.2 and newer.',
  ),
  policy: named(
    fields({
      allow: list(pattern, 'Paths that are allowed.'),
      deny: list(pattern, 'Paths that are refused, whatever `allow` says.'),
      identities: list(
        text({ description: 'An identity.' }),
        'Who this policy is for. An identity is in one policy.',
      ),
    }),
    'Policies by name.',
  ),
  keystore: section('Where the master keys are. Exactly one. Required.', {
    fs: Type.Optional(
      fields({ path: path('Folder with a file per key.') }, 'Files as KES writes them, not encrypted.'),
    ),
    vault: Type.Optional(kesVault),
  }),
  cache: section('Master keys held in memory.', {
    expiry: section('Lives of cached keys.', {
      any: duration('5m', 'A key is loaded anew this long after it was loaded; `0`: never.'),
      unused: duration('30s', 'A key unused this long is forgotten.'),
      offline: duration('0s', 'How long keys are served past their life while the keystore is down.'),
    }),
  }),
  log: section('What is written to standard error and standard output.', {
    error: logLevel(
      '`on` (INFO), `off`, `DEBUG`, `INFO`, `WARN`, `ERROR`, each with `+N` or `-N`, or a number.',
    ),
    audit: logLevel(
      'The same; audit records are of level INFO. Above it: no audit records, unless `sello.audit` is there.',
    ),
    format: choice(['JSON', 'json', 'TEXT', 'text'], {
      default: 'JSON',
      description: '`TEXT` is for people.',
    }),
  }),
  api: named(
    fields({
      skip_auth: flag(
        false,
        'Answer without a client certificate. Honoured on `/v1/ready`, `/v1/status`, `/v1/metrics`, `/v1/api` and `/version` alone.',
      ),
      timeout: Type.Optional(scalar<number>('duration', { description: 'The route’s own time limit.' })),
    }),
    'Settings by exact route path, such as `/v1/status` or `/v1/key/generate/`.',
  ),
  keys: list(
    fields({ name: scalar<string>('key name', { description: 'A key name.' }) }),
    'Created at start when absent.',
  ),
  sello: section('What KES does not have. KES ignores this section.', {
    errorTexts,
    lists: listForm,
    patterns: patternMatching,
    minTlsVersion: choice(['TLSv1.2', 'TLSv1.3'], { default: 'TLSv1.2', description: 'Lowest TLS version.' }),
    requireClientAuthEku: requireClientAuthEku(false),
    crls: list(path('A PEM or DER file.'), 'Certificate revocation lists, used with `tls.auth: on`.'),
    staleCrl: choice(['refuse', 'accept'], {
      default: 'refuse',
      description: 'What a list past its next update means for the clients of its CA.',
    }),
    probes: scalar<Address | 'off'>('optional address', {
      default: 'off',
      description: 'Plain HTTP listener for `/livez`, `/readyz` and `/metrics`, or `off`.',
    }),
    processes,
    propagation,
    limits: limitsSection('0s'),
    cache: section('More about the cache.', cacheBounds),
    quota: quotaSection(4096),
    lifecycle,
    vault: section('More about `keystore.vault`.', {
      addresses: extraAddresses,
      records: Type.Optional(
        scalar<string>('vault folder', {
          description:
            'Folder in the same engine for what KES must not see: states and later versions. Not given: `PREFIX.sello`; none without a prefix.',
        }),
      ),
      timeout: vaultTiming.timeout,
      connectTimeout: vaultTiming.connectTimeout,
      maxConnections: vaultTiming.maxConnections,
    }),
    audit: Type.Optional(
      fields(
        {
          mode: choice(auditModes, auditMode),
          path: scalar<string>('path or -', {
            default: '-',
            description:
              'Folder of a chained trail when it ends in `/`; else a plain file of JSON lines, or `-` for standard output.',
          }),
          deadline: auditDeadline,
          ...trailFields,
          maxRecordsPerSecond: count(
            100,
            { minimum: 1, maximum: 1_000_000 },
            'More refusals before a policy is known, of the same source and reason, are counted, not written one by one.',
          ),
        },
        'The audit stream. When given, `log.audit` has no say.',
      ),
    ),
  }),
});

export type KesFile = Static<typeof kesSchema>;
