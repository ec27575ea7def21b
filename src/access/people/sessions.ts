/**
 * Sessions of people in a browser: a random id in a cookie, here its hash alone, with an idle and an absolute end. They live in one
 * process and end with it; whoever reads its memory finds no cookie that works.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { Clock } from '../../clock.ts';
import { equalSecrets } from '../../crypto/index.ts';
import type { Person } from './roles.ts';

export interface SessionTimes {
  readonly idleMs: number;
  readonly absoluteMs: number;
}

export interface Session {
  readonly person: Person;
  /** Goes back with every request that changes something; a page of another origin cannot read it. */
  readonly csrf: string;
  readonly startedMs: number;
  readonly endsMs: number;
}

interface Kept extends Session {
  seenMs: number;
}

/** Per process. The oldest go first: a login is worth more than a session nobody came back to. */
export const maxSessions = 1000;
export const maxSessionsPerPerson = 8;

/** 256 bits, base64url. */
const idPattern = /^[\w-]{43}$/;

export class Sessions {
  readonly #kept = new Map<string, Kept>();
  readonly #clock: Clock;
  times: SessionTimes;

  constructor(clock: Clock, times: SessionTimes) {
    this.#clock = clock;
    this.times = times;
  }

  /** A new session with an id of its own, whatever the browser sent before (session fixation). */
  begin(person: Person): { readonly id: string; readonly session: Session } {
    this.#sweep();
    const own = [...this.#kept].filter(([, { person: other }]) => isSame(other, person));
    if (own.length >= maxSessionsPerPerson) this.#kept.delete(own[0]![0]);
    if (this.#kept.size >= maxSessions) this.#kept.delete(this.#kept.keys().next().value!);
    const nowMs = this.#clock.monotonic();
    const id = randomBytes(32).toString('base64url');
    const session: Kept = {
      person,
      csrf: randomBytes(32).toString('base64url'),
      startedMs: nowMs,
      seenMs: nowMs,
      endsMs: nowMs + this.times.absoluteMs,
    };
    this.#kept.set(hashOf(id), session);
    return { id, session };
  }

  /** The session of a cookie; being asked for keeps it from idling out. */
  find(id: string): Session | undefined {
    if (!idPattern.test(id)) return undefined;
    const key = hashOf(id);
    const session = this.#kept.get(key);
    if (session === undefined) return undefined;
    if (this.#isOver(session)) {
      this.#kept.delete(key);
      return undefined;
    }
    session.seenMs = this.#clock.monotonic();
    return session;
  }

  /** Whether it goes on, for an answer that lasts: to be read from does not keep a session from idling out. */
  isAlive(id: string): boolean {
    const session = this.#kept.get(hashOf(id));
    return session !== undefined && !this.#isOver(session);
  }

  end(id: string): void {
    this.#kept.delete(hashOf(id));
  }

  get size(): number {
    return this.#kept.size;
  }

  #isOver({ seenMs, startedMs }: Kept): boolean {
    const nowMs = this.#clock.monotonic();
    // By the settings in force: a shorter life reaches sessions that began under a longer one.
    return nowMs - seenMs >= this.times.idleMs || nowMs - startedMs >= this.times.absoluteMs;
  }

  #sweep(): void {
    for (const [key, session] of this.#kept) if (this.#isOver(session)) this.#kept.delete(key);
  }
}

/** True when a request carries the session's own token. */
export function hasCsrf(session: Session, token: string | undefined): boolean {
  return token !== undefined && equalSecrets(Buffer.from(token), Buffer.from(session.csrf));
}

function isSame(a: Person, b: Person): boolean {
  return a.issuer === b.issuer && a.subject === b.subject;
}

function hashOf(id: string): string {
  return createHash('sha256').update(id).digest('base64url');
}
