/**
 * The object API as one Fastify plugin: sealing and opening of streams, and data keys for nodes that do it themselves
 * (docs/object-api.md). Wire format in, wire format out: encryption is decided in sse/, who may what in access/, records are audit/'s.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { wipe } from '../../crypto/index.ts';
import { correlation, type Correlation } from '../../correlation.ts';
import { SelloError, type ErrorCode } from '../../errors.ts';
import type { TenantKeys } from '../../keys/index.ts';
import { BucketKeys } from '../../sse/bucket-keys.ts';
import { S3Error, s3ErrorOf } from '../../sse/s3-error.ts';
import { isOfTenant, type Admission, type Gate } from '../../server/gate.ts';
import type { ServerInfo } from '../../server/info.ts';
import { endTrace, traceRequest, type RequestTrace } from '../../server/request-trace.ts';
import { longBody, type LongBody } from '../../server/long-body.ts';
import type { RequestSeries } from '../../telemetry/index.ts';
import type { Tenant } from '../../tenants/tenant.ts';
import { BodyDeadline } from '../kes/body-deadline.ts';
import { notFound } from '../kes/answers.ts';
import { wholeBody, type Declared } from '../kes/body.ts';
import { allMethods } from '../kes/routes.ts';
import { errorAnswer, send, type Answer } from './answers.ts';
import { ObjectCall, type RawRequest, type RawResponse } from './call.ts';
import { issue, unwrap } from './data-keys.ts';
import { openApiDocument } from './openapi.ts';
import { begin, complete, encryption, plan, reseal } from './object-handlers.ts';
import { objectRoutes, objectsPrefix, type ObjectRoute, type ObjectRouteName } from './routes.ts';
import { open, seal } from './stream-handlers.ts';
import { objectTarget, parametersOf, type ObjectTarget } from './target.ts';
import { dropCustomerKeys } from '../../sse/headers.ts';

type Parameters = ReadonlyMap<string, string>;
type Handler = (call: ObjectCall, parameters: Parameters, body: Buffer) => Answer | Promise<Answer>;
type StreamHandler = (call: ObjectCall, parameters: Parameters) => Promise<void>;

const streamHandlers: Partial<Record<ObjectRouteName, StreamHandler>> = { seal, open };

type ObjectRaw = RawRequest & {
  selloObjects?: { readonly target: ObjectTarget; readonly startMs: number };
  /** What the KES face set aside, which sees every target first. */
  sello?: { readonly declared: Declared };
};

/** Fastify's `rewriteUrl`: a path of this face goes to it, everything else to where `otherwise` says. */
export function rewriteObjectsUrl(raw: RawRequest, otherwise: string): string {
  const target = objectTarget(raw.url ?? '');
  if (target === undefined) return otherwise;
  (raw as ObjectRaw).selloObjects = { target, startMs: performance.now() };
  return objectsPrefix + target.route.path;
}

export interface ObjectsPluginOptions {
  readonly gate: Gate;
  readonly server: ServerInfo;
}

export function objectsPlugin(app: FastifyInstance, options: ObjectsPluginOptions, done: () => void): void {
  const exchange = new ObjectsExchange(options);
  for (const route of objectRoutes) {
    app.route({
      method: [...allMethods],
      url: objectsPrefix + route.path,
      handler: (request, reply) => exchange.serve(request, reply),
    });
  }
  done();
}

/** What is known of a request before it is looked at. */
interface Begun {
  readonly admission: Admission;
  readonly startMs: number;
  readonly traced: RequestTrace;
  readonly correlated: Correlation;
}

/** What one process keeps for a tenant of this face. */
interface TenantState {
  readonly bucketKeys: BucketKeys;
  streams: number;
}

class ObjectsExchange {
  readonly #gate: Gate;
  readonly #server: ServerInfo;
  readonly #deadline: BodyDeadline;
  readonly #states = new WeakMap<TenantKeys, TenantState>();
  readonly #series = new Map<string, RequestSeries>();
  readonly #handlers: Partial<Record<ObjectRouteName, Handler>>;

