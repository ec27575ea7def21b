/** Sello's own dialect: `version: sello/v1`. The reference page and config/sello.schema.json are made from it. */
import Type from 'typebox';
import type { Static } from 'typebox';
import type { Identity } from '../access/identity.ts';
import type { Operation } from '../access/operations.ts';
import type { TenantName } from '../tenants/name.ts';
import { choice, count, duration, fields, flag, list, named, path, scalar, section, text } from './fields.ts';
import type { Address } from './kinds.ts';
import { operatorsSection } from './schema-operators.ts';
import { holdsSection, peersSection } from './schema-peers.ts';
import { vaultKvFields, vaultTransitFields } from './schema-vault.ts';
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
import { tracesSection } from './schema-traces.ts';
import { auditPath, trailFields } from './schema-trail.ts';
import { transitSection } from './schema-transit.ts';

export const selloVersion = 'sello/v1';

const identities = (description: string) =>
  list(
    scalar<Identity>('identity', { description: 'SHA-256 of a client’s public key, lower-case hex.' }),
    description,
  );

const secret = (description: string) =>
  Type.Object(
    {
      file: Type.Optional(path('A file that holds the secret and nothing else.')),
      env: Type.Optional(scalar<string>('variable name', { description: 'An environment variable.' })),
      credential: Type.Optional(
        scalar<string>('credential name', { description: 'A systemd credential (`LoadCredential=`).' }),
      ),
    },
    { additionalProperties: false, minProperties: 1, maxProperties: 1, description },
  );

const tls = fields(
  {
    cert: path('Certificate and intermediates, PEM.'),
    key: path('Private key, PEM.'),
    keyPassword: Type.Optional(secret('Password of an encrypted private key.')),
    minVersion: choice(['TLSv1.2', 'TLSv1.3'], {
      default: 'TLSv1.3',
      description: 'Lowest TLS version.',
    }),
  },
  'The server’s certificate. Files are read again when they change.',
);

const listener = fields({
  address: scalar<Address>('address', { description: 'IP address and port.' }),
  serverNames: list(
    scalar<string>('server name', { description: 'A DNS name.' }),
    'When not empty, SNI and `:authority` must be one of these; a missing SNI is accepted.',
  ),
  process: choice(['shared', 'own'], {
    default: 'shared',
    description:
      '`own`: a process beside the workers has this listener, at a lower priority. For object streams, which would slow key calls down.',
  }),
  clientCertificate: choice(['required', 'optional'], {
    default: 'required',
    description:
      '`optional`: callers without a certificate are taken as `tenant`’s, and log in on its Transit face. Everything else still needs one.',
  }),
  tenant: Type.Optional(
    scalar<TenantName>('tenant name', { description: 'Whose callers come without a certificate.' }),
  ),
  tls,
});

const conditions = section('All of these must hold for the rule to count.', {
  context: named(
    text({
      description: 'The value this entry of the encryption context must have; a last `*` matches any ending.',
    }),
    'Entries of the encryption context.',
  ),
  sources: list(
    scalar<string>('network', { description: 'CIDR block.' }),
    'Networks the request may come from.',
  ),
  timeOfDay: Type.Optional(
    scalar<string>('time of day', { description: 'UTC, from-to; may cross midnight.' }),
  ),
  ratePerSecond: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 10_000_000,
      description: 'The rule holds for at most this many requests per second of one identity.',
    }),
  ),
});

const rule = fields({
  operations: list(
    scalar<Operation | '*'>('operation', { description: 'An operation; `*` is every one.' }),
    'Operations the rule is about, on every face.',
  ),
  keys: list(
    scalar<string>('key pattern', { description: 'A key name, or a prefix ending in `*`.' }),
    'Keys the rule is about; none: every key.',
  ),
  conditions,
  kes: Type.Optional(
    text({
      description:
        'In place of the above: a KES path pattern such as `/v1/key/generate/app*`. It grants routes of the KES face alone.',
    }),
  ),
});

const bucketModes = ['sse-s3', 'sse-kms', 'none'] as const;
const keyName = (description: string) => scalar<string>('key name', { description });
const allowedKeys = list(
  scalar<string>('key pattern', { description: 'A key name, or a prefix ending in `*`.' }),
  'Keys that a request may name with `aws:kms`; none: every key the policy allows.',
);

