/** What concerns an object and is no stream: beginning and completing parts, resealing, planning ranges, the bucket's encryption. */
import { wipe } from '../../crypto/index.ts';
import { encryptionOf } from '../../config/objects.ts';
import { hasCode } from '../../errors.ts';
import type { parseEnvelope } from '../../formats/index.ts';
import {
  defaultSegmentBytes,
  maxPartNumber,
  objectHeaderBytes,
  parseManifest,
  parseStreamHeader,
  plainStreamLength,
  planParts,
  planStream,
  sealedObjectLength,
  segmentSizes,
  type SealedPart,
} from '../../formats/index.ts';
import { copySourcePrefix, keyArn, sseHeader } from '../../sse/headers.ts';
import { rangeOf } from '../../sse/http-range.ts';
import type { SseDecision } from '../../sse/decision.ts';
import { invalidArgument, invalidRequest, S3Error } from '../../sse/s3-error.ts';
import { json, type Answer } from './answers.ts';
import type { ObjectCall } from './call.ts';
import { envelopeHeader, envelopeOfHeader } from './envelopes.ts';
import { openExisting, sealAgain, sealNew } from './keys-of-object.ts';
import { checkShape, completeBody } from './schemas.ts';
import { decisionOf, takeCustomerKey } from './stream-handlers.ts';
import { checkName, placeOf, wholeNumberOf } from './target.ts';

type Parameters = ReadonlyMap<string, string>;

/** POST multipart/begin: an envelope for an object that will come in parts. */
export async function begin(call: ObjectCall, parameters: Parameters): Promise<Answer> {
  const place = placeOf(parameters);
  const { object, headers } = await sealNew(call, place, decisionOf(call, place));
  object.wipe();
  await call.release(200);
  return {
    ...json({ envelope: object.metadata }),
    headers: { ...headers, [envelopeHeader]: object.metadata },
  };
}

/** POST multipart/complete: the manifest of the parts that were taken. */
export async function complete(call: ObjectCall, parameters: Parameters, body: Buffer): Promise<Answer> {
  const place = placeOf(parameters);
  const customer = takeCustomerKey(call);
  try {
    const { parts } = checkShape(completeBody, body);
    const sealed = parts.map(partOf);
    const { object, headers } = await openExisting(
      call,
      place,
      envelopeOfHeader(call),
      customer,
      'seal part',
    );
    try {
      const manifest = object.complete(sealed);
      await call.release(200);
      const length = sealed.reduce((sum, part) => sum + part.length, 0);
      return {
        status: 200,
        headers: { ...headers, 'x-sello-plain-length': String(length) },
        type: 'application/octet-stream',
        body: manifest,
      };
    } catch (error) {
      throw partError(error);
    } finally {
      object.wipe();
    }
  } finally {
    wipe(customer?.key);
  }
}

function partError(error: unknown): unknown {
  if (error instanceof RangeError)
    return new S3Error(
      'InvalidPartOrder',
      'The list of parts was not in ascending order.',
      'SELLO_SSE_REQUEST_INVALID',
      { cause: error },
    );
  if (hasCode(error, 'SELLO_OBJECT_NOT_AUTHENTIC') || hasCode(error, 'SELLO_OBJECT_FORMAT_UNKNOWN'))
    return new S3Error('InvalidPart', 'One or more of the specified parts could not be found.', error.code, {
      cause: error,
    });
  return error;
}

function partOf(part: { part: number; header: string; tag: string; sealedLength: number }): SealedPart {
  const header = Buffer.from(part.header, 'base64');
  const lastTag = Buffer.from(part.tag, 'base64');
  const invalid = (what: string) =>
    new S3Error('InvalidPart', `Part ${String(part.part)}: ${what}.`, 'SELLO_SSE_REQUEST_INVALID');
  if (header.length !== objectHeaderBytes || lastTag.length !== 16)
    throw invalid('header of 80 bytes and tag of 16 in base64');
  let parsed;
  try {
    parsed = parseStreamHeader(header);
  } catch {
    throw invalid('header is not of a sealed part');
  }
  const length = plainStreamLength(part.sealedLength, parsed.segmentBytes);
  if (parsed.part !== part.part) throw invalid('header is of another part');
  if (length === undefined) throw invalid('no sealed part has this length');
  return { header, lastTag, length };
}

