/**
 * What is done with keys when its time has come: rotations on schedule, deletions whose waiting period is over, the report of use.
 * Every replica and process looks; compare-and-set lets one of them do it. Each act is on record before and after, as one that was
 * asked for.
 */
import type { AuditRecord } from '../audit/record.ts';
import { begunStatus } from '../audit/record.ts';
import type { Clock, Timer } from '../clock.ts';
import { hasCode, SelloError } from '../errors.ts';
import type { DueWork } from '../keys/index.ts';
import type { Tenant } from '../tenants/tenant.ts';
import type { ServerInfo } from './info.ts';

/** Between two looks, give or take a quarter, so that replicas do not look together. */
const lookEveryMs = 60_000;

/** NIST SP 800-57 part 1 §5.3.6: a key that wraps keys seals for two years at most. */
const ageLimitSeconds = 2 * 365 * 24 * 3600;

/** Who rotates and deletes on schedule, in records and keyrings. */
const actor = 'schedule';

export interface ScheduleOptions {
  readonly tenants: () => Iterable<Tenant>;
  readonly server: ServerInfo;
  readonly clock: Clock;
  readonly random?: () => number;
}

export class Schedule {
  readonly #options: ScheduleOptions;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #isClosed = false;
  /** Keys whose age was told of, so that each is told once per process. */
  readonly #told = new Set<string>();

  constructor(options: ScheduleOptions) {
    this.#options = options;
    this.#wait();
  }

  /** Looks now. Never throws. */
  async look(): Promise<void> {
    for (const tenant of this.#options.tenants()) {
      await tenant.keys.flushUses();
      this.#tellAges(tenant);
      try {
        for (const work of await tenant.keys.due()) await this.#do(tenant, work);
      } catch (error) {
        this.#options.server.log.warn(
          { err: error, tenant: tenant.name },
          'what is due for keys could not be looked up',
        );
      }
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#running;
  }

  #wait(): void {
    const { clock, random = Math.random } = this.#options;
    this.#timer = clock.setTimer(lookEveryMs * (0.75 + random() / 2), () => {
      this.#running = this.look().finally(() => {
        if (!this.#isClosed) this.#wait();
      });
    });
    this.#timer.keepAlive(false);
  }

  async #do(tenant: Tenant, work: DueWork): Promise<void> {
    const { clock, server } = this.#options;
    const startMs = clock.monotonic();
    const requestId = server.newRequestId();
    const record = (status: number, error?: SelloError): AuditRecord => ({
      timeMs: clock.now(),
      requestId,
      tenant: tenant.name,
      face: 'server',
      operation: work.kind,
      key: work.name,
      decision: 'allow',
      rule: actor,
      status,
      error: error?.code,
      reason: status === begunStatus ? 'begun' : undefined,
      durationMs: clock.monotonic() - startMs,
    });
    try {
      await tenant.audit.append(record(begunStatus));
      if (work.kind === 'rotate') await tenant.keys.rotateWhenDue(work.name, actor);
      else await tenant.keys.completeDeletion(work.name, actor);
      await tenant.audit.append(record(200));
      server.log.info(
        { tenant: tenant.name, key: work.name },
        `key ${work.kind === 'rotate' ? 'rotated' : 'deleted'} on schedule`,
      );
    } catch (error) {
      const known = error instanceof SelloError ? error : new SelloError('SELLO_INTERNAL', { cause: error });
      // Another replica was faster: it has done the work and says so in its own records.
      const isDone = hasCode(error, 'SELLO_RECORD_CONFLICT') || hasCode(error, 'SELLO_KEY_NOT_FOUND');
      if (!isDone)
        server.log.error(
          { err: error, tenant: tenant.name, key: work.name },
          `key not ${work.kind === 'rotate' ? 'rotated' : 'deleted'} on schedule`,
        );
      await Promise.resolve(tenant.audit.append(record(isDone ? 409 : 500, known))).catch(() => undefined);
    }
  }

  #tellAges({ keys, name: tenant }: Tenant): void {
    const aged = keys.olderThan(ageLimitSeconds);
    this.#options.server.metrics.agedKeys(tenant, aged.length);
    for (const key of aged) {
      const id = `${tenant}\0${key}`;
      if (this.#told.has(id)) continue;
      this.#told.add(id);
      this.#options.server.log.warn(
        { tenant, key },
        'key has sealed with one version for more than two years: rotate it (NIST SP 800-57 part 1, 5.3.6)',
      );
    }
  }
}