const objects = fields(
  {
    key: keyName('Master key of SSE-S3, and of `aws:kms` without a key id, for buckets that name none.'),
    cipher: choice(['aes-256-gcm', 'chacha20-poly1305'], {
      default: 'aes-256-gcm',
      description:
        'Cipher of new objects. Both are read. ChaCha20-Poly1305 is faster without AES instructions.',
    }),
    default: choice(bucketModes, {
      default: 'sse-s3',
      description: 'Encryption of requests that name none. `none`: such requests are refused.',
    }),
    forced: flag(false, 'Requests that name another encryption than the default are refused.'),
    sseC: flag(false, 'Customer-provided keys are taken.'),
    allowedKeys,
    bucketKey: flag(false, 'One data key serves many objects of a bucket, to spare the keystore.'),
    bucketKeys: section('How long a bucket’s data key is used.', {
      maxAge: duration(
        '5s',
        'Time; never more than half of `propagation`, so that a key’s end reaches it too.',
      ),
      maxObjects: count(10_000, { minimum: 1, maximum: 1_000_000 }, 'Objects.'),
    }),
    wrongCustomerKey: choice(['403', '400'], {
      default: '403',
      description: 'Status for a wrong customer key: `403` as AWS and MinIO, `400` as Ceph.',
    }),
    requireKmsKeyId: flag(false, '`aws:kms` without a key id is refused.'),
    maxStreams: count(
      512,
      { minimum: 1, maximum: 100_000 },
      'Objects being sealed or opened at once, per process; more answer 503 SlowDown.',
    ),
    buckets: named(
      fields({
        default: Type.Optional(choice(bucketModes, { description: 'As above, for this bucket.' })),
        key: Type.Optional(keyName('Master key of this bucket.')),
        forced: Type.Optional(Type.Boolean({ description: 'As above.' })),
        sseC: Type.Optional(Type.Boolean({ description: 'As above.' })),
        allowedKeys: Type.Optional(allowedKeys),
        bucketKey: Type.Optional(Type.Boolean({ description: 'As above.' })),
      }),
      'Buckets that differ.',
    ),
  },
  'The object API of this tenant; off unless given.',
);

