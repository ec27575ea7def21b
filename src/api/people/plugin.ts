/**
 * Logins of people, as a Fastify plugin for any instance: who am I, login and callback, login by password, logout. Faces beside it ask
 * `request.server.people.authenticate(request)` who calls them.
 */
import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import type { Sessions } from '../../access/people/index.ts';
import {
  Authenticator,
  cookieOf,
  csrfHeader,
  Failures,
  LoginError,
  loginLifeMs,
  operationsOfRole,
  personId,
  sessionCookie,
  statusOfLogin,
  type Authenticated,
  type CookieSeal,
  type People,
  type Person,
} from '../../access/people/index.ts';
import type { Clock } from '../../clock.ts';
import { SelloError } from '../../errors.ts';
import { textOfPage } from './page.ts';
import { passwordOf } from './password-body.ts';
import { strictHeaders } from './strict-headers.ts';

export interface PeopleFaceOptions {
  /** What is in force; a reload replaces it. */
  readonly people: () => People;
  readonly sessions: Sessions;
  readonly seal: CookieSeal;
  readonly clock: Clock;
  readonly origin: () => string;
  /** The OpenAPI document. */
  readonly document: Buffer;
  readonly record: (event: LoginEvent) => void;
  /** Hears what is no fault of the caller's: a provider that is down, a defect. */
  readonly fault: (error: unknown, requestId: string) => void;
}

/** For the audit: every login and its end, and every refusal. */
export interface LoginEvent {
  readonly requestId: string;
  readonly method: string;
  readonly path: string;
  readonly sourceIp: string | undefined;
  readonly status: number;
  /** `personId`, once known. */
  readonly identity: string | undefined;
  /** Such as `login by oidc corporate`. */
  readonly rule: string | undefined;
  readonly error: string | undefined;
  readonly reason: string | undefined;
  readonly durationMs: number;
}

/** What faces on the same listener use. */
export interface PeopleFace {
  /** @throws LoginError, SelloError SELLO_REQUEST_FORGED */
  authenticate(request: FastifyRequest): Promise<Authenticated>;
  /** Answers what {@link authenticate} threw, and records it. */
  refuse(request: FastifyRequest, reply: FastifyReply, error: unknown): FastifyReply;
  /** Roles at this moment, for an answer that lasts. @throws LoginError when they cannot be told */
  standing(authenticated: Authenticated): Promise<Person['roles']>;
}

declare module 'fastify' {
  interface FastifyInstance {
    people: PeopleFace;
  }
}

export const peoplePrefix = '/v1/operators';
const loginCookie = '__Host-sello-login';

/** Names and passwords; more is an attack. */
const maxBodyBytes = 4096;

export const peoplePlugin: FastifyPluginAsync<PeopleFaceOptions> = async (app, options) => {
  new PeopleRoutes(app, options).register();
};
// Decorates the instance it is registered on (fastify-plugin's own mark).
Object.assign(peoplePlugin, {
  [Symbol.for('skip-override')]: true,
  [Symbol.for('fastify.display-name')]: 'people',
});

class PeopleRoutes implements PeopleFace {
  readonly #app: FastifyInstance;
  readonly #options: PeopleFaceOptions;
  readonly #authenticator: Authenticator;
  readonly #failures: Failures;

  constructor(app: FastifyInstance, options: PeopleFaceOptions) {
    this.#app = app;
    this.#options = options;
    this.#authenticator = new Authenticator(options);
    this.#failures = new Failures(options.clock);
  }

