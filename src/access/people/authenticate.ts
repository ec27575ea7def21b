/** Who a request comes from: a bearer token, or the cookie of a session with proof that our own page sent it. */
import type { Clock } from '../../clock.ts';
import { SelloError } from '../../errors.ts';
import type { TenantName } from '../../tenants/name.ts';
import { refuse } from './refusal.ts';
import type { People } from './people.ts';
import { lookUpEveryMs } from './people.ts';
import type { Person, Role } from './roles.ts';
import { hasCsrf, type Session, type Sessions } from './sessions.ts';

/** `__Host-`: from this very host, over TLS, for every path (RFC 6265bis §4.1.3.2). */
export const sessionCookie = '__Host-sello-session';
export const csrfHeader = 'x-sello-csrf';

/** What of a request counts, as it came. */
export interface Credentials {
  readonly method: string;
  readonly authorization: string | undefined;
  readonly cookie: string | undefined;
  readonly csrf: string | undefined;
  readonly origin: string | undefined;
  readonly fetchSite: string | undefined;
}

export interface Authenticated {
  readonly person: Person;
  readonly session: Session | undefined;
  readonly sessionId: string | undefined;
}

export interface AuthenticatorOptions {
  /** What is in force; a reload replaces it. */
  readonly people: () => People;
  readonly sessions: Sessions;
  readonly clock: Clock;
  /** `https://host[:port]` of the listener, as browsers see it. */
  readonly origin: () => string;
}

export class Authenticator {
  readonly #options: AuthenticatorOptions;
  readonly #roles = new WeakMap<
    Session,
    { readonly atMs: number; readonly people: People; readonly roles: ReadonlyMap<TenantName, Role> }
  >();

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
  }

  /** @throws LoginError SELLO_LOGIN_REFUSED or SELLO_LOGIN_UNAVAILABLE; SelloError SELLO_REQUEST_FORGED */
  async authenticate(credentials: Credentials): Promise<Authenticated> {
    const { authorization, cookie } = credentials;
    if (authorization !== undefined) {
      const token = /^Bearer +([\w.~+/-]+=*)$/i.exec(authorization)?.[1];
      if (token === undefined) throw refuse('token malformed', 'not a bearer token');
      return {
        person: await this.#options.people().byToken(token),
        session: undefined,
        sessionId: undefined,
      };
    }
    const sessionId = cookie === undefined ? undefined : cookieOf(cookie, sessionCookie);
    if (sessionId === undefined) throw refuse('no login');
    const session = this.#options.sessions.find(sessionId);
    if (session === undefined) throw refuse('session unknown or over');
    this.#refuseForged(credentials, session);
    const roles = await this.#rolesNow(session);
    if (roles.size === 0) throw refuse('person has no role');
    return { person: { ...session.person, roles }, session, sessionId };
  }

  /** Roles at this moment of somebody who was authenticated before, for an answer that lasts; none when their session is over. */
  async standing({ person, sessionId }: Authenticated): Promise<ReadonlyMap<TenantName, Role>> {
    if (sessionId !== undefined && !this.#options.sessions.isAlive(sessionId)) return new Map();
    return this.#options.people().rolesNow(person);
  }

  /**
   * A cookie goes with whatever a browser sends. SameSite=Strict keeps other sites out; sibling hosts of one site, and browsers without it,
   * are what the token and the origin are for.
   */
  #refuseForged({ method, csrf, origin, fetchSite }: Credentials, session: Session): void {
    if (method === 'GET' || method === 'HEAD') return;
    if (!hasCsrf(session, csrf))
      throw new SelloError('SELLO_REQUEST_FORGED', { detail: 'token of the page' });
    this.refuseForeign({ origin, fetchSite });
  }

  /** A request that a browser says another site made. */
  refuseForeign({ origin, fetchSite }: Pick<Credentials, 'origin' | 'fetchSite'>): void {
    const isForeign = fetchSite !== undefined && fetchSite !== 'same-origin' && fetchSite !== 'none';
    if (isForeign || (origin !== undefined && origin !== this.#options.origin()))
      throw new SelloError('SELLO_REQUEST_FORGED', { detail: 'another origin' });
  }

  /** Roles of this moment; a directory is not asked with every request. A reload is seen at once. */
  async #rolesNow(session: Session): Promise<ReadonlyMap<TenantName, Role>> {
    const people = this.#options.people();
    const nowMs = this.#options.clock.monotonic();
    const known = this.#roles.get(session);
    if (known !== undefined && known.people === people && nowMs - known.atMs < lookUpEveryMs)
      return known.roles;
    const roles = await people.rolesNow(session.person);
    this.#roles.set(session, { atMs: nowMs, people, roles });
    return roles;
  }
}

/** The value of a cookie; undefined when it is not there, or there twice. */
export function cookieOf(header: string, name: string): string | undefined {
  const values = header
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1));
  return values.length === 1 ? values[0] : undefined;
}

/** 401, 403, 429 or 503: what a face answers to a refused login, with nothing of its reason. */
export function statusOfLogin(error: SelloError): number {
  if (error.code === 'SELLO_LOGIN_REFUSED') return 401;
  if (error.code === 'SELLO_LOGIN_UNAVAILABLE') return 503;
  if (error.code === 'SELLO_RATE_LIMITED') return 429;
  if (error.code === 'SELLO_REQUEST_FORGED' || error.code === 'SELLO_NOT_AUTHORIZED') return 403;
  return 500;
}
