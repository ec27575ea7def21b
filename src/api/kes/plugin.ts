/**
 * The KES v1 face as one Fastify plugin: wire format in, wire format out. It adds no rule of its own; who may do what is
 * decided in access/, what happens to keys in keys/, what is recorded in audit/.
 *
 * Fastify must neither clean nor decode paths and must not read bodies (KES reads them after authorisation and ignores their
 * Content-Type), so `rewriteKesUrl` resolves the target before routing and sets the body's headers aside.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { hash } from 'node:crypto';
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { Identity, Operation } from '../../access/index.ts';
import { objectOf } from '../../audit/context.ts';
import { begunStatus, type AuditRecord } from '../../audit/record.ts';
import { correlation, type Correlation } from '../../correlation.ts';
import { SelloError } from '../../errors.ts';
import { isListed, isOfTenant, type Admission, type Gate } from '../../server/gate.ts';
import type { Runtime } from '../../server/runtime.ts';
import type { ServerInfo } from '../../server/info.ts';
import { endTrace, traceRequest, type RequestTrace } from '../../server/request-trace.ts';
import type { RequestSeries } from '../../telemetry/index.ts';
import type { Tenant } from '../../tenants/tenant.ts';
import { quotaHoldMs } from '../../tenants/quota.ts';
import {
  answerOfError,
  failure,
  malformedTarget,
  methodNotAllowed,
  notFound,
  redirectAnswer,
  type Answer,
  type NextPage,
} from './answers.ts';
import { BodyDeadline } from './body-deadline.ts';
import { readBody, type AnyRequest, type Body, type Declared, type RawRequest } from './body.ts';
import { contextOfBody } from './context.ts';
import { DirectReply, type KesReply, type SmallResponse } from './direct-reply.ts';
import { keyHandlers, keyNameProblem } from './key-handlers.ts';
import { parseListing } from './listing.ts';
import { parseOldListing } from './old-listing.ts';
import { sendPages } from './paged-answer.ts';
import { metaHandlers } from './meta-handlers.ts';
import { acceptsMethod, allMethods, kesRoutes, type KesRoute } from './routes.ts';
import { streamLog } from './log-stream.ts';
import { kesTarget, type KesTarget, type RouteTarget } from './target.ts';

/** What a handler needs to know of its request. */
export interface KesCall {
  readonly route: KesRoute;
  /** What follows the route in the path, decoded. */
  readonly name: string;
  readonly tenant: Tenant;
  /** A server of one tenant has nothing to keep from it. */
  readonly isOnlyTenant: boolean;
  /** undefined on routes that skip authentication, for callers nobody knows. */
  readonly identity: Identity | undefined;
  readonly body: Body;
  readonly server: ServerInfo;
  /** For the audit record: SHA-256 of the encryption context. */
  context: Buffer | undefined;
  /** For the audit record: the version of the key that sealed or opened. */
  keyVersion: number | undefined;
}

export type Handler = (call: KesCall) => Answer | Promise<Answer>;

interface KesRequestState {
  readonly target: KesTarget;
  readonly declared: Declared;
  /** `performance.now()` at arrival. */
  readonly startMs: number;
}

type KesRaw = AnyRequest & { sello?: KesRequestState; originalUrl?: string };

const noBody: Body = { bytes: Buffer.alloc(0), oversize: false, declared: false };
const handlers: Record<string, Handler> = { ...keyHandlers, ...metaHandlers };

/** Fastify paths that no client can ask for, because every request's target is rewritten. */
const paths = { redirect: '/-/redirect', unknown: '/-/unknown', malformed: '/-/malformed' };

/** Calls that are one small answer to one small body: what storage nodes make for each object. */
const smallCalls: ReadonlySet<KesRoute['name']> = new Set([
  'key-generate',
  'key-encrypt',
  'key-decrypt',
  'key-hmac',
]);

function declaredBody(headers: IncomingHttpHeaders): Declared {
  return { length: headers['content-length'], chunked: headers['transfer-encoding'] !== undefined };
}

/** Fastify's `rewriteUrl` for the key listener. */
export function rewriteKesUrl(raw: RawRequest): string {
  const headers = raw.headers;
  const target = kesTarget(raw.url ?? '/');
  (raw as KesRaw).sello = { target, declared: declaredBody(headers), startMs: performance.now() };
  headers['content-length'] = undefined;
  headers['transfer-encoding'] = undefined;
  headers['content-type'] = undefined as unknown as string;
  return target.kind === 'route' ? target.route.path : paths[target.kind];
}

