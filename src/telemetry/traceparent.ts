/** W3C Trace Context's `traceparent` header (w3.org/TR/trace-context, §3.2), as a caller sends it. */

export interface TraceParent {
  readonly traceId: string;
  readonly spanId: string;
  /** The caller records its own part. */
  readonly isSampled: boolean;
}

const form = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** A later version may be longer; what follows is not looked at. */
const maxCharacters = 256;

/** @returns undefined for anything that is not exactly one: the caller then counts as not traced */
export function parseTraceparent(header: string | readonly string[] | undefined): TraceParent | undefined {
  if (typeof header !== 'string' || header.length > maxCharacters) return undefined;
  const [, version, traceId = '', spanId = '', flags = '', more] = form.exec(header) ?? [];
  if (version === undefined || version === 'ff' || (version === '00' && more !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 };
}
