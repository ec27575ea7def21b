/**
 * The operators' listener: HTTPS for people, apart from the listeners that serve keys. A client certificate is asked for and not needed.
 * With several processes the first one has it, because sessions live in one.
 */
import { fastify, type FastifyInstance, type FastifyServerFactory } from 'fastify';
import { once } from 'node:events';
import { X509Certificate } from 'node:crypto';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Identity } from '../access/index.ts';
import {
  certificateIssuer,
  CookieSeal,
  Sessions,
  type OtherRights,
  type People,
} from '../access/people/index.ts';
import { consolePlugin } from '../api/console/index.ts';
import {
  AuditReading,
  openApiOfPeople,
  peoplePlugin,
  strictHeaders,
  tenantPlugin,
  type LoginEvent,
} from '../api/people/index.ts';
import { systemClock } from '../clock.ts';
import type { Config, LimitsConfig, OperatorsConfig } from '../config/model.ts';
import { SelloError } from '../errors.ts';
import type { LoginOutcome } from '../telemetry/index.ts';
import type { ServedCertificate } from './certificates.ts';
import { http1Options, secureContextOptions } from './listener.ts';
import { Providers } from './people.ts';
import type { Gate } from './gate.ts';
import type { ServerInfo } from './info.ts';

/** People's requests are small; what is larger has a limit of its own on its route. */
const maxBodyBytes = 65_536;

/** People, and the programs they run. */
const maxConnections = 256;

export interface OperatorsDependencies {
  readonly limits: LimitsConfig;
  readonly gate: Gate;
  readonly server: ServerInfo;
  /** Certificates of this process's other listeners. */
  readonly served: () => readonly ServedCertificate[];
  /** Faces beside the logins: each finds `app.people`. */
  readonly faces?: (app: FastifyInstance) => void;
}

export interface PreparedPeople {
  readonly config: OperatorsConfig;
  readonly people: People;
  commit(): void;
}

export class OperatorsListener {
  readonly #dependencies: OperatorsDependencies;
  readonly #seal = new CookieSeal(systemClock);
  readonly #providers: Providers;
  readonly #sessions: Sessions;
  readonly #app: FastifyInstance;
  readonly #reading = new AuditReading(systemClock);
  #certificate: ServedCertificate | undefined;
  /** Every connection after its handshake, true while it is being answered. */
  readonly #sockets = new Map<Socket, boolean>();
  #isStopping = false;
  #server: https.Server | undefined;
  #config: OperatorsConfig;
  #people: People;
  readonly routes = new Set<string>();

