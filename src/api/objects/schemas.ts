/** Bodies as schemas: what validates a request is what the OpenAPI document shows. */
import Type, { type Static, type TSchema } from 'typebox';
import { Check } from 'typebox/schema';
import { maxPartNumber } from '../../formats/index.ts';
import { invalidArgument } from '../../sse/s3-error.ts';

const strict = { additionalProperties: false };
const base64 = (description: string, maxLength: number) =>
  Type.String({ description, maxLength, pattern: '^[A-Za-z0-9+/]*={0,2}$' });
const bucket = Type.String({ minLength: 1, maxLength: 255 });
const object = Type.String({ minLength: 1, maxLength: 1024 });
const keyName = Type.String({ maxLength: 80, description: 'Master key; the bucket’s when not given.' });
const context = Type.Record(Type.String(), Type.String(), {
  description: 'SSE-KMS: the client’s encryption context.',
});

export const maxDataKeys = 1000;

export const issueItem = Type.Object(
  {
    bucket,
    object,
    mode: Type.Optional(Type.Enum(['sse-s3', 'sse-kms'])),
    key: Type.Optional(keyName),
    context: Type.Optional(context),
    bucketKey: Type.Optional(Type.Boolean({ description: 'One data key for many objects of the bucket.' })),
  },
  strict,
);

export const unwrapItem = Type.Object(
  {
    bucket,
    object,
    key: Type.Optional(keyName),
    ciphertext: base64('The data key’s ciphertext.', 4096),
    context: Type.Optional(context),
    bucketKey: Type.Optional(Type.Boolean()),
  },
  strict,
);

const itemsOf = <T extends TSchema>(item: T) =>
  Type.Object({ items: Type.Array(item, { minItems: 1, maxItems: maxDataKeys }) }, strict);

export const issueBody = itemsOf(issueItem);
export const unwrapBody = itemsOf(unwrapItem);

export const completeBody = Type.Object(
  {
    parts: Type.Array(
      Type.Object(
        {
          part: Type.Integer({ minimum: 1, maximum: maxPartNumber }),
          header: base64('The sealed part’s first 80 bytes.', 108),
          tag: base64('The sealed part’s last 16 bytes.', 24),
          sealedLength: Type.Integer({ minimum: 96, maximum: Number.MAX_SAFE_INTEGER }),
        },
        strict,
      ),
      { minItems: 1, maxItems: maxPartNumber },
    ),
  },
  strict,
);

/** @throws S3Error InvalidArgument */
export function checkShape<T extends TSchema>(schema: T, body: Buffer): Static<T> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    throw invalidArgument('The body is not JSON.');
  }
  if (!Check(schema, value))
    throw invalidArgument('The body does not have the form that this request takes.');
  return value as Static<T>;
}
