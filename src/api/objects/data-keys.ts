/**
 * Data keys for nodes that encrypt themselves: issued and unwrapped, one or up to 1,000 at once, as JSON or as plain bytes. Each is
 * bound to its bucket and object; each is judged and recorded for itself, and one that fails does not stop the others.
 */
import { base64Length, decodeBase64, encodeBase64Into, secretBytes, wipe } from '../../crypto/index.ts';
import { encryptionOf } from '../../config/objects.ts';
import type { Static } from 'typebox';
import { SelloError } from '../../errors.ts';
import { parseKeyName } from '../../keys/index.ts';
import { canonicalContext, maxContextBytes, type EncryptionContext } from '../../sse/context.ts';
import { decideEncryption } from '../../sse/decision.ts';
import { invalidArgument, s3ErrorOf, type S3Error } from '../../sse/s3-error.ts';
import type { Answer } from './answers.ts';
import type { ObjectCall, Subject } from './call.ts';
import { contextFor } from './keys-of-object.ts';
import { checkShape, issueBody, issueItem, unwrapBody, unwrapItem } from './schemas.ts';
import { checkBucketAndObject } from './target.ts';

type Outcome =
  | { readonly subject: Subject; readonly error: S3Error }
  | {
      readonly subject: Subject;
      readonly keyName: string;
      readonly plaintext: Buffer;
      readonly ciphertext: Buffer | undefined;
      readonly error?: undefined;
    };

/** POST keys/issue */
export function issue(call: ObjectCall, _parameters: unknown, body: Buffer): Promise<Answer> {
  const { items, isSingle } = itemsOf(body, issueItem, issueBody);
  return answer(call, items, isSingle, (item) => issueOne(call, item));
}

/** POST keys/unwrap */
export function unwrap(call: ObjectCall, _parameters: unknown, body: Buffer): Promise<Answer> {
  const { items, isSingle } = itemsOf(body, unwrapItem, unwrapBody);
  return answer(call, items, isSingle, (item) => unwrapOne(call, item));
}

