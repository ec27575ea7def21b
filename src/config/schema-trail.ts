/** Settings of a chained audit trail, the same wherever an audit stream is configured. */
import Type from 'typebox';
import type { Static } from 'typebox';
import { bytes, choice, count, duration, fields, list, path, scalar, section } from './fields.ts';

const timeout = duration('10s', 'An answer that takes longer is a failure; it is tried again.');

export const auditPath = (absent: string) =>
  Type.Optional(
    scalar<string>('path or -', {
      description: `Folder of a chained trail when it ends in \`/\`; else a plain file of JSON lines without chain, or \`-\` for standard output. Not given: ${absent}.`,
    }),
  );

export const trailFields = {
  signingKey: Type.Optional(
    path(
      'Ed25519 private key (PEM) that signs a trail’s checkpoints; made when absent. Not given: `audit-key.pem` in a `file` keystore, else beside the trail.',
    ),
  ),
  checkpoint: section('When a trail’s checkpoints are made and anchored.', {
    interval: duration('10s', 'So long after the first record that has none.'),
    records: count(10_000, { minimum: 1, maximum: 100_000_000 }, 'After so many records.'),
  }),
  segment: section('When a trail goes on in a new file.', {
    size: bytes('64MiB', 'At this size.'),
    age: duration('24h', 'At this age.'),
    compression: choice(['zstd', 'gzip', 'none'], {
      default: 'zstd',
      description: 'How sealed segments are compressed.',
    }),
  }),
  release: choice(['written', 'shipped'], {
    default: 'written',
    description:
      '`shipped`: a key leaves once the first of `ship` has acknowledged its record, too. Its outage is yours.',
  }),
  ship: list(
    Type.Object(
      {
        webhook: Type.Optional(
          fields(
            {
              url: scalar<string>('HTTP URL', { description: 'Records are POSTed there as JSON lines.' }),
              ca: Type.Optional(path('CAs of the target, PEM. Not given: those of the system.')),
              authorization: Type.Optional(path('File with the value of the `Authorization` header.')),
              format: choice(['ecs', 'ocsf'], { default: 'ecs', description: 'Form of the records.' }),
              batch: count(500, { minimum: 1, maximum: 10_000 }, 'Records in one request, at most.'),
              timeout,
            },
            'HTTP: any 2xx acknowledges.',
          ),
        ),
        syslog: Type.Optional(
          fields(
            {
              server: scalar<string>('host and port', { description: 'RFC 5425 receiver.' }),
              ca: Type.Optional(path('CAs of the receiver, PEM. Not given: those of the system.')),
              cert: Type.Optional(path('Client certificate, PEM.')),
              key: Type.Optional(path('Private key of the client certificate, PEM.')),
              timeout,
            },
            'Syslog over TLS. It has no acknowledgements: what TCP has taken counts.',
          ),
        ),
      },
      { additionalProperties: false, minProperties: 1, maxProperties: 1, description: 'One target.' },
    ),
    'Where a trail’s records are sent, at least once, in order. Nothing waits for it but `release: shipped`.',
  ),
};

export type TrailFields = Static<ReturnType<typeof fields<typeof trailFields>>>;
