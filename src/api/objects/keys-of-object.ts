/** From an envelope, or a wish for one, to the object's key: policy, data keys of the tenant's master keys, bucket keys. */
import { wipe } from '../../crypto/index.ts';
import { hasCode, SelloError } from '../../errors.ts';
import {
  newObjectId,
  newObjectKey,
  openEnvelope,
  parseEnvelope,
  sealEnvelope,
  type Envelope,
  type ObjectBinding,
} from '../../formats/index.ts';
import { parseKeyName } from '../../keys/index.ts';
import { canonicalContext, dataKeyContext, type EncryptionContext } from '../../sse/context.ts';
import type { SseDecision } from '../../sse/decision.ts';
import { answerHeaders, type CustomerKey } from '../../sse/headers.ts';
import { SealedObject } from '../../sse/object.ts';
import { wrappedKeyContext } from '../../sse/protection.ts';
import { accessDenied, invalidArgument, invalidRequest, S3Error } from '../../sse/s3-error.ts';
import type { ObjectCall } from './call.ts';
import type { NamedPlace } from './target.ts';

const none = Buffer.alloc(0);

/** What policies see as the key of SSE-C: allowed by rules for every key, and no rule about named keys says anything of it. */
const noKey = '';

export function bindingOf({ tenant }: ObjectCall, place: NamedPlace): ObjectBinding {
  return { tenant: tenant.name, ...place };
}

/** The whole context of a data key, refused in S3's words when a client's own names another place. */
export function contextFor(
  place: NamedPlace,
  own: EncryptionContext,
  isBucketKey: boolean,
): EncryptionContext {
  try {
    return dataKeyContext(place, own, isBucketKey);
  } catch (error) {
    if (!hasCode(error, 'SELLO_OBJECT_NOT_AUTHENTIC')) throw error;
    throw invalidArgument('The encryption context may not name another object than this one.');
  }
}

/** What an object's envelope is sealed with. */
interface NewKey {
  readonly key: Buffer;
  readonly keyName: string;
  readonly wrappedKey: Buffer;
  readonly context: Buffer;
  readonly isBucketKey: boolean;
}

/** Judges, and gets the protecting key of a new envelope. The caller wipes it. */
async function protect(call: ObjectCall, place: NamedPlace, decision: SseDecision): Promise<NewKey> {
  const named = { bucket: place.bucket, object: place.object };
  if (decision.mode === 'sse-c') {
    call.subject = named;
    call.authorize('seal', noKey, contextFor(place, {}, false));
    return { key: decision.customer.key, keyName: '', wrappedKey: none, context: none, isBucketKey: false };
  }
  const { keyName, usesBucketKey, context: own } = decision;
  const context = contextFor(place, own, usesBucketKey);
  call.subject = { ...named, key: keyName, context, ...(usesBucketKey ? { scope: 'bucket' } : {}) };
  call.authorize('seal', keyName, context);
  const { keys } = call.tenant;
  const name = parseKeyName(keyName);
  const bytes = canonicalContext(context);
  const { plaintext, ciphertext } = usesBucketKey
    ? await call.bucketKeys.take(keyName, place.bucket, async () => keys.issue(name, bytes, 'objects'))
    : await keys.issue(name, bytes, 'objects');
  return {
    key: plaintext,
    keyName,
    wrappedKey: ciphertext,
    context: canonicalContext(own),
    isBucketKey: usesBucketKey,
  };
}

export interface SealedFor {
  readonly object: SealedObject;
  /** S3's answer headers. */
  readonly headers: Record<string, string>;
}

/** A new object under the encryption that was decided. */
export async function sealNew(
  call: ObjectCall,
  place: NamedPlace,
  decision: SseDecision,
): Promise<SealedFor> {
  const customer = decision.mode === 'sse-c' ? decision.customer : undefined;
  let key: Buffer | undefined;
  try {
    const made = await protect(call, place, decision);
    key = made.key;
    const objectKey = newObjectKey();
    const fields = { ...made, mode: decision.mode, objectId: newObjectId() };
    const binding = bindingOf(call, place);
    const envelope = sealEnvelope(fields, key, binding, objectKey);
    return {
      object: new SealedObject(envelope, objectKey, call.tenant.name),
      headers: answerHeaders({ ...fields, mode: decision.mode, md5: customer?.md5 }),
    };
  } finally {
    wipe(key, customer?.key);
  }
}