function itemsOf<I extends typeof issueItem | typeof unwrapItem>(
  body: Buffer,
  one: I,
  many: typeof issueBody | typeof unwrapBody,
): { items: Static<I>[]; isSingle: boolean } {
  // `{"items": …}` is a batch, anything else one item.
  const isBatch = /^\s*\{\s*"items"/.test(body.toString('latin1', 0, 64));
  if (!isBatch) return { items: [checkShape(one, body) as Static<I>], isSingle: true };
  return { items: checkShape(many, body).items as Static<I>[], isSingle: false };
}

/** What a request says of the key; checked before policy is asked about it. */
function subjectOf(
  item: Static<typeof issueItem> | Static<typeof unwrapItem>,
  keyName: string,
  isBucketKey: boolean,
): Required<Pick<Subject, 'bucket' | 'object' | 'key'>> & { context: EncryptionContext; scope?: 'bucket' } {
  checkBucketAndObject(item.bucket, item.object);
  const own = item.context ?? {};
  if (Object.entries(own).some((entry) => entry.some((text) => !text.isWellFormed())))
    throw invalidArgument('The encryption context is not Unicode.');
  if (canonicalContext(own).length > maxContextBytes)
    throw invalidArgument(`The encryption context has more than ${String(maxContextBytes)} bytes.`);
  const context = contextFor(
    { bucket: item.bucket, object: item.object, versionId: undefined },
    own,
    isBucketKey,
  );
  const scope = isBucketKey ? ({ scope: 'bucket' } as const) : {};
  return { bucket: item.bucket, object: item.object, key: keyName, context, ...scope };
}

async function issueOne(call: ObjectCall, item: Static<typeof issueItem>): Promise<Outcome> {
  const bucket = encryptionOf(call.objects, item.bucket);
  const { mode, key: keyName, context = {}, bucketKey } = item;
  const isKms =
    mode === 'sse-kms' || (mode === undefined && (keyName !== undefined || item.context !== undefined));
  if (mode === 'sse-s3' && (keyName !== undefined || item.context !== undefined))
    throw invalidArgument('key and context are for sse-kms only.');
  const request = isKms
    ? ({ mode: 'sse-kms', keyName, context, bucketKey } as const)
    : ({ mode: mode === 'sse-s3' ? 'sse-s3' : 'default' } as const);
  const decision = decideEncryption(request, bucket, call.objects.requiresKmsKeyId);
  if (decision.mode === 'sse-c') throw new SelloError('SELLO_INTERNAL');
  const usesBucketKey = (bucketKey ?? decision.usesBucketKey) && Object.keys(decision.context).length === 0;
  const subject = subjectOf({ ...item, context: decision.context }, decision.keyName, usesBucketKey);
  call.subject = subject;
  call.authorize('issue', decision.keyName, subject.context);
  const name = parseKeyName(decision.keyName);
  const bytes = canonicalContext(subject.context);
  const { keys } = call.tenant;
  const { plaintext, ciphertext } = usesBucketKey
    ? await call.bucketKeys.take(decision.keyName, item.bucket, async () =>
        keys.issue(name, bytes, 'objects'),
      )
    : await keys.issue(name, bytes, 'objects');
  return { subject, keyName: decision.keyName, plaintext, ciphertext };
}

async function unwrapOne(call: ObjectCall, item: Static<typeof unwrapItem>): Promise<Outcome> {
  const keyName = item.key ?? encryptionOf(call.objects, item.bucket).keyName;
  const subject = subjectOf(item, keyName, item.bucketKey === true);
  const ciphertext = decodeBase64(Buffer.from(item.ciphertext, 'latin1'));
  if (ciphertext === undefined) throw invalidArgument('ciphertext is not base64.');
  call.subject = subject;
  call.authorize('unwrap', keyName, subject.context);
  const context = canonicalContext(subject.context);
  const plaintext = await call.tenant.keys.unwrap(parseKeyName(keyName), ciphertext, context, 'objects');
  return { subject, keyName, plaintext, ciphertext: undefined };
}

async function answer<T extends { bucket: string; object: string }>(
  call: ObjectCall,
  items: readonly T[],
  isSingle: boolean,
  work: (item: T) => Promise<Outcome>,
): Promise<Answer> {
  const outcomes: Outcome[] = [];
  try {
    for (const item of items) {
      call.subject = { bucket: item.bucket, object: item.object };
      try {
        outcomes.push(await work(item));
      } catch (error) {
        if (isSingle) throw error;
        outcomes.push({ subject: call.subject, error: s3ErrorOf(error) });
      }
    }
    // Records first, all of them: then the keys leave in one answer.
    await call.recordItems(outcomes);
    const wantsBytes = String(call.headers['accept'] ?? '').includes('application/octet-stream');
    return wantsBytes ? bytesAnswer(outcomes) : jsonAnswer(outcomes, isSingle);
  } finally {
    for (const outcome of outcomes) if (outcome.error === undefined) wipe(outcome.plaintext);
  }
}

/** For each item: `0 ‖ plaintext (32) ‖ length (2) ‖ ciphertext`, or `1 ‖ length (2) ‖ S3 code`. No ciphertext when unwrapped. */
function bytesAnswer(outcomes: readonly Outcome[]): Answer {
  const sizes = outcomes.map((outcome) =>
    outcome.error === undefined ? 35 + (outcome.ciphertext?.length ?? 0) : 3 + outcome.error.code.length,
  );
  const body = secretBytes(sizes.reduce((sum, size) => sum + size, 0));
  let at = 0;
  for (const outcome of outcomes) {
    const { error } = outcome;
    body[at++] = error === undefined ? 0 : 1;
    if (error === undefined) at += outcome.plaintext.copy(body, at);
    const text = error === undefined ? (outcome.ciphertext ?? Buffer.alloc(0)) : Buffer.from(error.code);
    at = body.writeUInt16BE(text.length, at);
    at += text.copy(body, at);
  }
  return { status: 200, type: 'application/octet-stream', body, secret: true };
}

/** Built as bytes: a key that becomes a string cannot be wiped. */
function jsonAnswer(outcomes: readonly Outcome[], isSingle: boolean): Answer {
  const parts: (Buffer | { readonly secret: Buffer })[] = [];
  const text = (value: string) => parts.push(Buffer.from(value));
  if (!isSingle) text('{"items":[');
  outcomes.forEach((outcome, i) => {
    if (i > 0) text(',');
    if (outcome.error !== undefined) {
      const { code, message, sello } = outcome.error;
      text(JSON.stringify({ code, message, error: sello }));
      return;
    }
    text(`{"key":"${outcome.keyName}","plaintext":"`);
    parts.push({ secret: outcome.plaintext });
    text('"');
    if (outcome.ciphertext !== undefined) text(`,"ciphertext":"${outcome.ciphertext.toString('base64')}"`);
    if (outcome.subject.scope === 'bucket') text(',"bucketKey":true');
    text('}');
  });
  text(isSingle ? '\n' : ']}\n');
  const length = parts.reduce(
    (sum, part) => sum + (Buffer.isBuffer(part) ? part.length : base64Length(part.secret.length)),
    0,
  );
  const body = secretBytes(length);
  let at = 0;
  for (const part of parts)
    at = Buffer.isBuffer(part) ? at + part.copy(body, at) : encodeBase64Into(body, at, part.secret);
  return { status: 200, type: 'application/json', body, secret: true };
}
