/** One request of the object API, from its admission on: what every handler may know and do. */
import { performance } from 'node:perf_hooks';
import { hash } from 'node:crypto';
import type { Readable, Writable } from 'node:stream';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Operation } from '../../access/index.ts';
import { recordsOfItems } from '../../audit/items.ts';
import type { AuditItem, AuditRecord } from '../../audit/record.ts';
import type { ObjectsConfig } from '../../config/model.ts';
import type { Admission } from '../../server/gate.ts';
import type { Http2Request, Http2Response, ServedStream } from '../../server/http2-exchange.ts';
import type { Tenant } from '../../tenants/tenant.ts';
import type { EncryptionContext } from '../../sse/context.ts';
import type { BucketKeys } from '../../sse/bucket-keys.ts';
import { accessDenied, s3ErrorOf, type S3Error } from '../../sse/s3-error.ts';
import type { Correlation } from '../../correlation.ts';
import { SelloError, type ErrorCode } from '../../errors.ts';
import type { ObjectRoute } from './routes.ts';

export type RawRequest = IncomingMessage | Http2Request;
export type RawResponse = ServerResponse | Http2Response;

/** What a record says of the object and key a request is about. */
export interface Subject {
  readonly bucket?: string | undefined;
  readonly object?: string | undefined;
  readonly key?: string | undefined;
  readonly context?: EncryptionContext | undefined;
  readonly scope?: 'bucket' | undefined;
}

export interface CallParts {
  readonly raw: RawRequest;
  readonly response: RawResponse;
  readonly declared: { readonly length: string | undefined; readonly chunked: boolean };
  readonly route: ObjectRoute;
  readonly query: string;
  readonly admission: Admission;
  readonly tenant: Tenant;
  readonly objects: ObjectsConfig;
  readonly bucketKeys: BucketKeys;
  readonly requestId: string;
  readonly traceId: string | undefined;
  /** Where calls to Vault leave their id of the request. */
  readonly correlated: Correlation;
  readonly idleMs: number;
  readonly startMs: number;
  /** The tenant's audit stream, which a reload may have replaced. */
  readonly auditNow: () => Tenant['audit'];
  /** Who the caller is by the configuration in force now; undefined when it has no place in this tenant any more. */
  readonly judgeAgain: () => Pick<CallParts, 'admission' | 'tenant' | 'objects'> | undefined;
}

export class ObjectCall {
  readonly raw: RawRequest;
  readonly response: RawResponse;
  readonly declared: CallParts['declared'];
  readonly route: ObjectRoute;
  readonly query: string;
  admission: Admission;
  tenant: Tenant;
  objects: ObjectsConfig;
  readonly bucketKeys: BucketKeys;
  readonly requestId: string;
  readonly idleMs: number;
  readonly #traceId: string | undefined;
  readonly #correlated: Correlation;
  readonly #judgeAgain: CallParts['judgeAgain'];
  readonly #startMs: number;
  readonly #auditNow: () => Tenant['audit'];
  #rule: string | undefined;
  /** Status of the answer, for metrics. */
  status = 0;
  /** The answer has been recorded: a failure from here on is the end of a stream, not a refusal. */
  isRecorded = false;
  subject: Subject = {};

  constructor(parts: CallParts) {
    this.raw = parts.raw;
    this.response = parts.response;
    this.declared = parts.declared;
    this.route = parts.route;
    this.query = parts.query;
    this.admission = parts.admission;
    this.tenant = parts.tenant;
    this.objects = parts.objects;
    this.bucketKeys = parts.bucketKeys;
    this.requestId = parts.requestId;
    this.#traceId = parts.traceId;
    this.#correlated = parts.correlated;
    this.idleMs = parts.idleMs;
    this.#startMs = parts.startMs;
    this.#auditNow = parts.auditNow;
    this.#judgeAgain = parts.judgeAgain;
  }

  get headers(): Record<string, string | string[] | undefined> {
    return this.raw.headers as Record<string, string | string[] | undefined>;
  }

