/**
 * Which request work is done for, known to code that knows no requests: the Vault connection sends the id along and leaves
 * behind what Vault called its own side of it, for the audit record; where the request is traced, work done for it is a part of its trace.
 */
import { AsyncLocalStorage } from 'node:async_hooks';

export interface Correlation {
  /** Our request's id. */
  requestId: string | undefined;
  /** Vault's id of the last call that was made for the request: what to look for in Vault's audit log. */
  vaultRequestId: string | undefined;
  /** The piece of work under way, where the request is traced. */
  readonly span?: WorkSpan | undefined;
}

export const correlation = new AsyncLocalStorage<Correlation>();

/**
 * All that a trace may tell: no other name, so no value of an encryption context, no secret and no header finds its way to a
 * collector, whose readers are not those of the audit trail.
 */
export type SpanAttribute =
  | 'http.request.method'
  | 'http.request.resend_count'
  | 'http.response.status_code'
  | 'http.route'
  | 'sello.error'
  | 'sello.face'
  | 'sello.key'
  | 'sello.key_version'
  | 'sello.keystore.operation'
  | 'sello.operation'
  | 'sello.request_id'
  | 'sello.tenant'
  | 'sello.vault_request_id'
  | 'server.address'
  | 'server.port'
  | 'url.path';

export type SpanAttributes = Partial<Record<SpanAttribute, string | number | undefined>>;

/** A piece of work that a trace tells of. */
export interface WorkSpan {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** W3C `traceparent` for a call to somebody else. */
  readonly traceparent: string;
  /** Begins a part of this work. Undefined once the request is over: what goes on after it is nobody's. */
  child(name: string, kind: 'internal' | 'client', attributes: SpanAttributes): WorkSpan | undefined;
  set(attributes: SpanAttributes): void;
  /** `failure`: a stable word for what went wrong, such as an error's code. */
  end(failure?: string): void;
}

/** Does `work` as a part of the request under way, where that is traced. */
export async function inSpan<T>(
  name: string,
  attributes: SpanAttributes,
  failureOf: (error: unknown) => string,
  work: () => Promise<T>,
): Promise<T> {
  const outer = correlation.getStore();
  const span = outer?.span?.child(name, 'internal', attributes);
  if (outer === undefined || span === undefined) return work();
  const inner: Correlation = {
    requestId: outer.requestId,
    vaultRequestId: outer.vaultRequestId,
    span,
  };
  let failure: string | undefined;
  try {
    return await correlation.run(inner, work);
  } catch (error) {
    failure = failureOf(error);
    throw error;
  } finally {
    outer.vaultRequestId = inner.vaultRequestId;
    span.end(failure);
  }
}
