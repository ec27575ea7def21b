/**
 * The Transit face as one Fastify plugin: what clients of Vault's HTTP API ask for, answered from the tenant's own keys (docs/transit.md).
 * Wire format in, wire format out; who may what is decided in access/, what happens to keys in keys/.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { AuditRecord } from '../../audit/record.ts';
import type { TransitConfig } from '../../config/model.ts';
import { correlation, type Correlation } from '../../correlation.ts';
import { SelloError } from '../../errors.ts';
import type { TenantKeys } from '../../keys/index.ts';
import { isOfTenant, type Admission, type Gate } from '../../server/gate.ts';
import type { ServerInfo } from '../../server/info.ts';
import { endTrace, traceRequest, type RequestTrace } from '../../server/request-trace.ts';
import type { RequestSeries } from '../../telemetry/index.ts';
import type { Tenant } from '../../tenants/tenant.ts';
import { BodyDeadline } from '../kes/body-deadline.ts';
import { notFound } from '../kes/answers.ts';
import { wholeBody, type Declared, type RawRequest } from '../kes/body.ts';
import { allMethods } from '../kes/routes.ts';
import { send, type Answer } from '../objects/answers.ts';
import type { RawResponse } from '../objects/call.ts';
import {
  answerOf,
  answerOfFault,
  fault,
  faultOf,
  invalidToken,
  missingToken,
  permissionDenied,
  unsupportedOperation,
  unsupportedPath,
  type VaultAnswer,
} from './answers.ts';
import { approleRoutes } from './approle.ts';
import { parseFields, parseSecretFields, type SecretFields } from './body.ts';
import { TransitCall } from './call.ts';
import { engineRoutes } from './engine.ts';
import { kvRoutes } from './kv.ts';
import { certRoutes, tokenRoutes } from './logins.ts';
import {
  isAtOrBelow,
  matchRoute,
  mountOf,
  type Handler,
  type MatchedRoute,
  type Mount,
  type Parameters,
  type TransitMethod,
} from './routes.ts';
import { sysRoutes } from './sys.ts';
import { isTransitPath, looksLikeVault, transitTarget, type TransitTarget } from './target.ts';
import { jwtRoutes, kubernetesRoutes } from './token-logins.ts';
import { Tokens } from './tokens.ts';

type TransitRaw = RawRequest & {
  selloTransit?: { readonly target: TransitTarget; readonly method: string; readonly startMs: number };
  /** What the KES face set aside, which sees every target first. */
  sello?: { readonly declared: Declared; readonly target: { readonly kind: string } };
};

const anyPath = '/-/transit';

/** Fastify's `rewriteUrl`: a path of this face goes to it, everything else to where `otherwise` says. */
export function rewriteTransitUrl(raw: RawRequest, otherwise: string, mounts: ReadonlySet<string>): string {
  const url = raw.url ?? '';
  if (mounts.size === 0 || (raw as TransitRaw).sello?.target.kind === 'route') return otherwise;
  if (!isTransitPath(url, mounts) && !(url.startsWith('/v1/') && looksLikeVault(raw))) return otherwise;
  const method = raw.method ?? '';
  (raw as TransitRaw).selloTransit = {
    target: transitTarget(method, url),
    method,
    startMs: performance.now(),
  };
  // Fastify routes the methods of Node's HTTP/1.1 parser alone.
  if (method === 'LIST') (raw as { method: string }).method = listRoutedAs;
  return anyPath;
}

export interface TransitPluginOptions {
  readonly gate: Gate;
  readonly server: ServerInfo;
}

const listRoutedAs = 'LINK';

export function transitPlugin(app: FastifyInstance, options: TransitPluginOptions, done: () => void): void {
  const exchange = new TransitExchange(options);
  app.addHttpMethod(listRoutedAs, { hasBody: false });
  app.route({
    method: [...allMethods, listRoutedAs] as never,
    url: anyPath,
    handler: (request, reply) => exchange.serve(request, reply),
  });
  done();
}

/** Vault takes 32 MiB. */
const maxBodyBytes = 8 * 1_048_576;

/** Ended tokens are removed so often. */
const sweepEveryMs = 15 * 60_000;

