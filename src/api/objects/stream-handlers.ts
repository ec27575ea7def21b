/** Sealing and opening: the body goes through while the answer is already on its way. */
import { wipe } from '../../crypto/index.ts';
import { SelloError } from '../../errors.ts';
import {
  maxPartNumber,
  objectHeaderBytes,
  parseStreamHeader,
  plainStreamLength,
  planStream,
  sealedStreamLength,
  defaultSegmentBytes,
  type ByteSpan,
  type Manifest,
} from '../../formats/index.ts';
import { encryptionOf } from '../../config/objects.ts';
import { decideEncryption } from '../../sse/decision.ts';
import {
  customerKeyOf,
  customerPrefix,
  dropCustomerKeys,
  refuseSseOnRead,
  sseRequestOf,
} from '../../sse/headers.ts';
import { rangeOf } from '../../sse/http-range.ts';
import type { SealedObject } from '../../sse/object.ts';
import { invalidArgument, invalidRequest, S3Error, s3ErrorOf } from '../../sse/s3-error.ts';
import type { Engine } from '../../sse/streams.ts';
import { errorAnswer, send } from './answers.ts';
import type { ObjectCall } from './call.ts';
import {
  bodyStart,
  envelopeHeader,
  envelopeOf,
  envelopeOfHeader,
  isInFront,
  manifestOf,
  sealedLengthHeader,
  type BodyStart,
} from './envelopes.ts';
import { openExisting, sealNew } from './keys-of-object.ts';
import { pump, takeFirst } from './pump.ts';
import { placeOf, wholeNumberOf, type NamedPlace } from './target.ts';

const streamType = 'application/octet-stream';

/** The customer key of a request; its headers forget it. */
export function takeCustomerKey(call: ObjectCall, prefix = customerPrefix) {
  try {
    return customerKeyOf(call.headers, prefix, call.isSecure);
  } finally {
    forgetCustomerKeys(call);
  }
}

function forgetCustomerKeys({ raw, headers }: ObjectCall): void {
  dropCustomerKeys(headers, 'rawHeaders' in raw ? raw.rawHeaders : undefined);
}

/** The encryption that a request for a new envelope asks for, as its bucket decides. */
export function decisionOf(call: ObjectCall, place: NamedPlace) {
  const bucket = encryptionOf(call.objects, place.bucket);
  try {
    const request = sseRequestOf(call.headers, call.isSecure);
    return decideEncryption(request, bucket, call.objects.requiresKmsKeyId);
  } finally {
    forgetCustomerKeys(call);
  }
}

function partOf(parameters: ReadonlyMap<string, string>): number | undefined {
  const part = wholeNumberOf(parameters.get('part'), 'Part number');
  if (part !== undefined && (part < 1 || part > maxPartNumber))
    throw invalidArgument(
      `Part number must be an integer between 1 and ${String(maxPartNumber)}, inclusive.`,
    );
  return part;
}

/** POST seal: plaintext in, sealed stream out. With `part`, a part of the object whose envelope the request carries. */
export async function seal(call: ObjectCall, parameters: ReadonlyMap<string, string>): Promise<void> {
  const place = placeOf(parameters);
  const part = partOf(parameters);
  const isFront = isInFront(parameters);
  if (part !== undefined && isFront)
    throw invalidArgument('The envelope of an object in parts is not in front of one.');
  const { object, headers } =
    part === undefined
      ? await sealNew(call, place, decisionOf(call, place))
      : await openExisting(call, place, envelopeOfHeader(call), customerKeyOfPart(call), 'seal part');
  try {
    const { engine } = object.seal({ aead: call.objects.cipher, ...(part === undefined ? {} : { part }) });
    const plainLength = call.contentLength;
    const envelope = isFront ? object.envelope : undefined;
    const length =
      plainLength === undefined
        ? undefined
        : sealedStreamLength(plainLength, defaultSegmentBytes) + (envelope?.length ?? 0);
    await call.release(200, 'release');
    await run(call, envelope === undefined ? engine : behind(envelope, engine), bodyStart, {
      status: 200,
      headers: {
        ...headers,
        'content-type': streamType,
        ...(part === undefined ? { [envelopeHeader]: object.metadata } : {}),
        ...(length === undefined ? {} : { 'content-length': String(length) }),
      },
    });
  } finally {
    object.wipe();
  }
}