  register(): void {
    this.#app.decorate('people', {
      authenticate: (request) => this.authenticate(request),
      refuse: (request, reply, error) => this.refuse(request, reply, error),
      standing: (authenticated) => this.standing(authenticated),
    });
    void this.#app.register(
      async (scope) => {
        scope.removeAllContentTypeParsers();
        scope.addContentTypeParser(
          'application/json',
          { parseAs: 'buffer', bodyLimit: maxBodyBytes },
          (_request, body, done) => done(null, body),
        );
        scope.setErrorHandler((error, request, reply) => this.refuse(request, reply, error));
        scope.addHook('onSend', async (_request, reply) => void reply.headers(strictHeaders));
        scope.get('/whoami', (request) => this.#whoami(request));
        scope.get('/tenants', (request) => this.#tenants(request));
        scope.get('/openapi.json', (request, reply) => this.#document(request, reply));
        scope.get('/ways', (request) => this.#ways(request));
        scope.get('/login', (request, reply) => this.#begin(request, reply));
        scope.get('/callback', (request, reply) => this.#finish(request, reply));
        scope.post('/login', (request, reply) => this.#byPassword(request, reply));
        scope.post('/logout', (request, reply) => this.#logout(request, reply));
      },
      { prefix: peoplePrefix },
    );
  }

  authenticate(request: FastifyRequest): Promise<Authenticated> {
    const { headers, method } = request;
    return this.#authenticator.authenticate({
      method,
      authorization: headers.authorization,
      cookie: headers.cookie,
      csrf: single(headers[csrfHeader]),
      origin: headers.origin,
      fetchSite: single(headers['sec-fetch-site']),
    });
  }

  standing(authenticated: Authenticated): Promise<Person['roles']> {
    return this.#authenticator.standing(authenticated);
  }

  refuse(request: FastifyRequest, reply: FastifyReply, error: unknown): FastifyReply {
    const known = error instanceof SelloError ? error : undefined;
    const status = known === undefined ? clientStatus(error) : statusOfLogin(known);
    const isUnclear = known === undefined && status < 500;
    const shown = known ?? new SelloError('SELLO_INTERNAL');
    if (status >= 500) this.#options.fault(error, request.id);
    this.#record(reply, status, {
      ...(isUnclear ? {} : { error: shown.code }),
      reason: isUnclear ? 'request not valid' : error instanceof LoginError ? error.reason : known?.detail,
    });
    if (status === 401) void reply.header('www-authenticate', wwwAuthenticate(request, error));
    if (status === 429 || status === 503) void reply.header('retry-after', '30');
    return reply
      .code(status)
      .headers(strictHeaders)
      .send(isUnclear ? { error: 'request is not valid' } : { code: shown.code, error: shown.message });
  }

  async #whoami(request: FastifyRequest) {
    const { person, session } = await this.authenticate(request);
    return describe(person, session?.csrf);
  }

  /** For a page that does not know yet whether somebody is there: not to know is no error. Of tokens nothing is told without a record. */
  async #ways({ headers: { cookie } }: FastifyRequest) {
    const session = {
      method: 'GET',
      authorization: undefined,
      cookie,
      csrf: undefined,
      origin: undefined,
      fetchSite: undefined,
    };
    const isKnown = await this.#authenticator.authenticate(session).then(
      () => true,
      () => false,
    );
    return { ways: this.#options.people().ways, isKnown };
  }

  /** Which there are is for those who have a role in them. */
  async #tenants(request: FastifyRequest) {
    const { person } = await this.authenticate(request);
    const tenants = [...person.roles]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([tenant, role]) => ({ tenant, role, operations: [...operationsOfRole[role]] }));
    return { tenants };
  }

  async #document(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    await this.authenticate(request);
    return reply.type('application/json').send(this.#options.document);
  }

  async #begin(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const query = queryOf(request);
    const flow = this.#options.people().flow(query.get('provider') ?? '');
    if (flow === undefined) throw new LoginError('SELLO_LOGIN_REFUSED', 'provider unknown');
    const { location, cookie } = await flow.begin(query.get('return') ?? '/');
    // Lax: the provider sends the browser back from its own site, and a Strict cookie would stay behind.
    const value = `${loginCookie}=${cookie}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=${String(loginLifeMs / 1000)}`;
    return reply.code(302).headers({ location, 'set-cookie': value }).send();
  }

  async #finish(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const forget = `${loginCookie}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0`;
    try {
      const query = queryOf(request);
      const pending = this.#options.seal.open(cookieOf(request.headers.cookie ?? '', loginCookie), query);
      const flow = this.#options.people().flow(pending.provider);
      if (flow === undefined) throw new LoginError('SELLO_LOGIN_REFUSED', 'provider unknown');
      const { person, returnTo } = await flow.finish(query, pending);
      const { id } = this.#options.sessions.begin(person);
      this.#record(reply, 200, { person, rule: `login by oidc ${pending.provider}` });
      // A redirect would still count as the provider's, and the Strict cookie stay behind: our own page goes on.
      return await reply
        .code(200)
        .headers({ 'set-cookie': [sessionOf(id), forget], 'content-type': 'text/html; charset=utf-8' })
        .send(
          textOfPage({ title: 'Signed in', text: 'You are signed in.', goOn: returnTo, isImmediate: true }),
        );
    } catch (error) {
      if (!(error instanceof SelloError)) throw error;
      const status = statusOfLogin(error);
      this.#record(reply, status, {
        error: error.code,
        reason: error instanceof LoginError ? error.reason : undefined,
      });
      if (status >= 500) this.#options.fault(error, request.id);
      return reply
        .code(status)
        .headers({ 'set-cookie': forget, 'content-type': 'text/html; charset=utf-8' })
        .send(
          textOfPage({ title: 'Not signed in', text: `${error.message}.`, goOn: '/', isImmediate: false }),
        );
    }
  }

  async #byPassword(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    // Also when nobody is logged in: another site must not log its visitor in as somebody else.
    this.#authenticator.refuseForeign({
      origin: request.headers.origin,
      fetchSite: single(request.headers['sec-fetch-site']),
    });
    const { directory, name, password } = passwordOf(request.body);
    const source = request.socket.remoteAddress ?? '';
    this.#failures.check(name, source);
    this.#failures.begin(name, source);
    let person: Person;
    try {
      person = await this.#options.people().byPassword(directory, name, password);
    } catch (error) {
      if (!(error instanceof LoginError) || error.code !== 'SELLO_LOGIN_REFUSED')
        this.#failures.takeBack(name, source);
      throw error;
    }
    this.#failures.takeBack(name, source);
    const { id, session } = this.#options.sessions.begin(person);
    this.#record(reply, 200, { person, rule: `login by ${person.issuer}` });
    return reply.code(200).header('set-cookie', sessionOf(id)).send(describe(person, session.csrf));
  }

  async #logout(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { person, sessionId } = await this.authenticate(request);
    if (sessionId !== undefined) this.#options.sessions.end(sessionId);
    this.#record(reply, 204, { person, rule: 'logout' });
    return reply
      .code(204)
      .header('set-cookie', `${sessionCookie}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0`)
      .send();
  }

  #record(
    reply: FastifyReply,
    status: number,
    what: { person?: Person; rule?: string; error?: string; reason?: string | undefined },
  ): void {
    const { request } = reply;
    this.#options.record({
      requestId: request.id,
      method: request.method,
      path: request.url.split('?', 1)[0]!,
      sourceIp: request.socket.remoteAddress?.replace(/^::ffff:/, ''),
      status,
      identity: what.person === undefined ? undefined : personId(what.person),
      rule: what.rule,
      error: what.error,
      reason: what.reason,
      durationMs: reply.elapsedTime,
    });
  }
}