  /** The request's body. */
  get source(): Readable {
    return 'stream' in this.raw ? (this.raw.stream as unknown as Readable) : this.raw;
  }

  /** True when the body was cut off: a reset HTTP/2 stream ends like a whole one. */
  get isCutOff(): boolean {
    if (!('stream' in this.raw)) return !this.raw.complete;
    const { stream } = this.raw;
    return stream.aborted || stream.destroyed || (stream.closed && stream.rstCode !== 0);
  }

  /** Declared length of the body. */
  get contentLength(): number | undefined {
    const text = this.declared.length;
    if (text === undefined || this.declared.chunked) return undefined;
    const length = Number(text);
    return Number.isSafeInteger(length) ? length : undefined;
  }

  /** False when the client reached its node without TLS, as the node says: a customer's key has then been seen by others. */
  get isSecure(): boolean {
    return this.headers['x-forwarded-proto'] !== 'http';
  }

  /**
   * After bytes of the body were waited for: the configuration may have changed meanwhile, and a caller who was revoked gets no key.
   * @throws S3Error AccessDenied
   */
  refresh(): void {
    const now = this.#judgeAgain();
    if (now === undefined) throw s3ErrorOf(new SelloError('SELLO_NOT_AUTHORIZED'));
    this.admission = now.admission;
    this.tenant = now.tenant;
    this.objects = now.objects;
  }

  /** @throws S3Error AccessDenied */
  authorize(operation: Operation, key: string | undefined, context: EncryptionContext): void {
    const decision = this.tenant.access.decide({
      identity: this.admission.identity!,
      face: 'objects',
      operation,
      path: undefined,
      key,
      context: () => context,
      sourceIp: this.admission.sourceIp,
      nowMs: Date.now(),
    });
    this.#rule = decision.rule;
    if (!decision.allowed) {
      throw decision.rateLimited === true
        ? s3ErrorOf(new SelloError('SELLO_RATE_LIMITED'))
        : accessDenied('Access Denied', 'SELLO_NOT_AUTHORIZED');
    }
  }

  /** Writes the record that lets an answer go. @throws S3Error ServiceUnavailable when it cannot be written */
  async release(status: number, phase?: 'release', subject: Subject = this.subject): Promise<void> {
    this.isRecorded = true;
    try {
      await this.tenant.audit.append(this.record(status, { decision: 'allow', phase, subject }));
    } catch (cause) {
      this.isRecorded = false;
      throw s3ErrorOf(new SelloError('SELLO_AUDIT_UNAVAILABLE', { cause }));
    }
  }

  /** Records what was refused. @throws S3Error ServiceUnavailable when it cannot be written */
  async recordFailure({ status, sello }: S3Error): Promise<void> {
    const decision = status === 403 ? 'deny' : 'allow';
    try {
      await this.#auditNow().append(this.record(status, { decision, error: sello }));
    } catch (cause) {
      throw s3ErrorOf(new SelloError('SELLO_AUDIT_UNAVAILABLE', { cause }));
    }
  }

  /**
   * Puts the items of a batch on record, those of one outcome together, before the answer leaves.
   * @throws S3Error ServiceUnavailable when they cannot be written
   */
  async recordItems(
    outcomes: readonly { readonly subject: Subject; readonly error?: S3Error | undefined }[],
  ): Promise<void> {
    this.isRecorded = true;
    const groups = new Map<string, { readonly base: AuditRecord; readonly items: AuditItem[] }>();
    for (const { error, subject } of outcomes) {
      const { scope } = subject;
      const outcome = `${String(error?.status)} ${error?.sello ?? ''} ${scope ?? ''}`;
      let group = groups.get(outcome);
      if (group === undefined) {
        const decision = error?.status === 403 ? 'deny' : 'allow';
        const base = this.record(error?.status ?? 200, {
          decision,
          error: error?.sello,
          subject: { ...(scope === undefined ? {} : { scope }) },
        });
        groups.set(outcome, (group = { base, items: [] }));
      }
      const { bucket, context, key, object } = subject;
      // Of a batch: a context that is the place alone says nothing more.
      const isPlace = outcomes.length > 1 && Object.keys(context ?? {}).length === 1;
      group.items.push({
        bucket,
        contextSha256: isPlace ? undefined : contextDigest(context),
        key,
        object,
      });
    }
    const records = [...groups.values()].flatMap(({ base, items }) => recordsOfItems(base, items));
    try {
      const { audit } = this.tenant;
      await Promise.all(records.map((record) => audit.append(record)));
    } catch (cause) {
      this.isRecorded = false;
      throw s3ErrorOf(new SelloError('SELLO_AUDIT_UNAVAILABLE', { cause }));
    }
  }