  constructor({ gate, server }: ObjectsPluginOptions) {
    this.#gate = gate;
    this.#server = server;
    this.#deadline = new BodyDeadline(() => gate.runtime.config.limits.requestTimeoutMs);
    const document = openApiDocument(server.version);
    this.#handlers = {
      begin,
      complete,
      reseal,
      plan,
      issue,
      unwrap,
      encryption,
      document: () => ({ status: 200, type: 'application/json', body: document }),
    };
  }

  serve(request: FastifyRequest, reply: FastifyReply): void {
    reply.hijack();
    const raw = request.raw as ObjectRaw;
    const response = reply.raw as unknown as RawResponse;
    const { target, startMs } = raw.selloObjects!;
    const admission = this.#gate.admit(raw);
    const series = this.#seriesOf(target.route, admission.tenant?.name ?? '');
    series.begin();
    const traced = traceRequest(this.#server.tracing, raw.headers, {
      admission,
      face: 'objects',
      method: raw.method,
      route: objectsPrefix + target.route.path,
      startMs,
    });
    const correlated: Correlation = { requestId: undefined, vaultRequestId: undefined, span: traced.span };
    void this.#answer(raw, response, target, { admission, startMs, traced, correlated })
      .catch((error: unknown) => {
        this.#server.log.error({ err: error }, 'object request failed');
        return 500;
      })
      .then((status) => {
        this.#gate.leave();
        series.end(status, (performance.now() - startMs) / 1000, traced.span?.traceId);
        endTrace(traced, status, {
          'sello.request_id': correlated.requestId,
          'sello.operation': target.route.operation,
        });
      });
  }

  #seriesOf(route: ObjectRoute, tenant: string): RequestSeries {
    const name = `${route.path}\0${tenant}`;
    let series = this.#series.get(name);
    if (series === undefined) {
      series = this.#server.metrics.request('objects', objectsPrefix + route.path, tenant);
      this.#series.set(name, series);
    }
    return series;
  }

  /** Resolves to the status of the answer when all of it has been handed to the connection. */
  async #answer(
    raw: ObjectRaw,
    response: RawResponse,
    target: ObjectTarget,
    { admission, startMs, traced, correlated }: Begun,
  ): Promise<number> {
    const { tenant } = admission;
    const objects = tenant?.config.objects;
    if (tenant === undefined || objects === undefined || !isOfTenant(admission)) {
      return this.#refuse(raw, response, target, admission, startMs);
    }
    const state = this.#stateOf(tenant);
    const requestId = (correlated.requestId = this.#server.newRequestId());
    const { limits } = this.#gate.runtime.config;
    const call = new ObjectCall({
      raw,
      response,
      declared: raw.sello!.declared,
      route: target.route,
      query: target.query,
      admission,
      tenant,
      objects,
      bucketKeys: state.bucketKeys,
      requestId,
      traceId: traced.traceId,
      correlated,
      idleMs: limits.idleTimeoutMs,
      startMs,
      judgeAgain: () => {
        const again = this.#gate.judge(raw);
        const found = again.tenant?.config.objects;
        if (again.tenant?.name !== tenant.name || found === undefined || !isOfTenant(again)) return undefined;
        return { admission: again, tenant: again.tenant, objects: found };
      },
      auditNow: () => this.#gate.runtime.tenants.get(tenant.name)?.audit ?? tenant.audit,
    });
    let leave: (() => void) | undefined;
    try {
      leave = await this.#gate.enter(tenant);
      if (raw.method !== target.route.method)
        throw new S3Error(
          'InvalidRequest',
          `This request takes ${target.route.method}.`,
          'SELLO_SSE_REQUEST_INVALID',
          { status: 405 },
        );
      const parameters = parametersOf(target);
      const stream = streamHandlers[target.route.name];
      await correlation.run(correlated, () =>
        stream === undefined
          ? this.#runCall(call, parameters)
          : this.#runStream(call, state, stream, parameters),
      );
    } catch (error) {
      await this.#fail(call, error);
    } finally {
      dropCustomerKeys(call.headers, 'rawHeaders' in raw ? raw.rawHeaders : undefined);
      leave?.();
    }
    return call.status;
  }

  async #runStream(
    call: ObjectCall,
    state: TenantState,
    handler: StreamHandler,
    parameters: Parameters,
  ): Promise<void> {
    if (state.streams >= call.objects.maxStreams) throw s3ErrorOf(new SelloError('SELLO_RATE_LIMITED'));
    state.streams++;
    try {
      // An object may take hours to arrive; that it goes on arriving is watched in place of the time a request may take.
      (call.raw as LongBody)[longBody] = true;
      await handler(call, parameters);
    } finally {
      state.streams--;
    }
  }

  async #runCall(call: ObjectCall, parameters: Parameters): Promise<void> {
    const { maxBody, name } = call.route;
    let body: Buffer = Buffer.alloc(0);
    if (maxBody > 0) {
      body = await this.#bodyOf(call, maxBody);
      call.refresh();
    }
    const answer = await this.#handlers[name]!(call, parameters, body);
    try {
      if (!call.isRecorded) await call.release(answer.status);
    } catch (error) {
      if (answer.secret === true) wipe(answer.body);
      throw error;
    }
    call.status = answer.status;
    send(call.raw, call.response, answer);
  }

  #bodyOf(call: ObjectCall, cap: number): Promise<Buffer> {
    return wholeBody(call.raw, call.declared, cap, this.#deadline, (why) =>
      s3ErrorOf(new SelloError(why === 'lost' ? 'SELLO_SSE_REQUEST_INVALID' : 'SELLO_OBJECT_TOO_LARGE')),
    );
  }

  /** What was refused or failed before an answer was under way. */
  async #fail(call: ObjectCall, error: unknown): Promise<void> {
    let shown = s3ErrorOf(error);
    if (shown.status >= 500)
      this.#server.log.error(
        { err: error, tenant: call.tenant.name, requestId: call.requestId },
        'object request failed',
      );
    if (call.response.headersSent) {
      call.breakOff();
      return;
    }
    try {
      await call.recordFailure(shown);
    } catch (unrecorded) {
      shown = s3ErrorOf(unrecorded);
    }
    call.status = shown.status;
    send(call.raw, call.response, errorAnswer(shown, String(call.headers['accept'] ?? ''), call.requestId));
  }

  /** Nobody's request, or one to a tenant that has no such face. */
  #refuse(
    raw: ObjectRaw,
    response: RawResponse,
    target: ObjectTarget,
    admission: Admission,
    startMs: number,
  ): number {
    const { refusal } = admission;
    const code: ErrorCode = refusal?.code ?? 'SELLO_NOT_AUTHORIZED';
    const hasFace = admission.tenant?.config.objects !== undefined;
    const error = s3ErrorOf(new SelloError(code));
    const requestId = this.#server.newRequestId();
    const answer =
      hasFace || refusal !== undefined
        ? errorAnswer(error, String(raw.headers['accept'] ?? ''), requestId)
        : // As if there were no such face, in KES's words.
          notFound;
    dropCustomerKeys(
      raw.headers as Record<string, string | undefined>,
      'rawHeaders' in raw ? raw.rawHeaders : undefined,
    );
    this.#gate.serverAudit.append({
      timeMs: Date.now(),
      requestId,
      tenant: admission.tenant?.name,
      identity: admission.identity,
      certificateSerial: admission.peer?.serialNumber,
      certificateIssuer: admission.peer?.issuerName,
      sourceIp: admission.sourceIp,
      face: 'objects',
      method: raw.method,
      path: objectsPrefix + target.route.path,
      operation: target.route.operation,
      decision: 'deny',
      status: answer.status,
      error: code,
      reason: refusal?.reason,
      durationMs: performance.now() - startMs,
    });
    send(raw, response, answer);
    return answer.status;
  }

  #stateOf(tenant: Tenant): TenantState {
    let state = this.#states.get(tenant.keys);
    if (state === undefined) {
      const { propagationMs } = this.#gate.runtime.config;
      const { maxAgeMs, maxObjects } = tenant.config.objects!.bucketKeys;
      // A data key in memory outlives its master key by no more than any other use of it may.
      const bucketKeys = new BucketKeys({ maxAgeMs: Math.min(maxAgeMs, propagationMs / 2), maxObjects });
      state = { bucketKeys, streams: 0 };
      this.#states.set(tenant.keys, state);
      tenant.keys.onClose(() => bucketKeys.close());
    }
    return state;
  }
}