/** S3 takes an upload's encryption from its beginning: a part repeats a customer's key and nothing else. */
function customerKeyOfPart(call: ObjectCall) {
  return takeCustomerKey(call);
}

/** Puts the envelope in front of a sealer's own header. */
function behind(envelope: Buffer, engine: Engine): Engine {
  return {
    header: Buffer.concat([envelope, engine.header!]),
    update: (chunk, out) => engine.update(chunk, out),
    final: (out) => engine.final(out),
    wipe: () => engine.wipe(),
  };
}

/** POST open: sealed stream in, or the sealed bytes of a range of it, plaintext out. */
export async function open(call: ObjectCall, parameters: ReadonlyMap<string, string>): Promise<void> {
  const place = placeOf(parameters);
  const part = partOf(parameters);
  const customer = takeCustomerKey(call);
  let opened;
  let body: BodyStart;
  try {
    refuseSseOnRead(call.headers);
    const found = await envelopeOf(call, parameters);
    body = found.body;
    opened = await openExisting(call, place, found.envelope, customer, 'open');
  } finally {
    wipe(customer?.key);
  }
  const { object, headers } = opened;
  try {
    const plan = await planOf(call, object, body, part);
    await call.release(plan.status, 'release');
    await run(call, plan.engine, plan.body, {
      status: plan.status,
      headers: { ...headers, ...plan.headers, 'content-type': streamType },
    });
  } finally {
    object.wipe();
  }
}

interface OpenPlan {
  readonly status: 200 | 206;
  readonly engine: Engine;
  readonly body: BodyStart;
  readonly headers: Record<string, string>;
}

async function planOf(
  call: ObjectCall,
  object: SealedObject,
  body: BodyStart,
  part: number | undefined,
): Promise<OpenPlan> {
  const range = call.headers['range'];
  const found = await manifestOf(call, body);
  if (found !== undefined)
    return planManifest(object, object.manifest(found.manifest), found.body, part, range);
  return range === undefined
    ? planWhole(call, object, body, part)
    : planRange(call, object, body, part, String(range));
}

async function planWhole(
  call: ObjectCall,
  object: SealedObject,
  body: BodyStart,
  part: number | undefined,
): Promise<OpenPlan> {
  // The header tells the segment size, and with it the length that can be promised.
  const start = await takeFirst(call.source, objectHeaderBytes, call.idleMs, body.rest);
  if (start === undefined) throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: 'no header' });
  const { segmentBytes } = parseStreamHeader(start.first);
  const { contentLength } = call;
  let headers = {};
  if (contentLength !== undefined) {
    const length = plainStreamLength(contentLength - body.taken, segmentBytes);
    if (length === undefined) throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: 'length' });
    headers = { 'content-length': String(length) };
  }
  const { engine } = object.open(part);
  return { status: 200, engine, body: { taken: body.taken, rest: [start.first, ...start.rest] }, headers };
}

async function planRange(
  call: ObjectCall,
  object: SealedObject,
  body: BodyStart,
  part: number | undefined,
  header: string,
): Promise<OpenPlan> {
  const start = await takeFirst(call.source, objectHeaderBytes, call.idleMs, body.rest);
  if (start === undefined) throw new SelloError('SELLO_OBJECT_NOT_AUTHENTIC', { detail: 'no header' });
  const { segmentBytes } = parseStreamHeader(start.first);
  const length = plainLengthOf(call, segmentBytes);
  const range = rangeOf(header, length);
  // What the whole object's length says is exact; without it the answer promises what was asked for, and fails where it is not there.
  planStream(range, segmentBytes, length);
  const { engine } = object.openRange(range, part);
  return {
    status: 206,
    engine,
    body: { taken: body.taken, rest: [start.first, ...start.rest] },
    headers: rangeHeaders(range, length),
  };
}