export interface KesExchangeOptions {
  readonly gate: Gate;
  readonly server: ServerInfo;
}

export interface KesPluginOptions {
  readonly exchange: KesExchange;
}

/** Methods a route is registered for; each answers 405 itself where KES does. */
export function kesPlugin(app: FastifyInstance, options: KesPluginOptions, done: () => void): void {
  const { exchange } = options;
  for (const route of kesRoutes) {
    app.route({
      method: [...allMethods],
      url: route.path,
      handler: (request, reply) => exchange.serve(request, reply),
    });
  }
  for (const path of Object.values(paths)) {
    app.route({
      method: [...allMethods],
      url: path,
      handler: (request, reply) => exchange.serveUnrouted(request, reply),
    });
  }
  // Methods that Fastify does not know end here, so that they are judged and recorded like any other.
  app.setNotFoundHandler((request, reply) => exchange.serveUnrouted(request, reply));
  app.setErrorHandler((error, request, reply) => exchange.serveFailed(error, request, reply));
  done();
}

/** One request from admission to answer. */
export class KesExchange {
  readonly #gate: Gate;
  readonly #server: ServerInfo;
  readonly #deadline: BodyDeadline;
  readonly #series = new Map<string, Map<KesRoute | undefined, RequestSeries>>();

  constructor({ gate, server }: KesExchangeOptions) {
    this.#gate = gate;
    this.#server = server;
    this.#deadline = new BodyDeadline(() => gate.runtime.config.limits.requestTimeoutMs);
  }

  /** Counts a request from here on; its series is looked up once per route and tenant. */
  #begin(raw: KesRaw, admission: Admission, route: KesRoute | undefined): Trace {
    const { startMs } = raw.sello!;
    const tenant = admission.tenant?.name ?? '';
    let ofTenant = this.#series.get(tenant);
    if (ofTenant === undefined) this.#series.set(tenant, (ofTenant = new Map()));
    let series = ofTenant.get(route);
    if (series === undefined) {
      ofTenant.set(route, (series = this.#server.metrics.request('kes', route?.path ?? 'unrouted', tenant)));
    }
    series.begin();
    const { runtime } = this.#gate;
    const traced = traceRequest(this.#server.tracing, raw.headers, {
      admission,
      face: 'kes',
      method: raw.method,
      route: route?.path ?? 'unrouted',
      startMs,
    });
    return {
      admission,
      runtime,
      startMs,
      route,
      series,
      traced,
      call: undefined,
      rule: undefined,
      decision: 'none',
    };
  }

  /** Answers a small key call at once; false: it is for Fastify to route. */
  serveDirectly(raw: RawRequest, response: ServerResponse): boolean {
    const target = this.smallCall(raw.method ?? '', raw.url ?? '/');
    if (target !== undefined) this.serveSmall(raw, target, response);
    return target !== undefined;
  }

  /** What a request asks for, when that is a small key call. */
  smallCall(method: string, path: string): RouteTarget | undefined {
    const target = kesTarget(path);
    if (target.kind !== 'route' || !smallCalls.has(target.route.name)) return undefined;
    return acceptsMethod(target.route, method) ? target : undefined;
  }

  /** Answers what {@link smallCall} found. */
  serveSmall(raw: AnyRequest, target: RouteTarget, response: SmallResponse): void {
    (raw as KesRaw).sello = { target, declared: declaredBody(raw.headers), startMs: performance.now() };
    const reply = new DirectReply(response);
    try {
      this.#serve(raw as KesRaw, target, reply);
    } catch (error) {
      this.#fail(error, raw as KesRaw, reply);
    }
  }

  serveUnrouted(request: FastifyRequest, reply: KesReply): void {
    const raw = request.raw as KesRaw;
    const { target } = raw.sello!;
    if (target.kind === 'malformed' && raw.httpVersionMajor === 1) {
      // As Go: a bare answer without Content-Length, and the connection ends.
      reply.hijack();
      (raw.socket as TLSSocket).end(
        'HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request',
      );
    }
    const answer =
      target.kind === 'redirect'
        ? redirectAnswer(request.method, target.location)
        : target.kind === 'malformed'
          ? malformedTarget
          : request.method === 'OPTIONS' && raw.originalUrl === '*'
            ? { status: 200 }
            : target.kind === 'route' && target.route.listed
              ? methodNotAllowed(request.method, target.route.method)
              : notFound;
    const admission = this.#gate.admit(raw);
    this.#finish(reply, raw, answer, this.#begin(raw, admission, undefined));
  }