const tenant = fields({
  name: scalar<TenantName>('tenant name', { description: 'Name of the tenant, a DNS label.' }),
  admins: identities('May do everything in this tenant. None: no admin.'),
  clients: section('Which client certificates are accepted.', {
    auth: choice(['on', 'off'], {
      default: 'on',
      description:
        '`on`: chain, dates and CRL are checked. `off`: any certificate that is not a CA; its public key alone is the identity.',
    }),
    ca: Type.Optional(
      scalar<string>('path or system', {
        description: 'Trusted CAs: a PEM file, a folder of them, or `system`. Required with `auth: on`.',
      }),
    ),
    crls: list(path('A PEM or DER file.'), 'Certificate revocation lists.'),
    staleCrl: choice(['refuse', 'accept'], {
      default: 'refuse',
      description: 'What a list past its next update means for the clients of its CA.',
    }),
    requireClientAuthEku: requireClientAuthEku(true),
    proxy: Type.Optional(
      fields(
        {
          identities: Type.Array(scalar<Identity>('identity', { description: 'Identity of a proxy.' }), {
            minItems: 1,
            description: 'Proxies that may forward client certificates. Each can act as any client.',
          }),
          header: scalar<string>('header name', {
            default: 'X-Tls-Client-Cert',
            description: 'Header with the certificate.',
          }),
        },
        'Off unless given.',
      ),
    ),
  }),
  policies: named(
    fields({
      allow: list(rule, 'What is allowed. What no rule allows is not.'),
      deny: list(rule, 'What is refused, whatever `allow` says.'),
      identities: identities('Who this policy is for. An identity is in one policy.'),
    }),
    'Policies by name.',
  ),
  keystore: Type.Object(
    {
      file: Type.Optional(
        fields(
          {
            path: path('Folder of the encrypted keystore.'),
            rootKey: secret('Where the root key comes from. It is never written in this file.'),
          },
          'Encrypted files: the embedded keystore.',
        ),
      ),
      fs: Type.Optional(
        fields(
          { path: path('Folder of a keystore that KES wrote.') },
          'Files as KES writes them, not encrypted.',
        ),
      ),
      vaultKv: Type.Optional(
        fields(vaultKvFields(secret), 'Vault’s KV engine, as KES uses it, optionally with Transit.'),
      ),
      vaultTransit: Type.Optional(
        fields(vaultTransitFields(secret), 'Vault’s Transit engine: master keys never leave it.'),
      ),
      memory: Type.Optional(fields({}, 'For tests: every key is lost when the process ends.')),
    },
    {
      additionalProperties: false,
      minProperties: 1,
      maxProperties: 1,
      description: 'Where the master keys are. Exactly one.',
    },
  ),
  cache: section('Master keys held in memory.', {
    ...cacheBounds,
    expiry: duration('5m', 'A key is loaded anew this long after it was loaded; `0`: never.'),
    unused: duration('30s', 'A key unused this long is forgotten.'),
    offline: duration(
      '0s',
      'How long keys are served past their life while the keystore is down; `0`: not at all.',
    ),
  }),
  audit: section('This tenant’s audit records.', {
    mode: choice(auditModes, auditMode),
    path: auditPath('the trail `TENANT/` in `audit.folder`'),
    deadline: auditDeadline,
    ...trailFields,
  }),
  quota: quotaSection(1024),
  lifecycle,
  kes: section('The KES face of this tenant.', {
    errorTexts,
    lists: listForm,
    patterns: patternMatching,
    routes: named(
      fields({
        skipAuth: flag(
          false,
          'Answer without a client certificate. Only `/v1/ready`, `/v1/status`, `/v1/metrics`, `/v1/api` and `/version` may.',
        ),
        timeout: Type.Optional(scalar<number>('duration', { description: 'The route’s own time limit.' })),
      }),
      'Settings by route path, such as `/v1/status` or `/v1/key/generate/`.',
    ),
  }),
  objects: Type.Optional(objects),
  transit: Type.Optional(transitSection(secret)),
  keys: list(scalar<string>('key name', { description: 'A key name.' }), 'Created at start when absent.'),
});

export const selloSchema = fields({
  version: choice([selloVersion], { description: 'Tells this dialect from a KES file.' }),
  listeners: Type.Array(listener, { minItems: 1, description: 'Addresses that serve keys, over TLS.' }),
  operators: Type.Optional(operatorsSection(tls)),
  peers: Type.Optional(peersSection(tls)),
  holds: holdsSection,
  probes: scalar<Address | 'off'>('optional address', {
    default: '127.0.0.1:7374',
    description: 'Plain HTTP listener for `/livez`, `/readyz` and `/metrics`, or `off`.',
  }),
  processes,
  propagation,
  limits: limitsSection('1h'),
  log: section('The server’s log, on standard error.', {
    level: choice(['trace', 'debug', 'info', 'warn', 'error', 'silent'], {
      default: 'info',
      description: 'Lowest level that is written.',
    }),
    format: choice(['json', 'pretty'], { default: 'json', description: '`pretty` is for people.' }),
  }),
  traces: Type.Optional(tracesSection),
  audit: section('The server’s own audit stream: refusals before a tenant is known.', {
    folder: scalar<string>('path', {
      default: 'audit',
      description: 'Folder of every trail that has no `path` of its own.',
    }),
    mode: choice(auditModes, auditMode),
    path: auditPath('the trail `_server/` in `audit.folder`'),
    deadline: auditDeadline,
    ...trailFields,
    maxRecordsPerSecond: count(
      100,
      { minimum: 1, maximum: 1_000_000 },
      'More refusals of the same source and reason are counted, not written one by one.',
    ),
  }),
  tenants: Type.Array(tenant, {
    minItems: 1,
    description: 'Hard boundaries. Nothing is shared between two.',
  }),
});

export type SelloFile = Static<typeof selloSchema>;
export type SelloTenant = SelloFile['tenants'][number];
export type SelloRule = SelloTenant['policies'][string]['allow'][number];
export type SelloSecret = { file?: string; env?: string; credential?: string };
