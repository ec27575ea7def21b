/** Whose key protects an object, and how to get at that key: for SSE-S3 and SSE-KMS a data key from a key server, else the caller's. */
import { SelloError } from '../errors.ts';
import type { EnvelopeFields, EnvelopeMode, ObjectBinding } from '../formats/index.ts';
import { secretCopy } from '../crypto/index.ts';
import {
  canonicalContext,
  dataKeyContext,
  maxContextBytes,
  parseContext,
  type EncryptionContext,
} from './context.ts';

/** Data keys under named master keys. {@link clientDataKeys} makes one of a `sello/client`. */
export interface DataKeys {
  /** A new data key. Its plaintext is wiped after use. */
  issue(
    keyName: string,
    context: Buffer,
  ): Promise<{ readonly plaintext: Buffer; readonly ciphertext: Buffer }>;
  /** The plaintext of one issued before under the same context. It is wiped after use. */
  unwrap(keyName: string, ciphertext: Buffer, context: Buffer): Promise<Buffer>;
}

/** SSE-S3 and SSE-KMS: a data key per object, under a master key of a key server. */
export interface MasterKeyProtection {
  readonly mode: 'sse-s3' | 'sse-kms';
  readonly keys: DataKeys;
  /** The master key for new envelopes. Opening takes the name from the envelope. */
  readonly keyName?: string | undefined;
  /** SSE-KMS: entries of the caller's own, kept in the envelope in clear. */
  readonly context?: EncryptionContext | undefined;
}

/** SSE-C, or a key that the program holds itself: 32 bytes. They are not kept. */
export interface OwnKeyProtection {
  readonly mode: 'sse-c' | 'held';
  readonly key: Uint8Array;
}

export type Protection = MasterKeyProtection | OwnKeyProtection;

/** What a new envelope says of its protecting key, and that key. The caller wipes it. */
export interface NewProtection {
  readonly fields: Pick<EnvelopeFields, 'mode' | 'isBucketKey' | 'keyName' | 'wrappedKey' | 'context'>;
  readonly key: Buffer;
}

const none = Buffer.alloc(0);

/** @throws what the key server's client throws; TypeError for a protection that cannot seal */
export async function protectNew(protection: Protection, binding: ObjectBinding): Promise<NewProtection> {
  if ('key' in protection) {
    const { mode, key } = protection;
    return {
      fields: { mode, isBucketKey: false, keyName: '', wrappedKey: none, context: none },
      key: secretCopy(key),
    };
  }
  const { mode, keys, keyName, context = {} } = protection;
  /* Precondition: a new data key needs a master key. */
  if (keyName === undefined || keyName === '') throw new TypeError('sealing needs the name of a master key');
  const own = canonicalContext(context);
  if (own.length > maxContextBytes)
    throw new TypeError(`encryption context: at most ${maxContextBytes} bytes`);
  const { plaintext, ciphertext } = await keys.issue(
    keyName,
    canonicalContext(dataKeyContext(binding, context, false)),
  );
  return {
    fields: { mode, isBucketKey: false, keyName, wrappedKey: ciphertext, context: own },
    key: plaintext,
  };
}

/** The context that an envelope's data key was issued with. */
export function wrappedKeyContext(envelope: EnvelopeFields, binding: ObjectBinding): EncryptionContext {
  const own = parseContext(envelope.context);
  if (own === undefined)
    throw new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', { detail: 'context of the envelope' });
  return dataKeyContext(binding, own, envelope.isBucketKey);
}

/** The protecting key of an envelope. The caller wipes it. */
export async function protectingKeyOf(
  envelope: EnvelopeFields,
  protection: Protection,
  binding: ObjectBinding,
): Promise<Buffer> {
  /* Precondition: an envelope says whose key it takes; another kind of key is a caller's mistake, or an attempt to downgrade. */
  if (!acceptsMode(protection, envelope.mode))
    throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: `envelope is ${envelope.mode}` });
  if ('key' in protection) return secretCopy(protection.key);
  const context = canonicalContext(wrappedKeyContext(envelope, binding));
  return protection.keys.unwrap(envelope.keyName, envelope.wrappedKey, context);
}

/** SSE-S3 and SSE-KMS open alike: both name their master key in the envelope. */
function acceptsMode(protection: Protection, mode: EnvelopeMode): boolean {
  return 'key' in protection ? protection.mode === mode : mode === 'sse-s3' || mode === 'sse-kms';
}

/** What {@link DataKeys} needs of a `sello/client`, or of any client of a KES server. */
export interface DataKeyClient {
  generateKey(
    name: string,
    context?: Uint8Array,
  ): Promise<{ readonly plaintext: Buffer; readonly ciphertext: Buffer }>;
  decrypt(name: string, ciphertext: Uint8Array, context?: Uint8Array): Promise<Buffer>;
}

/** Data keys from Sello or any KES server, through `sello/client`. */
export function clientDataKeys(client: DataKeyClient): DataKeys {
  return {
    issue: (keyName, context) => client.generateKey(keyName, context),
    unwrap: (keyName, ciphertext, context) => client.decrypt(keyName, ciphertext, context),
  };
}