/** The same object under another encryption or at another place. */
export async function sealAgain(
  call: ObjectCall,
  place: NamedPlace,
  decision: SseDecision,
  objectId: Buffer,
  objectKey: Buffer,
): Promise<{ readonly envelope: Buffer; readonly headers: Record<string, string> }> {
  const customer = decision.mode === 'sse-c' ? decision.customer : undefined;
  let key: Buffer | undefined;
  try {
    const made = await protect(call, place, decision);
    key = made.key;
    const fields = { ...made, mode: decision.mode, objectId };
    return {
      envelope: sealEnvelope(fields, key, bindingOf(call, place), objectKey),
      headers: answerHeaders({ ...fields, mode: decision.mode, md5: customer?.md5 }),
    };
  } finally {
    wipe(key, customer?.key);
  }
}

export interface OpenedFor {
  readonly object: SealedObject;
  readonly key: Buffer;
  readonly envelope: Envelope;
  readonly headers: Record<string, string>;
}

/** What an envelope is opened for. A part is one where S3 says InvalidRequest to a wrong customer key. */
type Purpose = 'open' | 'seal part' | 'rewrap';

/** Opens an envelope. Policy is asked about the key that the envelope names before that key is used. */
export async function openExisting(
  call: ObjectCall,
  place: NamedPlace,
  bytes: Buffer,
  customer: CustomerKey | undefined,
  purpose: Purpose,
): Promise<OpenedFor> {
  const operation = purpose === 'seal part' ? 'seal' : 'open';
  let key: Buffer | undefined;
  try {
    const envelope = parseEnvelope(bytes);
    const binding = bindingOf(call, place);
    if (envelope.mode === 'held')
      throw new SelloError('SELLO_OBJECT_FORMAT_UNKNOWN', { detail: 'held envelope' });
    if (envelope.mode === 'sse-c') {
      if (customer === undefined) {
        throw invalidRequest(
          'The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.',
        );
      }
      call.subject = { bucket: place.bucket, object: place.object };
      call.authorize(operation, noKey, contextFor(place, {}, false));
      key = customer.key;
    } else {
      if (customer !== undefined)
        throw invalidRequest('The encryption parameters are not applicable to this object.');
      key = await unwrapKey(call, place, envelope, operation, purpose === 'rewrap');
    }
    const headers = answerHeaders({ ...envelope, mode: envelope.mode, md5: customer?.md5 });
    const objectKey = openOrRefuse(
      call,
      bytes,
      key,
      binding,
      customer !== undefined,
      purpose === 'seal part',
    );
    return {
      object: new SealedObject(bytes, objectKey, call.tenant.name),
      key: objectKey,
      envelope,
      headers,
    };
  } finally {
    wipe(key, customer?.key);
  }
}

async function unwrapKey(
  call: ObjectCall,
  place: NamedPlace,
  envelope: Envelope,
  operation: 'open' | 'seal',
  isRewrap: boolean,
): Promise<Buffer> {
  const { keyName, wrappedKey, isBucketKey } = envelope;
  const context = wrappedKeyContext(envelope, bindingOf(call, place));
  call.subject = {
    bucket: place.bucket,
    object: place.object,
    key: keyName,
    context,
    ...(isBucketKey ? { scope: 'bucket' } : {}),
  };
  call.authorize(operation, keyName, context);
  const name = parseKeyName(keyName);
  const { keys } = call.tenant;
  const bytes = canonicalContext(context);
  // Not from the bucket keys in memory, nor into them: what opens here may open for nothing else.
  if (isRewrap) return keys.unwrapToRewrap(name, wrappedKey, bytes, 'objects');
  const unwrap = async () => keys.unwrap(name, wrappedKey, bytes, 'objects');
  return isBucketKey ? call.bucketKeys.unwrap(keyName, place.bucket, wrappedKey, unwrap) : unwrap();
}

function openOrRefuse(
  call: ObjectCall,
  bytes: Buffer,
  key: Buffer,
  binding: ObjectBinding,
  isCustomers: boolean,
  isPart: boolean,
): Buffer {
  try {
    return openEnvelope(bytes, key, binding);
  } catch (error) {
    if (!hasCode(error, 'SELLO_OBJECT_NOT_AUTHENTIC') || !isCustomers) throw error;
    // A wrong key, a wrong place and a changed envelope are one answer: which it was would help to guess.
    if (isPart)
      throw invalidRequest('The provided encryption parameters did not match the ones used originally.');
    const status = call.objects.wrongCustomerKeyStatus;
    throw status === 400
      ? new S3Error(
          'InvalidRequest',
          'The provided encryption key is not correct.',
          'SELLO_OBJECT_NOT_AUTHENTIC',
        )
      : accessDenied('Access Denied', 'SELLO_OBJECT_NOT_AUTHENTIC');
  }
}