function plainLengthOf(call: ObjectCall, segmentBytes: number): number | undefined {
  const text = call.headers[sealedLengthHeader];
  const sealedLength = text === undefined ? undefined : wholeNumberOf(String(text), sealedLengthHeader);
  if (sealedLength === undefined) return undefined;
  const length = plainStreamLength(sealedLength, segmentBytes);
  if (length === undefined) throw invalidArgument(`${sealedLengthHeader} is the length of no sealed stream.`);
  return length;
}

function rangeHeaders({ from, to }: ByteSpan, length: number | undefined): Record<string, string> {
  return {
    'content-range': `bytes ${String(from)}-${String(to - 1)}/${length === undefined ? '*' : String(length)}`,
    'content-length': String(to - from),
    'accept-ranges': 'bytes',
  };
}

function planManifest(
  object: SealedObject,
  manifest: Manifest,
  body: BodyStart,
  part: number | undefined,
  rangeHeader: string | string[] | undefined,
): OpenPlan {
  const counted = { 'x-amz-mp-parts-count': String(manifest.parts.length) };
  if (part !== undefined) {
    if (rangeHeader !== undefined)
      throw invalidRequest('Cannot specify both Range header and partNumber query parameter.');
    const range = spanOfPart(manifest, part);
    const { engine } = range.from === range.to ? { engine: emptyEngine } : object.openParts(manifest, range);
    const headers =
      range.from === range.to ? { 'content-length': '0' } : rangeHeaders(range, manifest.length);
    return { status: 206, engine, body, headers: { ...headers, ...counted } };
  }
  if (rangeHeader === undefined) {
    const { engine } = object.openParts(manifest);
    return { status: 200, engine, body, headers: { 'content-length': String(manifest.length), ...counted } };
  }
  const range = rangeOf(String(rangeHeader), manifest.length);
  const { engine } = object.openParts(manifest, range);
  return { status: 206, engine, body, headers: { ...rangeHeaders(range, manifest.length), ...counted } };
}

/** @throws S3Error InvalidPart: S3's answer to a part that is not there */
function spanOfPart(manifest: Manifest, part: number): ByteSpan {
  let from = 0;
  for (const entry of manifest.parts) {
    if (entry.part === part) return { from, to: from + entry.length };
    from += entry.length;
  }
  throw new S3Error(
    'InvalidPart',
    'The requested partnumber is not satisfiable.',
    'SELLO_SSE_REQUEST_INVALID',
  );
}

/** A part of no bytes: the manifest has said all there is to say, whatever sealed bytes come. */
const emptyEngine: Engine = { update: () => undefined, final: () => undefined, wipe: () => undefined };

/**
 * Runs the body through `engine`. Nothing has been sent yet: what fails before the first byte is an answer like any other; what
 * fails later breaks off.
 */
async function run(
  call: ObjectCall,
  engine: Engine,
  { taken, rest }: BodyStart,
  { status, headers }: { readonly status: number; readonly headers: Readonly<Record<string, string>> },
): Promise<void> {
  let sink: ReturnType<ObjectCall['begin']> | undefined;
  const begin = () => (sink = call.begin(status, headers));
  const result = await pump({
    source: call.source,
    first: rest,
    isCutOff: (bytesIn) => call.isCutOff || taken + bytesIn !== (call.contentLength ?? taken + bytesIn),
    engine,
    begin,
    promised: headers['content-length'] === undefined ? undefined : Number(headers['content-length']),
    idleMs: call.idleMs,
  });
  const { bytesIn, bytesOut, failure } = result;
  if (failure === undefined) {
    const target = sink ?? begin();
    target.end();
    call.end(status, { bytesIn, bytesOut, aborted: false });
    return;
  }
  if (failure === 'aborted') {
    call.status = result.isBegun ? status : 400;
    call.end(call.status, { bytesIn, bytesOut, aborted: true });
    call.breakOff();
    return;
  }
  const error = s3ErrorOf(failure.error);
  call.end(result.isBegun ? status : error.status, { bytesIn, bytesOut, aborted: true, error: error.sello });
  if (result.isBegun) {
    call.breakOff();
    return;
  }
  call.status = error.status;
  send(call.raw, call.response, errorAnswer(error, String(call.headers['accept'] ?? ''), call.requestId));
}