/** What a page needs to know of its reader. */
function describe(person: Person, csrf: string | undefined): Record<string, unknown> {
  return {
    issuer: person.issuer,
    subject: person.subject,
    id: personId(person),
    name: person.displayName,
    roles: Object.fromEntries([...person.roles].sort(([a], [b]) => (a < b ? -1 : 1))),
    authenticatedAt: person.authTimeMs === undefined ? null : timeOf(person.authTimeMs),
    ...(csrf === undefined ? {} : { csrf }),
  };
}

/** An issuer may say anything; not every number is a date. */
function timeOf(ms: number): string | null {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

function sessionOf(id: string): string {
  return `${sessionCookie}=${id}; Path=/; Secure; HttpOnly; SameSite=Strict`;
}

/** A header that stands there once; Node joins or lists those that repeat. */
function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(',') : value;
}

function queryOf(request: FastifyRequest): URLSearchParams {
  const at = request.url.indexOf('?');
  return new URLSearchParams(at === -1 ? '' : request.url.slice(at + 1));
}

/** RFC 6750 §3: with `invalid_token` when one was there. */
function wwwAuthenticate(request: FastifyRequest, error: unknown): string {
  const isToken = request.headers.authorization !== undefined && error instanceof LoginError;
  return isToken ? 'Bearer realm="sello", error="invalid_token"' : 'Bearer realm="sello"';
}

/** Fastify's own refusals of a request: too large, not JSON. Anything else is ours. */
function clientStatus(error: unknown): number {
  const status = error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : 500;
  return status >= 400 && status < 500 ? status : 500;
}
