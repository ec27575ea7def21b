/** Answers of the operators' API for people as schemas: what the OpenAPI document shows is what tests hold the answers to. */
import Type, { type TSchema } from 'typebox';
import { operations } from '../../access/index.ts';
import { roles } from '../../access/people/index.ts';
import { keyringAnswer, nullable, time } from '../admin/schemas.ts';

const text = (description: string) => Type.String({ description });
const count = (description: string) => Type.Integer({ minimum: 0, description });
const hash = (description: string) => Type.String({ pattern: '^[0-9a-f]{64}$', description });
const fields = <T extends Record<string, TSchema>>(properties: T, description?: string) =>
  Type.Object(properties, {
    additionalProperties: false,
    ...(description === undefined ? {} : { description }),
  });

export const roleName = Type.Enum([...roles], { description: 'docs/people.md, Roles.' });

export const whoamiAnswer = fields({
  issuer: text('Provider, or `ldap:NAME`.'),
  subject: text('Stable at the issuer.'),
  id: hash('As audit records have it (`user.id`).'),
  name: text('To show. Proves nothing.'),
  roles: Type.Record(Type.String(), roleName, { description: 'By tenant.' }),
  authenticatedAt: nullable(time('When the person proved who they are.')),
  csrf: Type.Optional(text('With a session: goes back as `X-Sello-Csrf` with whatever changes something.')),
});

export const waysAnswer = fields({
  ways: Type.Array(
    fields({
      name: text('`provider` or `directory` of a login.'),
      kind: Type.Enum(['oidc', 'ldap'], { description: 'By browser, or by password.' }),
    }),
  ),
  isKnown: Type.Boolean({ description: 'The request has the cookie of a session.' }),
});

export const passwordBody = Type.Object(
  {
    directory: Type.Optional(text('Where there are several.')),
    name: text('As the directory knows it.'),
    password: Type.String({ description: 'Proved by a bind.', format: 'password' }),
  },
  { additionalProperties: false },
);

export const tenantsAnswer = fields({
  tenants: Type.Array(
    fields({
      tenant: text('Name.'),
      role: roleName,
      operations: Type.Array(Type.Enum([...operations]), { description: 'What the role may do.' }),
    }),
    { description: 'Those that the person has a role in, by name.' },
  ),
});

export const tenantAnswer = fields({
  tenant: text('Name.'),
  configuredAt: text('When its configuration was loaded.'),
  keystore: fields({
    kind: text('`file`, `fs`, `memory`, `vault-kv` or `vault-transit`.'),
    isWorking: Type.Boolean({ description: 'It answers at this moment.' }),
    hasVersions: Type.Boolean({ description: 'Keys can be rotated, and approvals kept.' }),
  }),
  audit: fields({
    kind: Type.Enum(['trail', 'file', 'off'], { description: 'A trail proves itself (docs/audit.md).' }),
    mode: Type.Enum(['written', 'synced', 'off']),
    trouble: nullable(text('Why records are refused, and with them keys.')),
    stream: nullable(text('Of this process.')),
    records: nullable(count('In that stream.')),
    checkpointed: nullable(count('Records that its latest checkpoint is over.')),
    proofTrouble: nullable(text('Why checkpoints or anchors are behind.')),
    shipped: Type.Array(count('Records that each target has acknowledged.')),
  }),
  lifecycle: fields({
    deletionWaitSeconds: count('Between asking for an end and the end, at least.'),
    quietSeconds: count('A version that opened something within this time is not destroyed.'),
    dualControl: Type.Boolean({ description: 'Certificates do not destroy keys either.' }),
  }),
  certificateEnds: nullable(time('Of the certificates known here the first end, past ones included.')),
});

export const keysAnswer = fields({
  keys: Type.Array(
    fields({
      key: text('Name.'),
      keyring: nullable(keyringAnswer),
      error: nullable(text('Code of docs/errors.md, when the key cannot be read.')),
    }),
  ),
  next: nullable(text('`after` of the next page.')),
});