/** What is known of a request before it is looked at. */
interface Begun {
  readonly admission: Admission;
  readonly tenant: Tenant | undefined;
  readonly startMs: number;
  readonly traced: RequestTrace;
  readonly correlated: Correlation;
}

class TransitExchange {
  readonly #gate: Gate;
  readonly #server: ServerInfo;
  readonly #deadline: BodyDeadline;
  readonly #tokens = new WeakMap<TenantKeys, Tokens>();
  readonly #series = new Map<string, RequestSeries>();

  constructor({ gate, server }: TransitPluginOptions) {
    this.#gate = gate;
    this.#server = server;
    this.#deadline = new BodyDeadline(() => gate.runtime.config.limits.requestTimeoutMs);
  }

  serve(request: FastifyRequest, reply: FastifyReply): void {
    reply.hijack();
    const raw = request.raw as TransitRaw;
    const { method, target, startMs } = raw.selloTransit!;
    const admission = this.#gate.admit(raw);
    const tenant = tenantOf(admission);
    const config = tenant?.config.transit;
    const found = config === undefined ? undefined : matchRoute(mountsOf(config), target.segments);
    const series = this.#seriesOf(found?.label ?? 'unrouted', tenant?.name ?? '');
    series.begin();
    const traced = traceRequest(this.#server.tracing, raw.headers, {
      admission,
      face: 'transit',
      method,
      route: found?.label ?? 'unrouted',
      startMs,
    });
    const correlated: Correlation = { requestId: undefined, vaultRequestId: undefined, span: traced.span };
    void this.#answer(raw, target, found, { admission, tenant, startMs, traced, correlated })
      .catch((error: unknown) => {
        this.#server.log.error({ err: error }, 'Transit request failed');
        return answerOfFault(faultOf(error));
      })
      .then((answer) => {
        send(raw, reply.raw as unknown as RawResponse, answer);
        this.#gate.leave();
        series.end(answer.status, (performance.now() - startMs) / 1000, traced.span?.traceId);
        endTrace(traced, answer.status, {
          'sello.request_id': correlated.requestId,
          'sello.operation': found?.route.operation,
        });
      });
  }

  #seriesOf(label: string, tenant: string): RequestSeries {
    const name = `${label}\0${tenant}`;
    let series = this.#series.get(name);
    if (series === undefined) {
      series = this.#server.metrics.request('transit', label, tenant);
      this.#series.set(name, series);
    }
    return series;
  }

  async #answer(
    raw: TransitRaw,
    target: TransitTarget,
    found: MatchedRoute | undefined,
    { admission, tenant, startMs, traced, correlated }: Begun,
  ): Promise<Answer> {
    const config = tenant?.config.transit;
    if (tenant === undefined || config === undefined) return this.#refuse(raw, target, admission, startMs);
    const requestId = (correlated.requestId = this.#server.newRequestId());
    const call = new TransitCall({
      target,
      method: raw.selloTransit!.method,
      admission,
      tenant,
      config,
      tokens: this.#tokensOf(tenant),
      requestId,
      traceId: traced.traceId,
      correlation: correlated,
      startMs,
      isOfTenant: isOfTenant(admission),
      recordStranger: (record) => this.#gate.serverAudit.append(record),
      auditNow: () => this.#gate.runtime.tenants.get(tenant.name)?.audit ?? tenant.audit,
    });
    let leave: (() => void) | undefined;
    try {
      leave = await this.#gate.enter(tenant);
      if (call.records === undefined)
        throw new SelloError('SELLO_KEYRING_UNSUPPORTED', {
          detail: `the ${tenant.keys.store.kind} keystore has no place for what this face keeps`,
        });
      return await correlation.run(call.correlation, async () => {
        checkNamespace(raw, config);
        if (found?.route.isOpen !== true) await this.#authenticate(raw, call);
        const handler = handlerOf(config, found, target);
        call.operation = found!.route.operation;
        const body = await this.#bodyOf(raw);
        this.#judgeAgain(raw, call);
        // Not awaited here: a frame that waits keeps all that the request was made of.
        return released(call, await handled(call, handler, found!.parameters, body));
      });
    } catch (error) {
      return await this.#fail(call, error);
    } finally {
      leave?.();
    }
  }

  /** Who may use this face at all, and as whom. @throws VaultFault */
  async #authenticate(raw: TransitRaw, call: TransitCall): Promise<void> {
    const text = tokenOf(raw);
    const { admission, config } = call;
    if (text === undefined) {
      if (config.certificateIsEnough && isOfTenant(admission)) return;
      throw missingToken();
    }
    const token = await call.tokens.find(text);
    if (token === undefined) throw invalidToken();
    // Of whoever got it with a certificate: nobody else's, and of nobody who has none.
    if (token.certificate !== undefined && token.certificate !== admission.identity) {
      call.reason = 'token of another certificate';
      throw invalidToken();
    }
    if (!isStillThere(config, token.method, token.role)) {
      call.reason = 'role of the token is not there any more';
      throw invalidToken();
    }
    call.token = token;
    call.tokenText = text;
  }

  /** A body may arrive long after its headers were judged: the configuration in force now decides. */
  #judgeAgain(raw: TransitRaw, call: TransitCall): void {
    const now = this.#gate.judge(raw);
    const tenant = tenantOf(now);
    if (tenant?.name !== call.tenant.name || tenant.config.transit === undefined) throw permissionDenied();
    if (now.identity !== call.admission.identity) throw permissionDenied();
    call.tenant = tenant;
  }

  #bodyOf(raw: TransitRaw): Promise<Buffer> {
    return wholeBody(raw, raw.sello!.declared, maxBodyBytes, this.#deadline, (why) =>
      why === 'lost'
        ? fault(400, 'the body did not arrive')
        : fault(413, 'error parsing JSON: http: request body too large'),
    );
  }

  async #fail(call: TransitCall, error: unknown): Promise<Answer> {
    let shown = faultOf(error);
    if (shown.status >= 500 && !(shown === error))
      this.#server.log.error(
        { err: error, tenant: call.tenant.name, requestId: call.requestId },
        'Transit request failed',
      );
    try {
      if (!call.isRecorded) await call.recordFailure(shown);
    } catch (unrecorded) {
      shown = faultOf(unrecorded);
    }
    return answerOfFault(shown);
  }

  /** Nobody's request, or one to a tenant that has no such face. */
  #refuse(raw: TransitRaw, target: TransitTarget, admission: Admission, startMs: number): Answer {
    const hasFace = admission.refusal !== undefined || admission.tenant?.config.transit !== undefined;
    // To tenants without this face, as if there were none, in KES's words.
    const answer = hasFace ? answerOfFault(permissionDenied()) : notFound;
    const { refusal } = admission;
    const record: AuditRecord = {
      timeMs: Date.now(),
      requestId: this.#server.newRequestId(),
      tenant: admission.tenant?.name,
      identity: admission.identity,
      certificateSerial: admission.peer?.serialNumber,
      certificateIssuer: admission.peer?.issuerName,
      sourceIp: admission.sourceIp,
      face: 'transit',
      method: raw.selloTransit!.method,
      path: `/v1/${target.segments.join('/')}`,
      decision: 'deny',
      status: answer.status,
      error: refusal?.code ?? 'SELLO_NOT_AUTHORIZED',
      reason: refusal?.reason,
      durationMs: performance.now() - startMs,
    };
    this.#gate.serverAudit.append(record);
    return answer;
  }

  #tokensOf(tenant: Tenant): Tokens {
    let tokens = this.#tokens.get(tenant.keys);
    if (tokens === undefined) {
      const made = new Tokens({
        records: tenant.keys.records!,
        tenant: tenant.name,
        checkEveryMs: this.#gate.runtime.config.propagationMs / 2,
      });
      this.#tokens.set(tenant.keys, (tokens = made));
      const timer = setInterval(() => {
        made.sweep().catch((error: unknown) => {
          this.#server.log.warn({ err: error, tenant: tenant.name }, 'ended tokens were not removed');
        });
      }, sweepEveryMs).unref();
      tenant.keys.onClose(() => clearInterval(timer));
    }
    return tokens;
  }
}

