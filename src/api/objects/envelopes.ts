/** Envelopes and manifests on the wire: in a header, or in front of a body. */
import {
  envelopeLength,
  envelopePrefixBytes,
  maxEnvelopeBytes,
  maxManifestBytes,
} from '../../formats/index.ts';
import { invalidArgument, invalidRequest } from '../../sse/s3-error.ts';
import type { ObjectCall } from './call.ts';
import { takeFirst } from './pump.ts';
import { wholeNumberOf } from './target.ts';

export const envelopeHeader = 'x-sello-envelope';
export const manifestHeader = 'x-sello-manifest-length';
export const sealedLengthHeader = 'x-sello-sealed-length';

/** A body whose beginning may have been read. */
export interface BodyStart {
  readonly taken: number;
  readonly rest: readonly Buffer[];
}

export const bodyStart: BodyStart = { taken: 0, rest: [] };

/** Whether the envelope goes in front of the stream. */
export function isInFront(parameters: ReadonlyMap<string, string>): boolean {
  const where = parameters.get('envelope');
  if (where === undefined || where === 'header') return false;
  if (where !== 'front') throw invalidArgument("Query parameter envelope is 'header' or 'front'.");
  return true;
}

export function envelopeOfHeader(call: ObjectCall): Buffer {
  const text = call.headers[envelopeHeader];
  if (typeof text !== 'string' || text === '') throw invalidArgument(`Header ${envelopeHeader} is missing.`);
  const bytes = Buffer.from(text, 'base64url');
  /* Precondition: Node's decoder skips what is not base64; an envelope has one text. */
  if (bytes.length > maxEnvelopeBytes || bytes.toString('base64url') !== text)
    throw invalidArgument(`Header ${envelopeHeader} is not an envelope in base64url.`);
  return bytes;
}

/** The envelope, and where the body goes on behind it. */
export async function envelopeOf(
  call: ObjectCall,
  parameters: ReadonlyMap<string, string>,
): Promise<{ readonly envelope: Buffer; readonly body: BodyStart }> {
  if (!isInFront(parameters)) return { envelope: envelopeOfHeader(call), body: bodyStart };
  const prefix = await takeFirst(call.source, envelopePrefixBytes, call.idleMs);
  const length = prefix === undefined ? undefined : envelopeLength(prefix.first);
  if (prefix === undefined || length === undefined)
    throw invalidRequest('The body does not begin with an envelope.');
  const whole = await takeFirst(call.source, length, call.idleMs, [prefix.first, ...prefix.rest]);
  if (whole === undefined) throw invalidRequest('The body ends within its envelope.');
  call.refresh();
  return { envelope: Buffer.from(whole.first), body: { taken: length, rest: whole.rest } };
}

/** The manifest in front of the sealed bytes of an object in parts; undefined when the request names none. */
export async function manifestOf(
  call: ObjectCall,
  body: BodyStart,
): Promise<{ readonly manifest: Buffer; readonly body: BodyStart } | undefined> {
  const text = call.headers[manifestHeader];
  if (text === undefined) return undefined;
  const length = wholeNumberOf(String(text), manifestHeader)!;
  if (length > maxManifestBytes)
    throw invalidArgument(`${manifestHeader} is at most ${String(maxManifestBytes)}.`);
  const whole = await takeFirst(call.source, length, call.idleMs, body.rest);
  if (whole === undefined) throw invalidRequest('The body ends within its manifest.');
  return { manifest: Buffer.from(whole.first), body: { taken: body.taken + length, rest: whole.rest } };
}
