/** The sections by which replicas know one another, and keep what must outlive a restart. */
import Type from 'typebox';
import type { Static, TSchema } from 'typebox';
import type { Identity } from '../access/identity.ts';
import { fields, list, path, scalar, section } from './fields.ts';
import type { Address } from './kinds.ts';

export function peersSection<T extends TSchema>(tls: T) {
  return fields(
    {
      address: scalar<Address>('address', {
        description: 'IP address and port that the other replicas reach this one at.',
      }),
      tls,
      ca: path('CAs of the replicas’ certificates, PEM. A CA of their own is best.'),
      name: Type.Optional(
        scalar<string>('server name', {
          description:
            'A DNS name that the certificate of every replica, and no other of these CAs, is for. Needed without `identities`.',
        }),
      ),
      identities: list(
        scalar<Identity>('identity', { description: 'Identity of a replica’s certificate.' }),
        'When not empty: replicas with these keys alone.',
      ),
      urls: list(
        scalar<string>('HTTP URL', { description: '`https://host:port`.' }),
        'The other replicas. This one may be among them.',
      ),
      discover: Type.Optional(
        scalar<string>('host and port', {
          description:
            'A DNS name that resolves to every replica, as that of a headless Kubernetes service, and their port.',
        }),
      ),
    },
    'How replicas tell one another of keys that may not be used any more, also while the keystore is down. `tls` is the certificate of this replica, as server and as client. Off unless given.',
  );
}

export const holdsSection = section(
  'Restrictions that were asked for while a keystore could not be reached (docs/resilience.md).',
  {
    folder: Type.Optional(
      path(
        'Folder on a local disk where they outlive a restart of this replica. Not given: they are lost with the process.',
      ),
    ),
  },
);

export type PeersFields = Omit<Static<ReturnType<typeof peersSection>>, 'tls'>;
