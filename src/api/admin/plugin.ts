/**
 * The operators' API for administrators with a client certificate, as one Fastify plugin on the key listener. Who may do what is
 * decided in access/, what happens to keys in keys/; here a request becomes an action and its records.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { isOfTenant, type Admission, type Gate } from '../../server/gate.ts';
import type { ServerInfo } from '../../server/info.ts';
import { endTrace, traceRequest, type RequestTrace } from '../../server/request-trace.ts';
import type { RequestSeries } from '../../telemetry/index.ts';
import { begunStatus, type AuditRecord } from '../../audit/record.ts';
import { correlation, type Correlation } from '../../correlation.ts';
import { SelloError } from '../../errors.ts';
import type { Tenant } from '../../tenants/tenant.ts';
import { BodyDeadline } from '../kes/body-deadline.ts';
import { wholeBody, type Declared, type RawRequest } from '../kes/body.ts';
import { allMethods } from '../kes/routes.ts';
import { send } from '../objects/answers.ts';
import type { RawResponse } from '../objects/call.ts';
import { actions } from './actions.ts';
import { AdminError, failure, type Answer } from './answers.ts';
import { openApiDocument } from './openapi.ts';
import { adminPrefix, adminTarget, needsTwoPeople, type AdminRoute, type AdminTarget } from './routes.ts';

type AdminRaw = RawRequest & {
  selloAdmin?: { readonly target: AdminTarget | undefined; readonly startMs: number };
  /** What the KES face set aside, which sees every target first. */
  sello?: { readonly declared: Declared };
};

const anyPath = `${adminPrefix}-`;

/** Fastify's `rewriteUrl`: a path of this face goes to it, everything else to where `otherwise` says. */
export function rewriteAdminUrl(raw: RawRequest, otherwise: string): string {
  const url = raw.url ?? '';
  if (!url.startsWith(adminPrefix)) return otherwise;
  (raw as AdminRaw).selloAdmin = { target: adminTarget(url), startMs: performance.now() };
  return anyPath;
}

export interface AdminPluginOptions {
  readonly gate: Gate;
  readonly server: ServerInfo;
}

export function adminPlugin(app: FastifyInstance, options: AdminPluginOptions, done: () => void): void {
  const exchange = new AdminExchange(options);
  app.route({
    method: [...allMethods],
    url: anyPath,
    handler: (request, reply) => exchange.serve(request, reply),
  });
  done();
}

/** One request, as its records tell of it. */
interface Trace {
  readonly raw: AdminRaw;
  readonly admission: Admission;
  readonly target: AdminTarget | undefined;
  readonly requestId: string;
  readonly startMs: number;
  readonly correlation: Correlation;
  readonly traced: RequestTrace;
  rule: string | undefined;
  decision: AuditRecord['decision'];
}

class AdminExchange {
  readonly #gate: Gate;
  readonly #server: ServerInfo;
  readonly #deadline: BodyDeadline;
  readonly #document: Buffer;

  constructor({ gate, server }: AdminPluginOptions) {
    this.#gate = gate;
    this.#server = server;
    this.#deadline = new BodyDeadline(() => gate.runtime.config.limits.requestTimeoutMs);
    this.#document = openApiDocument(server.version);
  }

