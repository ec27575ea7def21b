/**
 * One token and its whole life: login, renewal at two thirds of its time, a new login when it cannot be renewed or Vault stopped
 * accepting it. However many calls want a token, one login is under way; however long logins fail, they are tried again, each time
 * after a longer wait with jitter. The old token serves until the new one is known to work.
 */
import type { Clock, Timer } from '../clock.ts';
import { isVaultProblem, VaultError } from './errors.ts';

export interface Grant {
  readonly token: string;
  /** 0: it does not end. */
  readonly ttlMs: number;
  readonly renewable: boolean;
}

export interface TokenSource {
  /** Rejects with a VaultError, or a SelloError when a secret cannot be read. */
  login(): Promise<Grant>;
  renew(token: string): Promise<Grant>;
  /** Rejects with `forbidden` when the token is not accepted (any more). */
  lookup(token: string): Promise<Grant>;
  /** True when the token must not be renewed but replaced: it is bound to a certificate that has changed. */
  readonly isOutdated?: () => boolean;
}

export interface TokenEvents {
  readonly loggedIn: (ttlMs: number) => void;
  readonly renewed: (ttlMs: number) => void;
  readonly failed: (what: 'login' | 'renewal', error: unknown, retryMs: number) => void;
}

/** Renewal at this share of a token's time, and up to this much earlier or later. */
const renewShare = 2 / 3;
const renewJitter = 0.1;

/** Waits between attempts: the first, and the longest. AWS's "full jitter" from half on. */
const firstWaitMs = 1_000;
const longestWaitMs = 30_000;

/** A new token is taken after this time at the latest though it could not be looked up: its policies may not allow that. */
const mostDoubtMs = 30_000;

/** A token found valid is not looked up again for this long: what it was refused is its policies' doing. */
const trustMs = 5_000;

/** A token about to end, which nothing can renew, is not looked at without pause. */
const shortestPlanMs = 1_000;

/** Node's timers end at 2^31 ms; a token of 32 days is looked at in between. */
const longestTimerMs = 24 * 3_600_000;

interface Held {
  readonly token: string;
  readonly renewable: boolean;
  readonly ttlMs: number;
  readonly endsAtMs: number;
  /** Vault has accepted it in a call. */
  proved: boolean;
}

export class TokenLife {
  readonly #source: TokenSource;
  readonly #events: TokenEvents;
  readonly #clock: Clock;
  readonly #random: () => number;
  #held: Held | undefined;
  #login: Promise<void> | undefined;
  #check: Promise<boolean> | undefined;
  #validUntilMs = -Infinity;
  #timer: Timer | undefined;
  #failures = 0;
  /** No login is begun before: set by failures, and by logins that brought nothing. */
  #nextLoginAtMs = -Infinity;
  #lastError: unknown;
  #closed = false;

  constructor(source: TokenSource, events: TokenEvents, clock: Clock, random: () => number = Math.random) {
    this.#source = source;
    this.#events = events;
    this.#clock = clock;
    this.#random = random;
  }

  /** A token to send. Waits for a login under way. @throws VaultError `no-login` while none can be had */
  async get(): Promise<string> {
    if (this.#held !== undefined) return this.#held.token;
    await this.#loginNow();
    const held = this.#held as Held | undefined;
    if (held === undefined) throw this.#noLogin();
    return held.token;
  }

  /** When the token ends, wall clock; undefined: never, or there is none. */
  get expiresAtMs(): number | undefined {
    const held = this.#held;
    if (held === undefined || held.ttlMs === 0) return undefined;
    return this.#clock.now() + held.endsAtMs - this.#clock.monotonic();
  }

  /** When the token ends and what its last grant was; undefined where {@link expiresAtMs} is. */
  get life(): { readonly expiresAtMs: number; readonly ttlMs: number } | undefined {
    const { expiresAtMs } = this;
    return expiresAtMs === undefined ? undefined : { expiresAtMs, ttlMs: this.#held!.ttlMs };
  }

  /** Why there is no token, as far as is known; undefined while there is one. */
  get trouble(): VaultError | undefined {
    return this.#held === undefined ? this.#noLogin() : undefined;
  }

  /** The failure of the last login; undefined when it succeeded. */
  get lastError(): unknown {
    return this.#lastError;
  }

  /** Vault did what was asked with `token`. */
  accepted(token: string): void {
    if (this.#held?.token !== token || this.#held.proved) return;
    this.#held.proved = true;
    this.#failures = 0;
  }

  /**
   * Vault answered 403 to `token`. `again`: there is another token to try. `policy`: the token is good, and its policies do not allow
   * the call. `no-login`: the token is not, and no other can be had now.
   */
  async refused(token: string): Promise<'again' | 'policy' | 'no-login'> {
    if (this.#heldToken() === token) {
      if (this.#clock.monotonic() < this.#validUntilMs) return 'policy';
      this.#check ??= this.#lookAt(token).finally(() => (this.#check = undefined));
      if (await this.#check) return 'policy';
    }
    if (this.#heldToken() === token || this.#held === undefined) await this.#loginNow();
    const now = this.#heldToken();
    return now === undefined || now === token ? 'no-login' : 'again';
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#held = undefined;
  }

  #heldToken(): string | undefined {
    return this.#held?.token;
  }

  /** True: the token is good. What cannot be asked changes nothing. */
  async #lookAt(token: string): Promise<boolean> {
    try {
      await this.#source.lookup(token);
    } catch (error) {
      if (isVaultProblem(error, 'forbidden')) return false;
    }
    this.#validUntilMs = this.#clock.monotonic() + trustMs;
    return true;
  }

  /** One login at a time, and none before its time. Never rejects: who asked looks at what is held. */
  #loginNow(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    if (this.#login !== undefined) return this.#login;
    if (this.#clock.monotonic() < this.#nextLoginAtMs) return Promise.resolve();
    const login = this.#replace().finally(() => {
      if (this.#login === login) this.#login = undefined;
    });
    this.#login = login;
    return login;
  }

  async #replace(): Promise<void> {
    const old = this.#held;
    // A token that was never accepted was no help: the next one has to wait as after a failure.
    if (old !== undefined && !old.proved) this.#failures++;
    try {
      const grant = await this.#source.login();
      if (this.#closed) return;
      if (old !== undefined) await this.#settle(grant, old);
      this.#take(grant);
      this.#lastError = undefined;
      this.#nextLoginAtMs = this.#clock.monotonic() + (this.#failures === 0 ? 0 : this.#wait());
      this.#events.loggedIn(grant.ttlMs);
    } catch (error) {
      this.#lastError = error;
      const waitMs = this.#wait();
      this.#failures++;
      this.#nextLoginAtMs = this.#clock.monotonic() + waitMs;
      this.#events.failed('login', error, waitMs);
      this.#setTimer(waitMs, () => void this.#loginNow());
    }
  }

  /**
   * Waits until Vault accepts the new token, while the old one goes on: a standby may not have heard of it yet. A lookup that stays
   * forbidden can also mean that policies do not allow it; then the new token is taken all the same.
   */
  async #settle({ token }: Grant, old: Held): Promise<void> {
    const nowMs = this.#clock.monotonic();
    const left = old.ttlMs === 0 ? mostDoubtMs : (old.endsAtMs - nowMs) / 2;
    const untilMs = nowMs + Math.min(mostDoubtMs, left);
    for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 5_000)) {
      try {
        await this.#source.lookup(token);
        return;
      } catch {
        // With the old one refused as well, nothing is won by waiting.
        if (this.#clock.monotonic() + waitMs >= untilMs || !(await this.#stillGood(old))) return;
      }
      await new Promise<void>((resolve) => {
        this.#clock.setTimer(waitMs, resolve).keepAlive(false);
      });
      if (this.#clock.monotonic() >= untilMs) return;
    }
  }

  async #stillGood({ token }: Held): Promise<boolean> {
    return this.#source.lookup(token).then(
      () => true,
      (error: unknown) => !isVaultProblem(error, 'forbidden'),
    );
  }

