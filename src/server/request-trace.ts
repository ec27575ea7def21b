/** Whether a request belongs to a trace: its caller's, or one that begins here. */
import type { IncomingHttpHeaders } from 'node:http';
import type { Face } from '../access/operations.ts';
import type { SpanAttributes, WorkSpan } from '../correlation.ts';
import { parseTraceparent, type Tracing } from '../telemetry/index.ts';
import { isOfTenant, type Admission } from './gate.ts';

export interface RequestTrace {
  /** For the audit record; also when nothing is exported here and the caller has told its own. */
  readonly traceId: string | undefined;
  readonly span: WorkSpan | undefined;
}

const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'LIST']);
const untraced: RequestTrace = { traceId: undefined, span: undefined };

/**
 * Strangers are not traced, and what they say of a trace is not believed: anybody could fill a collector, or put a record into
 * somebody else's trace.
 */
export function traceRequest(
  tracing: Tracing | undefined,
  headers: IncomingHttpHeaders,
  request: {
    readonly admission: Admission;
    readonly face: Face;
    readonly method: string | undefined;
    /** The route's pattern. */
    readonly route: string;
    readonly startMs: number;
  },
): RequestTrace {
  const header = headers['traceparent'];
  if (tracing === undefined && header === undefined) return untraced;
  const { admission, face, route, startMs } = request;
  // Of HTTP/2 any word can be a method: only the known ones are names.
  const method = methods.has(request.method ?? '') ? request.method! : '_OTHER';
  if (!isOfTenant(admission)) return untraced;
  const parent = parseTraceparent(header as string | string[] | undefined);
  const span = tracing?.begin(`${method} ${route}`, startMs, parent);
  const tenant = admission.tenant!.name;
  span?.set({
    'http.request.method': method,
    'http.route': route,
    'sello.face': face,
    'sello.tenant': tenant,
  });
  return { traceId: span?.traceId ?? parent?.traceId, span };
}

/** Ends a request's span with what its answer was. */
export function endTrace({ span }: RequestTrace, status: number, attributes: SpanAttributes): void {
  if (span === undefined) return;
  const error = attributes['sello.error'];
  span.set({ 'http.response.status_code': status, ...attributes });
  // As the HTTP conventions have it: a refusal is the client's fault, not the server's.
  span.end(status >= 500 ? String(error ?? status) : undefined);
}