  serve(request: FastifyRequest, reply: FastifyReply): void {
    reply.hijack();
    const raw = request.raw as AdminRaw;
    const { target, startMs } = raw.selloAdmin!;
    const admission = this.#gate.admit(raw);
    const requestId = this.#server.newRequestId();
    const series = this.#seriesOf(target?.route, admission.tenant?.name ?? '');
    series.begin();
    const traced = traceRequest(this.#server.tracing, raw.headers, {
      admission,
      face: 'admin',
      method: raw.method,
      route: routeOf(target?.route),
      startMs,
    });
    const trace: Trace = {
      raw,
      admission,
      target,
      requestId,
      startMs,
      correlation: { requestId, vaultRequestId: undefined, span: traced.span },
      traced,
      rule: undefined,
      decision: 'none',
    };
    void this.#answer(trace)
      .catch((error: unknown) => {
        this.#server.log.error({ err: error }, "administrators' request failed");
        return failure(error, requestId);
      })
      .then((answer) => {
        send(raw, reply.raw as unknown as RawResponse, { ...answer, type: 'application/json' });
        this.#gate.leave();
        series.end(answer.status, (performance.now() - startMs) / 1000, traced.span?.traceId);
        endTrace(traced, answer.status, {
          'sello.request_id': requestId,
          'sello.operation': target?.route.operation,
          'sello.key': target?.key === '' ? undefined : target?.key,
          'sello.error': answer.error,
        });
      });
  }

  #seriesOf(route: AdminRoute | undefined, tenant: string): RequestSeries {
    return this.#server.metrics.request('admin', routeOf(route), tenant);
  }

  async #answer(trace: Trace): Promise<Answer> {
    const { admission, raw, requestId, target } = trace;
    const { tenant } = admission;
    if (tenant === undefined || !isOfTenant(admission)) {
      trace.decision = 'deny';
      const refused = failure(new SelloError(admission.refusal?.code ?? 'SELLO_NOT_AUTHORIZED'), requestId);
      this.#gate.serverAudit.append(this.#record(trace, refused, admission.refusal?.reason));
      return refused;
    }
    let leave: (() => void) | undefined;
    let answer: Answer;
    try {
      leave = await this.#gate.enter(tenant);
      if (target === undefined) throw new AdminError(404, 'no such path');
      if (raw.method !== target.route.method)
        throw new AdminError(405, `this path takes ${target.route.method}`);
      this.#authorize(trace, target, tenant);
      answer = await this.#run(trace, target, tenant);
    } catch (error) {
      answer = failure(error, requestId);
      if (answer.status >= 500)
        this.#server.log.error(
          { err: error, tenant: tenant.name, key: target?.key, requestId },
          "administrators' request failed",
        );
    } finally {
      leave?.();
    }
    try {
      await this.#tenantNow(tenant).audit.append(this.#record(trace, answer));
    } catch (error) {
      this.#server.log.error({ err: error, tenant: tenant.name }, 'audit record could not be written');
      return failure(new SelloError('SELLO_AUDIT_UNAVAILABLE', { cause: error }), requestId);
    }
    return answer;
  }

  async #run(trace: Trace, target: AdminTarget, tenant: Tenant): Promise<Answer> {
    const { route } = target;
    if (route.name === 'document') return { status: 200, body: this.#document };
    const body = route.maxBody === 0 ? Buffer.alloc(0) : await this.#bodyOf(trace, route.maxBody);
    // A body may arrive long after its headers were judged: the configuration in force now decides.
    const now = this.#gate.judge(trace.raw);
    if (now.tenant?.name !== tenant.name || !isOfTenant(now)) throw new SelloError('SELLO_NOT_AUTHORIZED');
    this.#authorize(trace, target, now.tenant);
    if (needsTwoPeople(route) && now.tenant.config.lifecycle.dualControl)
      throw new SelloError('SELLO_APPROVAL_REQUIRED');
    if (route.isChange) {
      try {
        await now.tenant.audit.append(this.#record(trace, { status: begunStatus }, 'begun'));
      } catch (cause) {
        throw new SelloError('SELLO_AUDIT_UNAVAILABLE', { cause });
      }
    }
    const call = { tenant: now.tenant, target, body, by: trace.admission.identity! };
    return correlation.run(trace.correlation, () => actions[route.name as keyof typeof actions](call));
  }

  /** @throws SelloError SELLO_NOT_AUTHORIZED, SELLO_RATE_LIMITED */
  #authorize(trace: Trace, { route, key }: AdminTarget, tenant: Tenant): void {
    if (route.operation === undefined) {
      trace.rule = 'own tenant';
      trace.decision = 'allow';
      return;
    }
    trace.decision = 'deny';
    const decision = tenant.access.decide({
      identity: trace.admission.identity!,
      face: 'admin',
      operation: route.operation,
      path: undefined,
      key: key === '' ? undefined : key,
      context: () => undefined,
      sourceIp: trace.admission.sourceIp,
      nowMs: Date.now(),
    });
    trace.rule = decision.rule;
    if (!decision.allowed)
      throw new SelloError(decision.rateLimited === true ? 'SELLO_RATE_LIMITED' : 'SELLO_NOT_AUTHORIZED');
    trace.decision = 'allow';
  }

  #bodyOf({ raw }: Trace, cap: number): Promise<Buffer> {
    return wholeBody(raw, raw.sello!.declared, cap, this.#deadline, (why) =>
      why === 'lost'
        ? new AdminError(400, 'the body did not arrive')
        : new AdminError(413, `the body has more than ${String(cap)} bytes`),
    );
  }

  #tenantNow(tenant: Tenant): Tenant {
    return this.#gate.runtime.tenants.get(tenant.name) ?? tenant;
  }

  #record(trace: Trace, answer: Pick<Answer, 'status' | 'error'>, reason?: string): AuditRecord {
    const { admission, raw, target } = trace;
    return {
      timeMs: Date.now(),
      requestId: trace.requestId,
      traceId: trace.traced.traceId,
      tenant: admission.tenant?.name,
      identity: admission.identity,
      certificateSerial: admission.peer?.serialNumber,
      certificateIssuer: admission.peer?.issuerName,
      sourceIp: admission.sourceIp,
      face: 'admin',
      method: raw.method,
      path: (raw as { originalUrl?: string }).originalUrl ?? raw.url,
      operation: target?.route.operation,
      key: target?.key === '' ? undefined : target?.key,
      keyVersion: target?.version === 0 ? undefined : target?.version,
      decision: trace.decision,
      rule: trace.rule,
      status: answer.status,
      error: answer.error,
      reason,
      durationMs: performance.now() - trace.startMs,
      vaultRequestId: trace.correlation.vaultRequestId,
    };
  }
}

function routeOf(route: AdminRoute | undefined): string {
  return route === undefined ? 'unrouted' : adminPrefix + route.path;
}