/** POST reseal: the same object at another place, under another key, or under the newest version of its own. */
export async function reseal(call: ObjectCall, parameters: Parameters): Promise<Answer> {
  const target = placeOf(parameters);
  const source =
    parameters.has('source-bucket') || parameters.has('source-object')
      ? placeOf(parameters, 'source-')
      : target;
  const isRewrap = rewrapOf(parameters);
  const isSamePlace =
    source.bucket === target.bucket &&
    source.object === target.object &&
    source.versionId === target.versionId;
  const customer = takeSourceKey(call);
  let decision: SseDecision | undefined;
  try {
    const envelopeBytes = envelopeOfHeader(call);
    const asks =
      call.headers[sseHeader] !== undefined || call.headers[`${sseHeader}-customer-algorithm`] !== undefined;
    if (isRewrap && (asks || !isSamePlace))
      throw invalidRequest('rewrap changes neither place nor encryption.');
    if (isSamePlace && !asks && !isRewrap) {
      throw invalidRequest(
        'This copy request is illegal because it is trying to copy an object to itself without changing its encryption attributes.',
      );
    }
    if (!isRewrap) decision = decisionOf(call, target);
    const opened = await openExisting(call, source, envelopeBytes, customer, isRewrap ? 'rewrap' : 'open');
    const from = call.subject;
    try {
      // The bucket's data key in use may be of an older version: the newest is what was asked for.
      if (isRewrap) call.bucketKeys.forget(opened.envelope.keyName);
      decision ??= sameAgain(opened.envelope);
      const made = await sealAgain(call, target, decision, opened.envelope.objectId, opened.key);
      // Two keys were used, for two objects: each has its record.
      await call.release(200, undefined, from);
      await call.release(200);
      const envelope = made.envelope.toString('base64url');
      return { ...json({ envelope }), headers: { ...made.headers, [envelopeHeader]: envelope } };
    } finally {
      opened.object.wipe();
    }
  } finally {
    wipe(customer?.key, decision?.mode === 'sse-c' ? decision.customer.key : undefined);
  }
}

function rewrapOf(parameters: Parameters): boolean {
  const text = parameters.get('rewrap');
  if (text !== undefined && text !== 'true' && text !== 'false')
    throw invalidArgument("Query parameter rewrap is 'true' or 'false'.");
  return text === 'true';
}

/** The source's key is not forgotten with the target's: both come in one request. */
function takeSourceKey(call: ObjectCall) {
  const target = `${sseHeader}-customer-key`;
  const kept = call.headers[target];
  const customer = takeCustomerKey(call, copySourcePrefix);
  call.headers[target] = kept;
  return customer;
}

function sameAgain(envelope: ReturnType<typeof parseEnvelope>): SseDecision {
  const { mode, keyName, context, isBucketKey } = envelope;
  if (mode !== 'sse-s3' && mode !== 'sse-kms')
    throw invalidRequest(
      'rewrap is for objects under a master key; a customer key is changed with its headers.',
    );
  const own = context.length === 0 ? {} : (JSON.parse(context.toString('utf8')) as Record<string, string>);
  return { mode, keyName, context: own, usesBucketKey: isBucketKey };
}

/** POST plan: which sealed bytes hold a range. Nothing is opened; what the plan was made from is checked when it is opened. */
export function plan(call: ObjectCall, parameters: Parameters, body: Buffer): Answer {
  const header = call.headers['range'];
  if (typeof header !== 'string') throw invalidArgument('Header range is missing.');
  if (body.length > 0) {
    const manifest = parseManifest(body);
    const range = rangeOf(header, manifest.length);
    const parts = planParts(manifest, range);
    return json({
      plainLength: manifest.length,
      sealedLength: sealedObjectLength(manifest),
      range: [range.from, range.to],
      sealed: [[parts[0]!.inObject.from, parts.at(-1)!.inObject.to]],
      parts: parts.map(({ part, sealed }) => ({ part, sealed: [sealed.from, sealed.to] })),
    });
  }
  const segmentBytes = wholeNumberOf(parameters.get('segment-bytes'), 'segment-bytes') ?? defaultSegmentBytes;
  if (!segmentSizes.some((size) => size === segmentBytes))
    throw invalidArgument('segment-bytes is 65536 or 131072.');
  const sealedLength = wholeNumberOf(parameters.get('sealed-length'), 'sealed-length');
  const part = wholeNumberOf(parameters.get('part'), 'part');
  if (part !== undefined && (part < 1 || part > maxPartNumber)) throw invalidArgument('part is 1 to 10000.');
  const length = sealedLength === undefined ? undefined : plainStreamLength(sealedLength, segmentBytes);
  if (sealedLength !== undefined && length === undefined)
    throw invalidArgument('sealed-length is the length of no sealed stream.');
  const range = rangeOf(header, length);
  const { sealed } = planStream(range, segmentBytes, length);
  return json({
    ...(length === undefined ? {} : { plainLength: length, sealedLength }),
    range: [range.from, range.to],
    sealed: [
      [0, objectHeaderBytes],
      [sealed.from, sealed.to],
    ],
  });
}

/** GET encryption: what a bucket does with requests that name no encryption. */
export function encryption(call: ObjectCall, parameters: Parameters): Answer {
  const bucket = parameters.get('bucket');
  checkName(bucket, 'bucket', 255);
  const found = encryptionOf(call.objects, bucket!);
  if (found.mode === 'none') {
    throw new S3Error(
      'ServerSideEncryptionConfigurationNotFoundError',
      'The server side encryption configuration was not found.',
      'SELLO_SSE_REFUSED',
    );
  }
  return json({
    SSEAlgorithm: found.mode === 'sse-s3' ? 'AES256' : 'aws:kms',
    ...(found.mode === 'sse-kms' ? { KMSMasterKeyID: keyArn(found.keyName) } : {}),
    BucketKeyEnabled: found.usesBucketKey,
    BlockedEncryptionTypes: { EncryptionType: [found.allowsCustomerKeys ? 'NONE' : 'SSE-C'] },
    forced: found.isForced,
  });
}