async function handled(
  call: TransitCall,
  handler: Handler,
  parameters: Parameters,
  body: Buffer,
): Promise<VaultAnswer> {
  let secrets: SecretFields | undefined;
  try {
    return await handler(call, parameters, {
      fields: () => parseFields(body),
      secretFields: () => (secrets = parseSecretFields(body)),
    });
  } finally {
    secrets?.wipe();
  }
}

/**
 * The answer's bytes, once its records are written. They are made before: of a batch, nothing but them waits for the disk, and the
 * collection of garbage has a thousand objects less to carry along.
 */
function released(call: TransitCall, answer: VaultAnswer): Promise<Answer> {
  const { records, status } = answer;
  const sent = answerOf(answer);
  const recorded =
    records !== undefined ? call.append(records) : call.isRecorded ? undefined : call.release(status);
  return withheldUnless(recorded, sent);
}

/** Nothing of an answer stays where its records could not be written. */
async function withheldUnless(recorded: Promise<void> | undefined, sent: Answer): Promise<Answer> {
  try {
    await recorded;
    return sent;
  } catch (error) {
    if (sent.secret === true) sent.body?.fill(0);
    throw error;
  }
}

/** By certificate; without one, by the listener. */
function tenantOf(admission: Admission): Tenant | undefined {
  return isOfTenant(admission) ? admission.tenant : admission.tenantWithoutCertificate;
}