  /** @throws SelloError SELLO_CONFIG_INVALID */
  constructor(config: Config & { readonly operators: OperatorsConfig }, dependencies: OperatorsDependencies) {
    this.#config = config.operators;
    this.#dependencies = dependencies;
    this.#providers = new Providers(systemClock, this.#seal, rightsByCertificate(dependencies.gate));
    this.#sessions = new Sessions(systemClock, this.#config.sessions);
    const first = this.prepare(config);
    this.#people = first.people;
    first.commit();
    this.#app = fastify({
      logger: false,
      serverFactory: ((handler: https.RequestOptions & (() => void)) =>
        this.#createServer(handler)) as unknown as FastifyServerFactory,
      bodyLimit: maxBodyBytes,
      exposeHeadRoutes: false,
      return503OnClosing: false,
      onProtoPoisoning: 'error',
      onConstructorPoisoning: 'error',
      requestIdHeader: false,
      genReqId: () => dependencies.server.newRequestId(),
      // What is not as its schema says is refused, never reshaped.
      ajv: {
        customOptions: { coerceTypes: false, removeAdditional: false, useDefaults: false, allErrors: false },
      },
      routerOptions: { caseSensitive: true, ignoreTrailingSlash: false, maxParamLength: 256 },
    }) as unknown as FastifyInstance;
    this.#app.addHook('onRoute', ({ url }) => void this.routes.add(url));
    this.#app.addHook('onSend', async (_request, reply) => {
      for (const [name, value] of Object.entries(strictHeaders))
        if (!reply.hasHeader(name)) void reply.header(name, value);
    });
    this.#app.setNotFoundHandler((_request, reply) => reply.code(404).send({ error: 'not found' }));
    this.#app.setErrorHandler((error, request, reply) => this.#app.people.refuse(request, reply, error));
    const fault = (error: unknown, requestId: string): void => {
      const isOurs = !(error instanceof SelloError) || !error.retryable;
      const detail = error instanceof SelloError ? error.detail : undefined;
      // A provider that is down is told by its name, without a stack for each request.
      if (isOurs) dependencies.server.log.error({ err: error, requestId }, 'request of a person failed');
      else dependencies.server.log.warn({ detail, requestId }, 'login cannot be checked');
    };
    void this.#app.register(peoplePlugin, {
      people: () => this.#people,
      sessions: this.#sessions,
      seal: this.#seal,
      clock: systemClock,
      origin: () => this.#origin,
      document: openApiOfPeople(dependencies.server.version),
      record: (event) => this.#record(event),
      fault,
    });
    void this.#app.register(tenantPlugin, {
      people: () => this.#people,
      tenant: (name) => dependencies.gate.runtime.tenants.get(name),
      approvals: () => this.#config.approvals,
      clock: systemClock,
      reading: this.#reading,
      certificates: {
        served: () => [
          ...dependencies.served(),
          ...(this.#certificate === undefined ? [] : [this.#certificate]),
        ],
        trust: ({ name }) => dependencies.gate.runtime.registry.tenants.get(name)?.clientAuth.trust,
        clients: dependencies.gate.clients,
      },
      openStream: (stream) => dependencies.server.openStream(stream),
      fault,
    });
    void this.#app.register(consolePlugin);
    dependencies.faces?.(this.#app);
  }

  /** Who people are at this moment, for dual control. */
  get people(): People {
    return this.#people;
  }

  /** Builds what a new configuration says, without a change to what is in force. @throws SelloError SELLO_CONFIG_INVALID */
  prepare(config: Config & { readonly operators: OperatorsConfig }): PreparedPeople {
    const tenants = config.tenants.map(({ name }) => name);
    return { config: config.operators, ...this.#providers.prepare(config.operators, tenants) };
  }

  /** Puts it in force: sessions go on, with the roles that they have now. */
  reload({ config, people, commit }: PreparedPeople): void {
    this.#server?.setSecureContext(this.#useCertificate(config));
    commit();
    this.#people = people;
    this.#config = config;
    this.#sessions.times = config.sessions;
  }

  async listen(): Promise<number> {
    await this.#app.ready();
    const server = this.#server!;
    const { host, port } = this.#config;
    server.listen({ host, port, backlog: 128 });
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  /** Answers what has arrived, then ends. */
  async stop(deadlineMs: number): Promise<void> {
    this.#reading.close();
    const server = this.#server;
    if (server?.listening === true) {
      this.#isStopping = true;
      const closed = once(server, 'close');
      server.close();
      // Node ends those that had a request, and leaves open those that had none yet.
      for (const [socket, isBusy] of this.#sockets) if (!isBusy) socket.destroy();
      const timer = setTimeout(() => {
        for (const socket of this.#sockets.keys()) socket.destroy();
      }, deadlineMs);
      await closed;
      clearTimeout(timer);
    }
    await this.#app.close();
    await this.#providers.close();
  }

  /** Without `url` there are no logins by browser, and what a page of another origin sends is told by its own words alone. */
  get #origin(): string {
    const { url, host } = this.#config;
    const address = this.#server?.address();
    const port = typeof address === 'object' && address !== null ? address.port : this.#config.port;
    return url ?? `https://${host.includes(':') ? `[${host}]` : host}:${String(port)}`;
  }

  #useCertificate({ tls, host, port }: OperatorsConfig) {
    const options = secureContextOptions(tls);
    const certificate = new X509Certificate(options.cert);
    this.#certificate = { use: 'operators', where: `${host}:${String(port)}`, certificate };
    this.#dependencies.server.metrics.certificateNotAfter(
      `operators ${host}:${String(port)}`,
      certificate.validToDate.getTime(),
    );
    return options;
  }

  #createServer(handler: (...parts: never[]) => void): https.Server {
    const { limits, server: info } = this.#dependencies;
    const server = https.createServer(
      {
        ...this.#useCertificate(this.#config),
        ALPNProtocols: ['http/1.1'],
        requestCert: true,
        rejectUnauthorized: false,
        handshakeTimeout: limits.handshakeTimeoutMs,
        ...http1Options(limits),
      },
      handler as unknown as https.RequestOptions & (() => void),
    );
    server.maxConnections = maxConnections;
    // One whose handshake is under way ends with that, or with `handshakeTimeout`.
    server.on('secureConnection', (socket: Socket) => {
      if (this.#isStopping) {
        socket.destroy();
        return;
      }
      this.#sockets.set(socket, false);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    server.on('request', ({ socket }, response) => {
      this.#sockets.set(socket, true);
      response.once('close', () => {
        if (this.#sockets.has(socket)) this.#sockets.set(socket, false);
        if (this.#isStopping) socket.end();
      });
    });
    server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: Socket) => {
      info.metrics.tlsHandshakeFailed(error.code ?? 'unknown');
      // Node reports a handshake that takes too long, and leaves its connection open.
      socket.destroy();
    });
    this.#server = server;
    return server;
  }

  #record({
    requestId,
    method,
    path,
    sourceIp,
    status,
    identity,
    rule,
    error,
    reason,
    durationMs,
  }: LoginEvent): void {
    const outcome = outcomeOf(error, rule);
    if (outcome !== undefined) this.#dependencies.server.metrics.login(outcome);
    this.#dependencies.gate.serverAudit.append({
      timeMs: Date.now(),
      requestId,
      tenant: undefined,
      identity,
      sourceIp,
      face: 'admin',
      method,
      path,
      decision: status < 400 ? 'allow' : 'deny',
      rule,
      status,
      error,
      reason,
      durationMs,
    });
  }
}

/** Administrators by certificate, by the policies in force. What a rule's conditions need of a request is not there, so such a rule allows nothing. */
function rightsByCertificate(gate: Gate): OtherRights {
  return ({ issuer, subject }, tenant, operation, key) => {
    if (issuer !== certificateIssuer) return undefined;
    const request = {
      identity: subject as Identity,
      face: 'admin',
      path: undefined,
      operation,
      key,
      context: undefined,
      sourceIp: undefined,
      nowMs: Date.now(),
    } as const;
    return gate.runtime.tenants.get(tenant)?.access.decide(request).allowed ?? false;
  };
}

function outcomeOf(error: string | undefined, rule: string | undefined): LoginOutcome | undefined {
  switch (error) {
    case undefined:
      return rule?.startsWith('login') === true ? 'ok' : undefined;
    case 'SELLO_LOGIN_UNAVAILABLE':
      return 'unavailable';
    case 'SELLO_RATE_LIMITED':
      return 'limited';
    case 'SELLO_REQUEST_FORGED':
      return 'forged';
    case 'SELLO_LOGIN_REFUSED':
      return 'refused';
    default:
      return undefined;
  }
}