  /** Records how a stream ended. What cannot be written any more is not told twice: the stream of records raises its own alarm. */
  end(
    status: number,
    result: { bytesIn: number; bytesOut: number; aborted: boolean; error?: ErrorCode | undefined },
  ): void {
    const { bytesIn, bytesOut, aborted, error } = result;
    const record = this.record(status, { decision: 'allow', phase: 'end', error });
    try {
      void this.#auditNow()
        .append({ ...record, bytesIn, bytesOut, aborted })
        ?.catch(() => undefined);
    } catch {
      // As above.
    }
  }

  record(
    status: number,
    more: {
      readonly decision: AuditRecord['decision'];
      readonly phase?: 'release' | 'end' | undefined;
      readonly error?: ErrorCode | undefined;
      readonly reason?: string | undefined;
      readonly subject?: Subject;
    },
  ): AuditRecord {
    const { admission, route } = this;
    const subject = more.subject ?? this.subject;
    return {
      timeMs: Date.now(),
      requestId: this.requestId,
      traceId: this.#traceId,
      tenant: this.tenant.name,
      identity: admission.identity,
      certificateSerial: admission.peer?.serialNumber,
      certificateIssuer: admission.peer?.issuerName,
      sourceIp: admission.sourceIp,
      face: 'objects',
      method: this.raw.method,
      path: `/objects/v1/${route.path}`,
      operation: route.operation,
      key: subject.key,
      contextSha256: contextDigest(subject.context),
      bucket: subject.bucket,
      object: subject.object,
      scope: subject.scope,
      phase: more.phase,
      decision: more.decision,
      rule: this.#rule,
      status,
      error: more.error,
      reason: more.reason,
      durationMs: performance.now() - this.#startMs,
      vaultRequestId: this.#correlated.vaultRequestId,
    };
  }

  /** Sends status and headers; returns what takes the body. */
  begin(status: number, headers: Readonly<Record<string, string>>): Writable {
    this.status = status;
    const { response } = this;
    response.statusCode = status;
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    response.flushHeaders();
    return isHttp2(response) ? (response.stream as unknown as Writable) : response;
  }

  /** Ends the exchange so that nobody takes what came for whole: the stream on HTTP/2, the connection on HTTP/1.1. */
  breakOff(): void {
    if (isHttp2(this.response)) breakStream(this.response.stream);
    else (this.raw as IncomingMessage).socket.destroy();
  }
}

/**
 * By `destroy`, which resets with INTERNAL_ERROR (2, RFC 9113 §7): `close(2)` ends the stream's data first, and where that end leaves before
 * the reset the client takes what came for whole.
 */
function breakStream(stream: ServedStream): void {
  if (!stream.destroyed) stream.destroy(new Error('broken off'));
}

export function isHttp2(response: RawResponse): response is Http2Response {
  return 'wipeAfterSend' in response;
}

function contextDigest(context: EncryptionContext | undefined): string | undefined {
  if (context === undefined || Object.keys(context).length === 0) return undefined;
  const entries = Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1));
  return hash('sha256', JSON.stringify(entries), 'hex');
}