  /** Fastify refused the request (a method that it does not serve), or something threw. */
  serveFailed(error: unknown, request: FastifyRequest, reply: KesReply): void {
    const raw = request.raw as KesRaw;
    const { target } = raw.sello!;
    const isRefusal = ((error as { statusCode?: number }).statusCode ?? 500) < 500;
    if (isRefusal && target.kind === 'route' && !acceptsMethod(target.route, request.method)) {
      this.serveUnrouted(request, reply);
      return;
    }
    this.#fail(error, raw, reply, isRefusal ? failure(400, 'invalid request') : undefined);
  }

  #fail(error: unknown, raw: KesRaw, reply: KesReply, answer?: Answer): void {
    this.#server.log.error({ err: error }, 'request failed');
    this.#finish(
      reply,
      raw,
      answer ?? failure(500, 'internal error', 'SELLO_INTERNAL'),
      this.#begin(raw, this.#gate.admit(raw), undefined),
    );
  }

  serve(request: FastifyRequest, reply: KesReply): void {
    const raw = request.raw as KesRaw;
    const { target } = raw.sello!;
    if (target.kind === 'route') this.#serve(raw, target, reply);
  }

  #serve(raw: KesRaw, target: RouteTarget, reply: KesReply): void {
    const { route } = target;
    const method = raw.method ?? '';
    const admission = this.#gate.admit(raw);
    const trace = this.#begin(raw, admission, route);
    if (!acceptsMethod(route, method)) {
      // A route that KES's last version no longer has is unknown to it by any other method.
      this.#finish(reply, raw, route.listed ? methodNotAllowed(method, route.method) : notFound, trace);
      return;
    }
    const refusal = this.#gate.overloaded
      ? failure(503, 'too many requests in flight', 'SELLO_RATE_LIMITED')
      : this.#authorize(trace, target.path, target.name);
    if (
      refusal !== undefined &&
      trace.asksContext &&
      route.maxBody > 0 &&
      nameProblem(route, target.name) === undefined
    ) {
      // A rule asks for entries of the encryption context: for that caller the body is read before the decision.
      readBody(raw, raw.sello!.declared, route.maxBody, this.#deadline, (body) => {
        const context = contextOfBody(route, body?.bytes ?? noBody.bytes);
        const judged =
          this.#judgeAgain(raw, trace, target.name, () => context) ??
          this.#authorize(trace, target.path, target.name, context);
        if (body === undefined || judged !== undefined)
          this.#finish(reply, raw, judged ?? failure(400, 'invalid request body'), trace);
        else this.#admitted(reply, raw, trace, target.name, body);
      });
      return;
    }
    if (refusal !== undefined) {
      if (this.#countsDenial(trace) && !this.#takeQuota(reply, raw, trace, admission.tenant!)) return;
      const { length, chunked } = raw.sello!.declared;
      const oversize = route.maxBody > 0 && (chunked || Number(length ?? 0) > route.maxBody);
      this.#finish(reply, raw, oversize ? { ...refusal, close: true } : refusal, trace);
      return;
    }
    this.#admitted(reply, raw, trace, target.name, undefined);
  }

  /** An authorised request: quota, body, work. */
  #admitted(reply: KesReply, raw: KesRaw, trace: Trace, name: string, read: Body | undefined): void {
    const { admission } = trace;
    const route = trace.route!;
    const tenant = admission.tenant!;
    if (!this.#takeQuota(reply, raw, trace, tenant)) return;
    if (tenant.audit.trouble !== undefined) {
      // What cannot be recorded is not begun either: a key must not come or go while nobody writes it down.
      this.#finish(
        reply,
        raw,
        failure(503, 'audit record cannot be written', 'SELLO_AUDIT_UNAVAILABLE'),
        trace,
      );
      return;
    }
    const call: KesCall = {
      route,
      name,
      tenant,
      isOnlyTenant: this.#gate.runtime.onlyTenant !== undefined,
      identity: admission.identity,
      body: noBody,
      server: this.#server,
      context: undefined,
      keyVersion: undefined,
    };
    trace.call = call;
    if (changesKeys.has(route.operation) && tenant.audit.trouble !== undefined) {
      // The record of a change is written after it, so nothing is changed while none could be.
      this.#finish(
        reply,
        raw,
        answerOfError(new SelloError('SELLO_AUDIT_UNAVAILABLE'), '', tenant.config.kes.errorTexts),
        trace,
      );
      return;
    }
    if (route.name === 'log-audit' || route.name === 'log-error') {
      this.#release(raw, { status: 200 }, trace, (failed) => {
        if (failed !== undefined) this.#write(reply, raw, failed, trace);
        else {
          streamLog(route.name === 'log-audit' ? 'audit' : 'error', {
            tenant,
            strangers: call.isOnlyTenant ? this.#gate.runtime.serverAudit.file : undefined,
            server: this.#server,
            reply,
            mayGoOn: () => this.#mayGoOn(raw, trace, name),
            ended: () => this.#end(trace, 200),
          });
        }
      });
      return;
    }
    if (read !== undefined) (call as { body: Body }).body = read;
    if (route.maxBody === 0 || read !== undefined) {
      this.#run(reply, raw, call, trace);
      return;
    }
    const early = nameProblem(route, name);
    if (early !== undefined) {
      this.#finish(reply, raw, early, trace);
      return;
    }
    readBody(raw, raw.sello!.declared, route.maxBody, this.#deadline, (body) => {
      if (body === undefined) {
        // The client went away: nobody to answer, but the attempt is on record.
        this.#finish(reply, raw, failure(400, 'invalid request body'), trace);
        return;
      }
      const refused = this.#judgeAgain(raw, trace, name, () => contextOfBody(route, body.bytes));
      if (refused !== undefined) {
        this.#finish(reply, raw, refused, trace);
        return;
      }
      Object.assign(call, { body, tenant: trace.admission.tenant! });
      this.#run(reply, raw, call, trace);
    });
  }

  /**
   * A body may arrive long after its headers were judged. When the configuration changed in between, the request is judged by the
   * new one: a revoked client gets no key, and nothing uses a keystore that is about to be closed.
   */
  #judgeAgain(
    raw: KesRaw,
    trace: Trace,
    name: string,
    contextOf: () => Readonly<Record<string, string>> | undefined,
  ): Answer | undefined {
    if (this.#gate.runtime === trace.runtime) return undefined;
    const before = trace.admission.tenant;
    trace.admission = this.#gate.judge(raw);
    trace.runtime = this.#gate.runtime;
    if (trace.admission.tenant?.name !== before?.name) {
      return answerOfError(
        new SelloError('SELLO_NOT_AUTHORIZED'),
        '',
        before?.config.kes.errorTexts ?? 'current',
      );
    }
    return this.#authorize(trace, trace.route!.path + name, name, contextOf());
  }

  /** Decides; undefined when the caller may go on. */
  #authorize(
    trace: Trace,
    path: string,
    name: string,
    context?: Readonly<Record<string, string>>,
  ): Answer | undefined {
    const { admission } = trace;
    const route = trace.route!;
    const { tenant } = admission;
    const texts = tenant?.config.kes.errorTexts ?? 'current';
    if (route.auth === 'anyone' || tenant?.config.kes.routes[route.path]?.skipAuth === true) {
      // A tenant that verifies certificates has nothing to say to one it refused, not even this (KES ends such a handshake).
      const isRefused =
        admission.refusal !== undefined &&
        admission.peer !== undefined &&
        tenant?.config.clients.auth === 'on';
      if (tenant === undefined || (isRefused && route.auth === 'anyone')) {
        trace.decision = 'deny';
        return answerOfError(refusalOf(admission), route.name, texts);
      }
      trace.rule = route.auth === 'anyone' ? 'public route' : 'skip_auth';
      trace.decision = 'allow';
      return undefined;
    }
    if (route.auth === 'certificate') {
      const judged = tenant !== undefined && admission.refusal === undefined;
      if (!judged || !isKnown(tenant, admission.identity)) {
        trace.decision = 'deny';
        trace.rule = 'unknown identity';
        return failure(404, 'identity does not exist', 'SELLO_NOT_AUTHORIZED');
      }
      trace.rule = 'own identity';
      trace.decision = 'allow';
      return undefined;
    }
    trace.decision = 'deny';
    if (admission.refusal !== undefined || tenant === undefined)
      return answerOfError(refusalOf(admission), route.name, texts);
    const { judgedName, judgedKey } =
      route.name === 'key-list' ? judgedListing(name, tenant) : { judgedName: name, judgedKey: name };
    const decision = tenant.access.decide({
      identity: admission.identity!,
      face: 'kes',
      operation: route.operation,
      path: judgedName === name ? path : route.path + judgedName,
      key: route.path.startsWith('/v1/key/') ? judgedKey : undefined,
      context: () => {
        trace.asksContext = context === undefined;
        return context;
      },
      sourceIp: admission.sourceIp,
      nowMs: Date.now(),
    });
    trace.rule = decision.rule;
    if (!decision.allowed) return answerOfError(new SelloError('SELLO_NOT_AUTHORIZED'), route.name, texts);
    trace.decision = 'allow';
    return undefined;
  }

  /** An answer that goes on is judged anew as requests are: the certificate, the policy, the tenant. */
  #mayGoOn(raw: KesRaw, begun: Trace, name: string): boolean {
    const admission = this.#gate.judge(raw);
    const path = begun.route!.path + name;
    return (
      admission.tenant?.name === begun.admission.tenant?.name &&
      this.#authorize({ ...begun, admission }, path, name) === undefined
    );
  }

  /** False when the tenant has used up its share and the request was answered so. */
  #takeQuota(reply: KesReply, raw: KesRaw, trace: Trace, { quota, config }: Tenant): boolean {
    if (quota.enter(performance.now())) {
      trace.quota = quota;
      return true;
    }
    const answer = answerOfError(new SelloError('SELLO_RATE_LIMITED'), '', config.kes.errorTexts);
    if (quota.hold()) {
      setTimeout(() => {
        quota.releaseHeld();
        this.#finish(reply, raw, answer, trace);
      }, quotaHoldMs());
    } else this.#finish(reply, raw, answer, trace);
    return false;
  }

  /** What a tenant's own people are denied costs work too; a stranger cannot use up a tenant's share. */
  #countsDenial({ admission: { tenant, identity, refusal } }: Trace): boolean {
    return refusal === undefined && tenant !== undefined && isKnown(tenant, identity);
  }

  /** A change of keys is on record before it is made: what cannot be recorded is not done. */
  #run(reply: KesReply, raw: KesRaw, call: KesCall, trace: Trace): void {
    if (!changesKeys.has(call.route.operation)) {
      this.#work(reply, raw, call, trace);
      return;
    }
    this.#release(raw, begun, trace, (failed) => {
      if (failed === undefined) this.#work(reply, raw, call, trace);
      else this.#write(reply, raw, failed, trace);
    });
  }

  #work(reply: KesReply, raw: KesRaw, call: KesCall, trace: Trace): void {
    const { tenant, route } = call;
    const texts = tenant.config.kes.errorTexts;
    let answer: Answer | Promise<Answer>;
    try {
      // Only a call that leaves this process has to carry the request along; what is in memory is answered without.
      answer =
        tenant.keys.isRemote || trace.traced.span !== undefined
          ? correlation.run(this.#correlated(trace), handlers[route.name]!, call)
          : handlers[route.name]!(call);
    } catch (error) {
      answer = this.#failed(error, call, texts);
    }
    if (answer instanceof Promise) {
      const timeoutMs = tenant.config.kes.routes[route.path]?.timeoutMs ?? route.timeoutMs;
      withDeadline(answer, timeoutMs, wipeAnswer).then(
        (settled) => this.#finish(reply, raw, settled, trace),
        (error: unknown) => this.#finish(reply, raw, this.#failed(error, call, texts), trace),
      );
    } else this.#finish(reply, raw, answer, trace);
  }

  #correlated(trace: Trace): Correlation {
    trace.requestId ??= this.#server.newRequestId();
    return (trace.correlation ??= {
      requestId: trace.requestId,
      vaultRequestId: undefined,
      span: trace.traced.span,
    });
  }

  #failed(error: unknown, call: KesCall, texts: 'current' | '2021'): Answer {
    const answer = answerOfError(error, verbs[call.route.name] ?? 'serve request', texts);
    if (answer.status >= 500)
      this.#server.log.error({ err: error, key: call.name, tenant: call.tenant.name }, 'request failed');
    return answer;
  }

  #finish(reply: KesReply, raw: KesRaw, answer: Answer, trace: Trace): void {
    this.#release(raw, answer, trace, (failed) => {
      if (reply.sent) this.#end(trace, answer.status);
      else this.#write(reply, raw, failed ?? answer, trace);
    });
  }

  /** Writes the record, then lets the answer go. Nothing secret leaves before its record is durable. */
  #release(raw: KesRaw, answer: Answer, trace: Trace, next: (failed: Answer | undefined) => void): void {
    const { admission, route } = trace;
    const record = this.#record(raw, trace, answer);
    if (route === undefined || !isOfTenant(admission)) {
      this.#gate.serverAudit.append(record);
      next(undefined);
      return;
    }
    let pending: Promise<void> | undefined;
    try {
      pending = admission.tenant!.audit.append(record);
    } catch (error) {
      next(this.#unrecorded(error, answer, admission.tenant!.name));
      return;
    }
    if (pending === undefined) {
      next(undefined);
      return;
    }
    const span = trace.traced.span?.child('audit append', 'internal', {});
    pending.then(
      () => {
        span?.end();
        next(undefined);
      },
      (error: unknown) => {
        span?.end('SELLO_AUDIT_UNAVAILABLE');
        next(this.#unrecorded(error, answer, admission.tenant!.name));
      },
    );
  }

  #record(raw: KesRaw, trace: Trace, answer: Answer): AuditRecord {
    const { admission, call, route } = trace;
    const target = raw.sello!.target;
    const context = call?.context === undefined || call.context.length === 0 ? undefined : call.context;
    const object = context === undefined ? undefined : objectOf(context);
    return {
      timeMs: Date.now(),
      requestId: (trace.requestId ??= this.#server.newRequestId()),
      traceId: trace.traced.traceId,
      tenant: admission.tenant?.name,
      identity: admission.identity,
      certificateSerial: admission.peer?.serialNumber,
      certificateIssuer: admission.peer?.issuerName,
      sourceIp: admission.sourceIp,
      face: 'kes',
      method: raw.method,
      path: target.kind === 'route' ? target.path : raw.originalUrl,
      operation: route?.operation,
      key: target.kind === 'route' && target.route.path.startsWith('/v1/key/') ? target.name : undefined,
      keyVersion: call?.keyVersion,
      bucket: object?.bucket,
      object: object?.object,
      contextSha256: context === undefined ? undefined : hash('sha256', context, 'hex'),
      decision: trace.decision,
      rule: trace.rule,
      status: answer.status,
      error: answer.error,
      reason: answer === begun ? 'begun' : admission.refusal?.reason,
      durationMs: performance.now() - trace.startMs,
      vaultRequestId: trace.correlation?.vaultRequestId,
    };
  }

  #unrecorded(error: unknown, answer: Answer, tenant: string): Answer {
    wipeAnswer(answer);
    this.#server.log.error({ err: error, tenant }, 'audit record could not be written; nothing released');
    return failure(503, 'audit record cannot be written', 'SELLO_AUDIT_UNAVAILABLE');
  }

  #write(reply: KesReply, raw: KesRaw, answer: Answer, trace: Trace): void {
    const { body, next } = answer;
    if (next !== undefined && raw.method !== 'HEAD') {
      this.#writePages(reply, raw, { ...answer, next }, trace);
      return;
    }
    if (answer.secret === true && body !== undefined) {
      const response = reply.raw as unknown as SmallResponse;
      if ('wipeAfterSend' in response) response.wipeAfterSend = true;
      else reply.raw.once('close', () => body.fill(0));
    }
    reply.code(answer.status);
    if (answer.type !== undefined) reply.header('content-type', answer.type);
    for (const name in answer.headers) reply.header(name, answer.headers[name]);
    if (answer.close === true && raw.httpVersionMajor === 1) reply.header('connection', 'close');
    if (raw.method === 'HEAD' && body !== undefined) {
      reply.header('content-length', String(body.length));
      reply.send();
    } else reply.send(body);
    this.#end(trace, answer.status);
  }

  #writePages(reply: KesReply, raw: KesRaw, answer: Answer & { next: NextPage }, trace: Trace): void {
    const call = trace.call!;
    const { route, tenant, name } = call;
    const { routes, errorTexts } = tenant.config.kes;
    const timeoutMs = routes[route.path]?.timeoutMs ?? route.timeoutMs;
    void sendPages(reply, answer, {
      withDeadline: (work) => withDeadline(work, timeoutMs),
      mayGoOn: () => this.#mayGoOn(raw, trace, name),
      messageOf: (error) => {
        this.#failed(error, call, errorTexts);
        return `failed to ${verbs[route.name] ?? 'serve request'}`;
      },
    }).then(() => this.#end(trace, answer.status));
  }

  #end(trace: Trace, status: number): void {
    trace.quota?.leave();
    this.#gate.leave();
    const { call, requestId, route, series, startMs, traced } = trace;
    series.end(status, (performance.now() - startMs) / 1000, traced.span?.traceId);
    if (traced.span === undefined) return;
    endTrace(traced, status, {
      'sello.request_id': requestId,
      'sello.operation': route?.operation,
      'sello.key': route?.path.startsWith('/v1/key/') === true ? call?.name : undefined,
      'sello.key_version': call?.keyVersion,
    });
  }
}