export const certificatesAnswer = fields({
  certificates: Type.Array(
    fields({
      use: Type.Enum(
        ['listener', 'operators', 'client-ca', 'pinned-client', 'crl', 'client', 'vault-client'],
        {
          description:
            'What it is for: of a listener; trusted for clients; a revocation list; of a client that connected to this process; for Vault.',
        },
      ),
      where: text('Address, file, or identity.'),
      subject: text('Name; of a list its issuer.'),
      issuer: text('Name.'),
      serial: nullable(text('Hexadecimal.')),
      notBefore: nullable(time('')),
      notAfter: nullable(time('Of a list, when the next one is due.')),
      seenAt: nullable(time('Of a client, when it connected last.')),
    }),
    { description: 'What ends first comes first.' },
  ),
  systemCas: Type.Boolean({ description: 'Clients are checked by the system’s CAs, which are not listed.' }),
  clientsNotShown: count('Clients seen beyond those that are remembered.'),
});

const finding = fields({
  kind: Type.Enum(['changed', 'missing', 'repeated', 'segment', 'stream', 'rollback', 'checkpoint', 'clock']),
  index: nullable(count('First record concerned.')),
  text: text('For people.'),
});

const streamReport = fields({
  stream: text('Name of its folder.'),
  node: nullable(text('Host.')),
  records: count('That follow on each other from the first one on.'),
  attested: nullable(count('Records that are as an anchor knows them: none is missing or changed.')),
  signed: count('Records that are as a checkpoint in the folder says.'),
  ended: nullable(Type.Boolean()),
  firstTime: nullable(time('')),
  lastTime: nullable(time('')),
  findings: Type.Array(finding),
  notices: Type.Array(text('No fault.')),
});

export const verificationAnswer = fields({
  state: Type.Enum(['none', 'running', 'done', 'failed'], { description: 'Of the latest verification.' }),
  startedAt: nullable(time('')),
  startedBy: nullable(hash('A person’s id.')),
  endedAt: nullable(time('')),
  result: nullable(
    fields({
      verdict: Type.Enum(['verified', 'unattested', 'wrong'], {
        description:
          '`verified`: every stream is as its anchor says. `unattested`: nothing is wrong, and later removal not excluded.',
      }),
      node: text('Where it was done: the streams of other nodes are judged there, or from a copy of all.'),
      isAnchored: Type.Boolean({ description: 'The keystore has anchors to compare with.' }),
      streams: Type.Array(streamReport, { description: 'At most 200, what is wrong first.' }),
      streamsNotShown: count('Beyond those.'),
      findings: Type.Array(finding, { description: 'That belong to no stream which is here.' }),
      elsewhere: Type.Array(
        fields({
          stream: text('Name.'),
          node: text('Host.'),
          records: count('That its anchor knows.'),
          ended: Type.Boolean(),
          updated: time('When the anchor was written.'),
        }),
        { description: 'Streams of other nodes, which were not looked at. At most 200.' },
      ),
    }),
  ),
});

const person = fields({ id: hash('As in records.'), name: text('To show.'), issuer: text('Provider.') });

export const approvalAnswer = fields({
  id: text('To name in `X-Sello-Approval`.'),
  operation: Type.Enum([...operations]),
  key: text('Name.'),
  keyId: nullable(text('The key’s own id.')),
  version: nullable(Type.Integer({ minimum: 1, description: 'None: the whole key.' })),
  state: Type.Enum(['pending', 'approved', 'used', 'withdrawn', 'expired']),
  reason: text('For people.'),
  requestedBy: person,
  requestedAt: nullable(time('')),
  expiresAt: nullable(time('')),
  approvedBy: nullable(person),
  approvedAt: nullable(time('')),
  usedAt: nullable(time('')),
});

export const approvalsAnswer = fields({ approvals: Type.Array(approvalAnswer) });

export const approvalBody = Type.Object(
  {
    key: text('Name.'),
    version: Type.Optional(Type.Integer({ minimum: 1, description: 'Not given: the whole key.' })),
    reason: Type.Optional(Type.String({ maxLength: 500, description: 'For the second person.' })),
  },
  { additionalProperties: false },
);
