/**
 * The operators' API for people: the same actions as for administrators with a certificate (api/admin), below the tenant's name, since a
 * person may have roles in several. What destroys takes an approval by a second person, which the same listener keeps.
 */
import type { Readable } from 'node:stream';
import type { FastifyInstance, FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify';
import type { Operation } from '../../access/index.ts';
import {
  Approvals,
  judgePerson,
  personId,
  type ApprovalSubject,
  type Authenticated,
  type People,
  type Person,
} from '../../access/people/index.ts';
import { begunStatus, type AuditRecord } from '../../audit/record.ts';
import type { Clock } from '../../clock.ts';
import { correlation, type Correlation } from '../../correlation.ts';
import { SelloError } from '../../errors.ts';
import { parseKeyName } from '../../keys/index.ts';
import type { ServerInfo } from '../../server/info.ts';
import type { Tenant } from '../../tenants/tenant.ts';
import {
  actions,
  AdminError,
  adminRoutes,
  failure,
  json,
  needsTwoPeople,
  type AdminRoute,
  type AdminTarget,
  type Answer,
} from '../admin/index.ts';
import { approvalView, requestOfApproval } from './approval-body.ts';
import { searchOf } from './audit-query.ts';
import type { AuditReading } from './audit-reading.ts';
import { certificatesOf, type CertificateSources } from './certificates.ts';
import { strictHeaders } from './strict-headers.ts';
import { keysView, tenantView } from './tenant-reads.ts';
import { Watch } from './watch.ts';

export interface TenantFaceOptions {
  readonly people: () => People;
  readonly tenant: (name: string) => Tenant | undefined;
  readonly approvals: () => { readonly lifeMs: number; readonly useWithinMs: number };
  readonly clock: Clock;
  readonly reading: AuditReading;
  readonly certificates: CertificateSources;
  /** Answers that last: a stop ends them, a reload judges them anew. */
  readonly openStream: ServerInfo['openStream'];
  readonly fault: (error: unknown, requestId: string) => void;
}

export const tenantPrefix = '/v1/operators/tenants/:tenant';
export const approvalHeader = 'x-sello-approval';

/** A person's part in one request, as its records tell of it. */
interface Trace {
  readonly request: FastifyRequest;
  readonly authenticated: Authenticated;
  readonly person: Person;
  readonly tenant: Tenant;
  readonly operation: Operation;
  readonly key: string;
  readonly version: number;
  readonly correlation: Correlation;
  rule: string;
}

/** A search's lines come as they are found. */
interface Found extends Omit<Answer, 'body'> {
  readonly body: Buffer | Readable;
}

type Work = (trace: Trace, body: Buffer) => Promise<Found>;

interface Route {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly operation: Operation;
  readonly isChange: boolean;
  readonly maxBody: number;
  readonly work: Work;
}

/** Needs `app.people`. */
export const tenantPlugin: FastifyPluginCallback<TenantFaceOptions> = (app, options, done) => {
  new TenantRoutes(app, options).register();
  done();
};

class TenantRoutes {
  readonly #app: FastifyInstance;
  readonly #options: TenantFaceOptions;

  constructor(app: FastifyInstance, options: TenantFaceOptions) {
    this.#app = app;
    this.#options = options;
  }

  register(): void {
    const app = this.#app;
    app.removeAllContentTypeParsers();
    app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) =>
      done(null, body),
    );
    app.addHook('onSend', async (_request, reply) => void reply.headers(strictHeaders));
    for (const route of adminRoutes) {
      // The document is that of the other face; nobody has an operation that it could be judged by.
      const { operation } = route;
      if (operation === undefined) continue;
      this.#add({
        ...route,
        operation,
        path: route.path.replace(/\{(\w+)\}/g, ':$1'),
        work: (trace, body) => this.#act(route, trace, body),
      });
    }
    this.#read('', 'status', async ({ tenant }) =>
      json(await tenantView(tenant, this.#options.certificates)),
    );
    this.#read('keys', 'list', async ({ tenant, request }) => json(await keysView(tenant, queryOf(request))));
    this.#read('certificates', 'status', async ({ tenant }) =>
      json(await certificatesOf(tenant, this.#options.certificates)),
    );
    this.#read('audit/records', 'read-audit', async (trace) => this.#search(trace));
    this.#read('audit/verification', 'read-audit', async ({ tenant }) =>
      json(this.#options.reading.verification(tenant)),
    );
    // Nothing is changed by it, and yet it is nothing that another site may ask for: it takes the machine's time.
    this.#add({
      method: 'POST',
      path: 'audit/verification',
      operation: 'read-audit',
      isChange: false,
      maxBody: 0,
      work: async ({ tenant, person }) => json(this.#options.reading.verify(tenant, personId(person)), 202),
    });
    const approval = { operation: 'delete', maxBody: 4096 } as const;
    this.#add({
      ...approval,
      method: 'GET',
      path: 'approvals',
      isChange: false,
      work: (trace) => this.#list(trace),
    });
    this.#add({
      ...approval,
      method: 'POST',
      path: 'approvals',
      isChange: true,
      work: (trace, body) => this.#request(trace, body),
    });
    this.#add({
      ...approval,
      method: 'POST',
      path: 'approvals/:id/approve',
      isChange: true,
      work: async (trace) =>
        json(approvalView(await this.#approvals(trace).approve(idOf(trace), trace.person))),
    });
    this.#add({
      ...approval,
      method: 'POST',
      path: 'approvals/:id/withdraw',
      isChange: true,
      work: async (trace) =>
        json(approvalView(await this.#approvals(trace).withdraw(idOf(trace), trace.person))),
    });
  }

  #read(path: string, operation: Operation, work: Work): void {
    this.#add({ method: 'GET', path, operation, isChange: false, maxBody: 0, work });
  }

  #add(route: Route): void {
    this.#app.route({
      method: route.method,
      url: route.path === '' ? tenantPrefix : `${tenantPrefix}/${route.path}`,
      bodyLimit: Math.max(route.maxBody, 1),
      // Before the body, which strangers are not to fill our memory with; and once more when it is there.
      onRequest: async (request, reply) => {
        try {
          await request.server.people.authenticate(request);
        } catch (error) {
          return request.server.people.refuse(request, reply, error);
        }
        return undefined;
      },
      handler: (request, reply) => this.#serve(route, request, reply),
    });
  }

  async #serve(route: Route, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { people } = request.server;
    let authenticated: Authenticated;
    try {
      authenticated = await people.authenticate(request);
    } catch (error) {
      return people.refuse(request, reply, error);
    }
    const { person } = authenticated;
    const params = request.params as Record<string, string>;
    const tenant = this.#options.tenant(params['tenant']!);
    // Which tenants there are is for those who have a role in them.
    if (tenant === undefined || !person.roles.has(tenant.name))
      return people.refuse(
        request,
        reply,
        new SelloError('SELLO_NOT_AUTHORIZED', { detail: 'no role in tenant' }),
      );
    const trace: Trace = {
      request,
      authenticated,
      person,
      tenant,
      operation: route.operation,
      key: params['key'] ?? '',
      version: versionOf(params['version']),
      correlation: { requestId: request.id, vaultRequestId: undefined },
      rule: '',
    };
    let answer: Found;
    try {
      answer = await this.#answer(route, trace);
    } catch (error) {
      answer = failure(error, request.id);
      if (answer.status >= 500) this.#options.fault(error, request.id);
    }
    try {
      await tenant.audit.append(recordOf(trace, reply, answer));
    } catch (cause) {
      this.#options.fault(cause, request.id);
      if (!Buffer.isBuffer(answer.body)) answer.body.destroy();
      answer = failure(new SelloError('SELLO_AUDIT_UNAVAILABLE', { cause }), request.id);
    }
    return reply
      .code(answer.status)
      .headers({ 'content-type': 'application/json', ...answer.headers })
      .send(answer.body);
  }

  async #answer(route: Route, trace: Trace): Promise<Found> {
    const { tenant, person, request } = trace;
    const decision = judgePerson(person, tenant.name, route.operation);
    trace.rule = decision.rule;
    if (!decision.allowed) throw new SelloError('SELLO_NOT_AUTHORIZED');
    if (tenant.audit.trouble !== undefined) throw new SelloError('SELLO_AUDIT_UNAVAILABLE');
    const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
    if (route.isChange) {
      try {
        await tenant.audit.append({
          ...recordOf(trace, undefined, { status: begunStatus }),
          reason: 'begun',
        });
      } catch (cause) {
        throw new SelloError('SELLO_AUDIT_UNAVAILABLE', { cause });
      }
    }
    return correlation.run(trace.correlation, () => route.work(trace, body));
  }

  /** Ends with the reader's right to read, also while it is under way. */
  #search({ request, authenticated, tenant }: Trace): Found {
    const { reading, openStream } = this.#options;
    const found = reading.search(tenant, searchOf(queryOf(request)));
    const mayGoOn = async (): Promise<boolean> => {
      const roles = await request.server.people.standing(authenticated);
      return judgePerson({ roles }, tenant.name, 'read-audit').allowed;
    };
    new Watch(found, mayGoOn).begin(openStream);
    return { status: 200, body: found.stream, headers: { 'content-type': 'application/x-ndjson' } };
  }

  async #act(route: AdminRoute, trace: Trace, body: Buffer): Promise<Answer> {
    const { tenant, person, key, version } = trace;
    if (route.path.includes('{version}') && version === 0) throw new AdminError(404, 'no such path');
    const target: AdminTarget = { route, key, version };
    if (needsTwoPeople(route)) await this.#useApproval(route, trace);
    return actions[route.name as keyof typeof actions]({ tenant, target, body, by: personId(person) });
  }

  /** The second person's word for just this, used up before it is done. @throws SelloError */
  async #useApproval({ name }: AdminRoute, trace: Trace): Promise<void> {
    const { request, key, version } = trace;
    const id = request.headers[approvalHeader];
    if (typeof id !== 'string') throw new SelloError('SELLO_APPROVAL_REQUIRED');
    const mustBeDue = name !== 'schedule-deletion';
    const subject = await this.#subjectOf(trace, key, version === 0 ? undefined : version, mustBeDue);
    const { approvedBy } = await this.#approvals(trace).use(id, subject);
    trace.rule += `, approval ${id} by ${personId(approvedBy)}`;
  }

  /** What is there now under this name. @throws SelloError SELLO_KEY_NOT_FOUND, SELLO_KEY_CHANGE_REFUSED when it is not due */
  async #subjectOf(
    { tenant }: Trace,
    key: string,
    version: number | undefined,
    mustBeDue: boolean,
  ): Promise<ApprovalSubject> {
    const { id, isImplicit, versions, deletion } = await tenant.keys.keyring(parseKeyName(key));
    const nowSeconds = this.#options.clock.now() / 1000;
    const one = versions.find((each) => each.version === version);
    if (version !== undefined && one === undefined) throw new SelloError('SELLO_KEY_VERSION_NOT_FOUND');
    // An approval that is used up by a request that comes too early would be lost.
    const dueAt = version === undefined ? deletion?.after : one?.destroyAfter;
    if (mustBeDue && (dueAt === undefined || dueAt === 0 || dueAt > nowSeconds))
      throw new SelloError('SELLO_KEY_CHANGE_REFUSED', { detail: 'its end is not due' });
    return { operation: 'delete', key, version, keyId: isImplicit ? undefined : id };
  }

  async #list(trace: Trace): Promise<Answer> {
    return json({ approvals: (await this.#approvals(trace).list()).map(approvalView) });
  }

  async #request(trace: Trace, body: Buffer): Promise<Answer> {
    const { key, version, reason } = requestOfApproval(body);
    const subject = await this.#subjectOf(trace, key, version, false);
    return json(approvalView(await this.#approvals(trace).request(subject, trace.person, reason)), 201);
  }

  /** @throws SelloError SELLO_KEYRING_UNSUPPORTED for a keystore without records */
  #approvals({ tenant }: Trace): Approvals {
    const { records } = tenant.keys;
    if (records === undefined) throw new SelloError('SELLO_KEYRING_UNSUPPORTED');
    const { people, clock, approvals } = this.#options;
    return new Approvals({ tenant: tenant.name, records, rights: people(), clock, ...approvals() });
  }
}

function queryOf({ url }: FastifyRequest): URLSearchParams {
  const at = url.indexOf('?');
  return new URLSearchParams(at === -1 ? '' : url.slice(at + 1));
}

function idOf({ request }: Trace): string {
  return (request.params as Record<string, string>)['id']!;
}

function versionOf(text: string | undefined): number {
  return text !== undefined && /^[1-9]\d{0,8}$/.test(text) ? Number(text) : 0;
}

function recordOf(
  { request, person, tenant, operation, key, version, rule, correlation: { vaultRequestId } }: Trace,
  reply: FastifyReply | undefined,
  { status, error }: Pick<Answer, 'status' | 'error'>,
): AuditRecord {
  const isRefused = error === 'SELLO_NOT_AUTHORIZED' || error?.startsWith('SELLO_APPROVAL_') === true;
  return {
    timeMs: Date.now(),
    requestId: request.id,
    tenant: tenant.name,
    identity: personId(person),
    sourceIp: request.socket.remoteAddress?.replace(/^::ffff:/, ''),
    face: 'admin',
    method: request.method,
    path: request.url.split('?', 1)[0]!,
    operation,
    key: key === '' ? undefined : key,
    keyVersion: version === 0 ? undefined : version,
    decision: isRefused ? 'deny' : 'allow',
    rule,
    status,
    error,
    durationMs: reply?.elapsedTime ?? 0,
    vaultRequestId,
  };
}
