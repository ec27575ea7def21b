/**
 * Whether this process can do its work. Each dependency is a named check, of the whole process or of one tenant. The
 * process is ready while no check of its own fails and at least one tenant has none that fails: one tenant's broken disk
 * must not take the node away from the others.
 */
import type { Clock, Timer } from '../clock.ts';

export interface HealthReport {
  readonly ready: boolean;
  readonly failing: readonly { readonly check: string; readonly tenant?: string; readonly detail: string }[];
}

export interface Health {
  /** Asked at every report. Returns why it fails, in words that may leave the process. Returns how to withdraw it. */
  check(name: string, tenant: string | undefined, failing: () => string | undefined): () => void;
  /** Runs `probe` every so often; one that rejects or is not done in time fails. Returns how to withdraw it. */
  poll(name: string, tenant: string | undefined, probe: () => Promise<void>, timing?: PollTiming): () => void;
  /** From now on not ready: the listener is about to close. */
  drain(): void;
  report(): HealthReport;
  /** Every check as it stands, for metrics. */
  states(): { readonly check: string; readonly tenant: string | undefined; readonly isUp: boolean }[];
  close(): void;
}

export interface PollTiming {
  readonly everyMs: number;
  readonly timeoutMs: number;
}

/** Often enough that a load balancer hears within its usual two probes. */
const defaultTiming: PollTiming = { everyMs: 5_000, timeoutMs: 3_000 };

interface Check {
  readonly name: string;
  readonly tenant: string | undefined;
  readonly failing: () => string | undefined;
}

export function createHealth(clock: Clock): Health {
  return new CheckList(clock);
}

class CheckList implements Health {
  readonly #clock: Clock;
  readonly #checks = new Set<Check>();
  readonly #polls = new Set<() => void>();
  #draining = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  check(name: string, tenant: string | undefined, failing: () => string | undefined): () => void {
    const check = { name, tenant, failing };
    this.#checks.add(check);
    return () => this.#checks.delete(check);
  }

  poll(
    name: string,
    tenant: string | undefined,
    probe: () => Promise<void>,
    timing = defaultTiming,
  ): () => void {
    let trouble: string | undefined = 'not asked yet';
    let timer: Timer | undefined;
    let stopped = false;
    const ask = (): void => {
      const late = this.#clock.setTimer(timing.timeoutMs, () => {
        trouble = `no answer within ${timing.timeoutMs} ms`;
      });
      late.keepAlive(false);
      // The next round starts when this one has ended: a probe that hangs is not asked a second time.
      const again = (now: string | undefined): void => {
        late.cancel();
        trouble = now;
        if (stopped) return;
        timer = this.#clock.setTimer(timing.everyMs, ask);
        timer.keepAlive(false);
      };
      probe().then(
        () => again(undefined),
        (error: unknown) => again(error instanceof Error ? error.message : 'failed'),
      );
    };
    ask();
    const withdraw = this.check(name, tenant, () => trouble);
    const stop = (): void => {
      stopped = true;
      timer?.cancel();
      this.#polls.delete(stop);
      withdraw();
    };
    this.#polls.add(stop);
    return stop;
  }

  drain(): void {
    this.#draining = true;
  }

  report(): HealthReport {
    const failing: { check: string; tenant?: string; detail: string }[] = [];
    const tenants = new Map<string, boolean>();
    let own = !this.#draining;
    if (this.#draining) failing.push({ check: 'draining', detail: 'server is shutting down' });
    for (const { name, tenant, failing: ask } of this.#checks) {
      const detail = ask();
      if (tenant !== undefined) tenants.set(tenant, (tenants.get(tenant) ?? true) && detail === undefined);
      if (detail === undefined) continue;
      failing.push(tenant === undefined ? { check: name, detail } : { check: name, tenant, detail });
      if (tenant === undefined) own = false;
    }
    const someTenant = tenants.size === 0 || [...tenants.values()].includes(true);
    return { ready: own && someTenant, failing };
  }

  states(): { check: string; tenant: string | undefined; isUp: boolean }[] {
    return [...this.#checks].map(({ name, tenant, failing }) => ({
      check: name,
      tenant,
      isUp: failing() === undefined,
    }));
  }

  close(): void {
    for (const stop of this.#polls) stop();
  }
}