interface Trace {
  /** Replaced when the configuration changed while the body was on its way. */
  admission: Admission;
  /** The configuration under which the request was judged. */
  runtime: Runtime;
  /** `performance.now()` at arrival. */
  readonly startMs: number;
  requestId?: string;
  readonly route: KesRoute | undefined;
  readonly series: RequestSeries;
  readonly traced: RequestTrace;
  call: KesCall | undefined;
  rule: string | undefined;
  decision: AuditRecord['decision'];
  /** A rule wanted the encryption context before it was read. */
  asksContext?: boolean;
  quota?: { leave(): void };
  /** Where calls to Vault find the request they are made for. */
  correlation?: Correlation;
}

/** Stands for the answer in the first of the two records of a change. */
const begun: Answer = { status: begunStatus };

const changesKeys: ReadonlySet<Operation> = new Set<Operation>(['create', 'import', 'delete']);

/** How KES names the failed action in its 500 and 502 texts. */
const verbs: Partial<Record<string, string>> = {
  'key-create': 'create key',
  'key-import': 'create key',
  'key-describe': 'read key',
  'key-generate': 'read key',
  'key-encrypt': 'read key',
  'key-decrypt': 'read key',
  'key-bulk-decrypt': 'read key',
  'key-hmac': 'read key',
  'key-list': 'list keys',
  'key-delete': 'delete key',
};