function isStillThere(config: TransitConfig, method: string, role: string | undefined): boolean {
  if (role === undefined) return true;
  const roles: Partial<Record<string, object>> = {
    approle: config.approle,
    kubernetes: config.kubernetes?.roles ?? {},
    jwt: config.jwt?.roles ?? {},
  };
  const ofMethod = roles[method];
  return ofMethod !== undefined && Object.hasOwn(ofMethod, role);
}

function tokenOf({ headers }: RawRequest): string | undefined {
  const own = headers['x-vault-token'];
  if (typeof own === 'string' && own !== '') return own;
  const bearer = /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1];
  return bearer === undefined || bearer === '' ? undefined : bearer;
}

/** The header confirms the tenant and chooses none. @throws VaultFault */
function checkNamespace({ headers }: RawRequest, { namespace }: TransitConfig): void {
  const text = headers['x-vault-namespace'];
  if (text === undefined) return;
  const wanted = String(text).replace(/^\/|\/$/g, '');
  if (wanted !== '' && wanted !== 'root' && wanted !== namespace) throw permissionDenied();
}

const mountsByConfig = new WeakMap<TransitConfig, readonly Mount[]>();

/** Made once for a configuration: every request asks for them. */
function mountsOf(config: TransitConfig): readonly Mount[] {
  let found = mountsByConfig.get(config);
  if (found === undefined) {
    const { mounts } = config;
    found = [
      mountOf(mounts.transit, 'transit', engineRoutes),
      mountOf(mounts.kv, 'kv', kvRoutes),
      mountOf('sys', 'sys', sysRoutes),
      mountOf('auth/token', 'auth/token', tokenRoutes),
      mountOf(`auth/${mounts.cert}`, 'auth/cert', certRoutes),
      mountOf(`auth/${mounts.approle}`, 'auth/approle', approleRoutes),
      mountOf(`auth/${mounts.kubernetes}`, 'auth/kubernetes', kubernetesRoutes),
      mountOf(`auth/${mounts.jwt}`, 'auth/jwt', jwtRoutes),
    ];
    mountsByConfig.set(config, found);
  }
  return found;
}

/** @throws VaultFault */
function handlerOf(config: TransitConfig, found: MatchedRoute | undefined, target: TransitTarget): Handler {
  if (target.isMalformed) throw fault(400, 'Bad Request');
  const path = target.segments.join('/');
  if (target.method === 'POST' && path.endsWith('/'))
    throw fault(400, "cannot write to a path ending in '/'");
  if (found !== undefined) {
    const handler = found.route.methods[target.method as TransitMethod];
    if (handler === undefined) throw unsupportedOperation();
    return handler;
  }
  if (mountsOf(config).some((mount) => isAtOrBelow(mount, target.segments))) throw unsupportedPath();
  throw fault(404, `no handler for route ${JSON.stringify(path)}. route entry not found.`);
}
