/** Bodies of the operators' API as schemas: what validates a request is what the OpenAPI document shows. */
import Type, { type Static, type TSchema } from 'typebox';
import { Check } from 'typebox/schema';
import { AdminError } from './answers.ts';

const strict = { additionalProperties: false };
const base64 = (description: string, maxLength: number) =>
  Type.String({ description, maxLength, pattern: '^[A-Za-z0-9+/]*={0,2}$' });
const seconds = (description: string) => Type.Integer({ description, minimum: 0, maximum: 3_155_760_000 });

export const maxRewraps = 1000;

export const emptyBody = Type.Object({}, strict);

export const importBody = Type.Object({
  key: Type.String({
    description: 'The 32 bytes of the key, in base64.',
    minLength: 44,
    maxLength: 44,
    pattern: '^[A-Za-z0-9+/]{43}=$',
  }),
  cipher: Type.Enum(['AES256', 'ChaCha20'], { description: 'What the key is for.' }),
});

export const tokenBody = Type.Object(
  {
    token: Type.Optional(
      Type.String({
        pattern: '^[0-9a-f]{64}$',
        description: 'Of a hold that another replica was asked for: its 202 answer had it.',
      }),
    ),
  },
  strict,
);

export const waitBody = Type.Object(
  { waitSeconds: Type.Optional(seconds('The tenant’s `lifecycle.deletionWait` unless given; never less.')) },
  strict,
);

export const settingsBody = Type.Object(
  {
    minDecryptionVersion: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1_000_000,
        description: 'Ciphertexts of lower versions are refused.',
      }),
    ),
    rewrapOnly: Type.Optional(
      Type.Boolean({ description: 'Compromised versions open for rewrapping only.' }),
    ),
    crossFace: Type.Optional(Type.Boolean({ description: 'Ciphertexts of one face open on the others.' })),
    rotateEverySeconds: Type.Optional(seconds('0: by hand only; at least an hour.')),
  },
  { ...strict, minProperties: 1 },
);

export const rewrapBody = Type.Object(
  {
    items: Type.Array(
      Type.Object(
        {
          ciphertext: base64('A data key’s ciphertext, of any version.', 1_000_000),
          context: Type.Optional(base64('The encryption context it is bound to, byte for byte.', 1_000_000)),
          face: Type.Optional(
            Type.Enum(['kes', 'objects', 'transit'], {
              description:
                'Where it came from, for ciphertexts in KES’s layout, which do not say; `kes` unless given.',
            }),
          ),
        },
        strict,
      ),
      { minItems: 1, maxItems: maxRewraps },
    ),
  },
  strict,
);

export const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
export const time = (description: string) =>
  Type.String({ format: 'date-time', ...(description === '' ? {} : { description }) });

const version = Type.Integer({ minimum: 1, description: 'Number of a version.' });

const keyringFields = {
  key: Type.String({ description: 'Name.' }),
  id: nullable(Type.String({ description: 'Random; none while the key has one version and no record.' })),
  state: Type.Enum(['enabled', 'disabled', 'pending-deletion', 'creating', 'deleting', 'deleted'], {
    description: 'Of the key as a whole.',
  }),
  generation: Type.Integer({ minimum: 0, description: 'Changes so far.' }),
  sealingVersion: nullable(version),
  minDecryptionVersion: Type.Integer({ minimum: 1 }),
  rewrapOnly: Type.Boolean(),
  crossFace: Type.Boolean(),
  rotateEverySeconds: Type.Integer({ minimum: 0, description: '0: by hand only.' }),
  nextRotation: nullable(time('')),
  changedAt: nullable(time('')),
  changedBy: Type.String({ description: 'An identity, or a person’s id.' }),
  deletion: nullable(
    Type.Object({ requestedAt: nullable(time('')), after: nullable(time('')), by: Type.String() }, strict),
  ),
  versions: Type.Array(
    Type.Object(
      {
        version,
        state: Type.Enum(['enabled', 'disabled', 'compromised', 'destroyed']),
        algorithm: Type.String(),
        custody: Type.Enum(['kes', 'stored', 'transit'], { description: 'How its bytes are kept.' }),
        createdAt: nullable(time('')),
        changedAt: nullable(time('')),
        destroyAfter: nullable(time('')),
      },
      strict,
    ),
  ),
};

export const keyringAnswer = Type.Object(keyringFields, strict);

const holdFields = {
  id: Type.String(),
  change: Type.Enum(['disable', 'schedule-deletion', 'disabled-version', 'compromised-version']),
  version: nullable(version),
  at: time('When it was asked for.'),
  by: Type.String(),
};

const peers = Type.Object(
  { known: Type.Integer({ minimum: 0 }), told: Type.Integer({ minimum: 0 }) },
  { ...strict, description: 'Other replicas, and those that had heard when this was answered.' },
);

/** The keystore could not be reached. */
export const heldAnswer = Type.Union([
  Type.Object(
    {
      key: Type.String(),
      held: Type.Object(
        {
          ...holdFields,
          token: Type.String({ description: 'Takes it back, at any replica.' }),
          keptOn: Type.Enum(['disk', 'memory']),
          isKeyKnown: Type.Boolean({
            description: 'False: this replica cannot tell whether the key exists.',
          }),
        },
        strict,
      ),
      peers,
    },
    strict,
  ),
  Type.Object({ key: Type.String(), withdrawn: Type.Array(Type.Object(holdFields, strict)), peers }, strict),
]);

export const holdsAnswer = Type.Object(
  {
    key: Type.String(),
    holds: Type.Array(
      Type.Object(
        {
          ...holdFields,
          isOurs: Type.Boolean({ description: 'It was asked for here, and can be taken back here.' }),
        },
        strict,
      ),
    ),
  },
  strict,
);

export const useAnswer = Type.Object(
  {
    key: Type.String(),
    versions: Type.Array(
      Type.Object(
        {
          version,
          lastSealed: nullable(time('')),
          lastOpened: nullable(time('')),
          opened: Type.Integer({ minimum: 0, description: 'Times, of all replicas.' }),
        },
        strict,
      ),
    ),
  },
  strict,
);

const receipt = Type.Object(
  {
    tenant: Type.String(),
    key: Type.String(),
    id: nullable(Type.String()),
    destroyedAt: time(''),
    destroyedBy: Type.String(),
    versions: Type.Array(
      Type.Object(
        {
          version,
          fingerprint: nullable(Type.String({ description: 'Of the bytes that are gone.' })),
          createdAt: nullable(time('')),
        },
        strict,
      ),
    ),
  },
  strict,
);

export const receiptAnswer = Type.Object({ receipt }, strict);
export const receiptAndKeyringAnswer = Type.Object({ receipt, ...keyringFields }, strict);

export const rewrapAnswer = Type.Object(
  {
    items: Type.Array(
      Type.Union([
        Type.Object({ ciphertext: Type.String(), from: version, version }, strict),
        Type.Object({ error: Type.String(), message: Type.String() }, strict),
      ]),
    ),
  },
  strict,
);

export const acceptedAnswer = Type.Object({ accepted: Type.Boolean() }, strict);

/** An empty body is `{}`. @throws AdminError 400 */
export function checkBody<T extends TSchema>(schema: T, body: Buffer): Static<T> {
  let value: unknown = {};
  if (body.length > 0) {
    try {
      value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
    } catch {
      throw new AdminError(400, 'the body is not JSON');
    }
  }
  if (!Check(schema, value))
    throw new AdminError(400, 'the body does not have the form that this request takes');
  return value as Static<T>;
}