  #take(grant: Grant): void {
    this.#validUntilMs = -Infinity;
    this.#held = {
      token: grant.token,
      renewable: grant.renewable,
      ttlMs: grant.ttlMs,
      endsAtMs: this.#clock.monotonic() + grant.ttlMs,
      proved: this.#held?.token === grant.token && this.#held.proved,
    };
    if (grant.ttlMs > 0)
      this.#plan(grant.ttlMs * renewShare * (1 - renewJitter + this.#random() * 2 * renewJitter));
    else this.#timer?.cancel();
  }

  #plan(afterMs: number): void {
    const stepMs = Math.min(Math.max(afterMs, shortestPlanMs), longestTimerMs);
    this.#setTimer(stepMs, () => {
      if (afterMs > stepMs) this.#plan(afterMs - stepMs);
      else void this.#prolong();
    });
  }

  async #prolong(): Promise<void> {
    const held = this.#held;
    if (held === undefined || this.#closed) return;
    if (held.renewable && this.#source.isOutdated?.() !== true) {
      try {
        const grant = await this.#source.renew(held.token);
        if (this.#closed || this.#heldToken() !== held.token) return;
        // Near its longest life Vault grants less and less: then a new one is due.
        if (grant.ttlMs === 0 || grant.ttlMs >= held.ttlMs / 2) {
          this.#take({ ...grant, token: held.token });
          this.#failures = 0;
          this.#events.renewed(grant.ttlMs);
          return;
        }
        this.#held = { ...held, ttlMs: grant.ttlMs, endsAtMs: this.#clock.monotonic() + grant.ttlMs };
      } catch (error) {
        if (!isVaultProblem(error, 'forbidden', 'refused')) {
          const waitMs = this.#wait();
          this.#failures++;
          this.#events.failed('renewal', error, waitMs);
          this.#setTimer(waitMs, () => void this.#prolong());
          return;
        }
        this.#events.failed('renewal', error, 0);
      }
    }
    const waitMs = this.#nextLoginAtMs - this.#clock.monotonic();
    if (waitMs > 0) this.#setTimer(waitMs, () => void this.#loginNow());
    else await this.#loginNow();
  }

  /** Half of it fixed, half by chance, so that replicas that failed together do not come back together. */
  #wait(): number {
    const mostMs = Math.min(firstWaitMs * 2 ** Math.min(this.#failures, 10), longestWaitMs);
    return mostMs * (0.5 + this.#random() * 0.5);
  }

  #setTimer(afterMs: number, run: () => void): void {
    this.#timer?.cancel();
    if (this.#closed) return;
    this.#timer = this.#clock.setTimer(Math.min(afterMs, longestTimerMs), run);
    this.#timer.keepAlive(false);
  }

  /** For calls that cannot be made. */
  #noLogin(): VaultError {
    const last = this.#lastError;
    const why = last instanceof VaultError ? (last.detail ?? '') : last instanceof Error ? last.message : '';
    return new VaultError({
      problem: 'no-login',
      action: 'get a token',
      ...(why === '' ? {} : { messages: [why] }),
      cause: last,
    });
  }
}