function isKnown(tenant: Tenant, identity: Identity | undefined): boolean {
  return identity !== undefined && isListed(tenant, identity);
}

function refusalOf(admission: Admission): SelloError {
  return new SelloError(admission.refusal?.code ?? 'SELLO_NOT_AUTHORIZED');
}

/**
 * What of a listing policy is judged on: its path as KES does, but the prefix for a token that goes on with a listing, and the
 * beginning that all names shown have in common for rules about keys.
 */
function judgedListing(name: string, { config }: Tenant): { judgedName: string; judgedKey: string } {
  if (config.kes.lists === 'ndjson')
    return { judgedName: name, judgedKey: parseOldListing(name)?.prefix ?? name };
  const listing = parseListing(name);
  return {
    judgedName: listing?.after === undefined ? name : listing.prefix,
    judgedKey: listing?.prefix ?? name,
  };
}

/** KES checks a key's name before it reads the body. */
function nameProblem(route: KesRoute, name: string): Answer | undefined {
  return route.path.startsWith('/v1/key/') ? keyNameProblem(name) : undefined;
}

/** A keystore that hangs must not hold a request for ever. What comes too late is given to `discard`. */
function withDeadline<T>(promise: Promise<T>, timeoutMs: number, discard?: (late: T) => void): Promise<T> {
  if (timeoutMs <= 0) return promise;
  return new Promise((resolve, reject) => {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      reject(new SelloError('SELLO_STORE_UNREACHABLE', { detail: `no answer within ${timeoutMs} ms` }));
    }, timeoutMs);
    promise
      .then((value) => {
        if (isLate) discard?.(value);
        else resolve(value);
      }, reject)
      .finally(() => clearTimeout(timer));
  });
}

function wipeAnswer(answer: Answer): void {
  if (answer.secret === true) answer.body?.fill(0);
}
