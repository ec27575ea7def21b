/**
 * Writes holds to the store once it answers again, and ends them: what an administrator asked for in the outage is then a state of the
 * key like any other. Every replica looks; compare-and-set lets one of them write, and the record says which holds it has.
 */
import { begunStatus, type AuditRecord } from '../audit/record.ts';
import { hasCode, SelloError } from '../errors.ts';
import type { KeyName, KeyringRecord } from '../keys/index.ts';
import type { Tenant } from '../tenants/tenant.ts';
import type { ServerInfo } from './info.ts';

/** Who writes it, in records. Who asked for it stands in the keyring. */
const actor = 'hold';

/** One that the store refuses is told of in the log so often. */
const tellEveryMs = 60_000;

export interface HoldSettlerOptions {
  readonly tenants: () => Iterable<Tenant>;
  readonly server: ServerInfo;
  readonly everyMs: () => number;
}

export class HoldSettler {
  readonly #options: HoldSettlerOptions;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #isClosed = false;
  readonly #toldMs = new Map<string, number>();

  constructor(options: HoldSettlerOptions) {
    this.#options = options;
    this.#wait();
  }

  /** Looks now. Never throws. */
  async look(): Promise<void> {
    for (const tenant of this.#options.tenants()) {
      const names = new Set(tenant.keys.restraints.holds.map(({ key }) => key));
      for (const name of names) {
        // A store that is still away answers at once: one look tells of all its keys.
        if (!(await this.#settle(tenant, name))) break;
      }
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  #wait(): void {
    const waitMs = this.#options.everyMs() * (0.75 + Math.random() / 2);
    this.#timer = setTimeout(() => {
      this.#running = this.look().finally(() => {
        if (!this.#isClosed) this.#wait();
      });
    }, waitMs).unref();
  }

  /** @returns whether the store answered */
  async #settle(tenant: Tenant, name: KeyName): Promise<boolean> {
    const { log } = this.#options.server;
    let stored: KeyringRecord | undefined;
    try {
      stored = await tenant.keys.keyring(name);
    } catch (error) {
      if (error instanceof SelloError && error.retryable) return false;
      if (!hasCode(error, 'SELLO_KEY_NOT_FOUND')) this.#tell(tenant, name, error);
    }
    // What waits for its maker is in force here, and nobody's business until then.
    if (!tenant.keys.hasToSettle(name, stored)) return true;
    const holds = tenant.keys.restraints.of(name);
    const requestId = this.#options.server.newRequestId();
    const asked = [...new Set(holds.map(({ by }) => by))].slice(0, 3).join(', ');
    const record = (status: number, reason: string, error?: SelloError): AuditRecord => ({
      timeMs: Date.now(),
      requestId,
      tenant: tenant.name,
      face: 'server',
      operation: 'state',
      key: name,
      decision: 'allow',
      rule: actor,
      status,
      error: error?.code,
      reason: `${reason}, asked for by ${asked}`,
      durationMs: 0,
    });
    try {
      await tenant.audit.append(record(begunStatus, 'begun'));
      const written = await tenant.keys.settle(name, actor);
      await tenant.audit.append(record(200, written === undefined ? 'the store has them' : 'written'));
      log.info(
        { tenant: tenant.name, key: name, holds: holds.length },
        written === undefined
          ? 'holds are over: nothing was left to write'
          : 'holds written to the key store',
      );
    } catch (error) {
      const known = error instanceof SelloError ? error : new SelloError('SELLO_INTERNAL', { cause: error });
      await Promise.resolve(tenant.audit.append(record(500, 'not written', known))).catch(() => undefined);
      // Another replica was faster, or the store is away again: the next look sees.
      if (!known.retryable) this.#tell(tenant, name, error);
      return !hasCode(known, 'SELLO_STORE_UNREACHABLE');
    }
    return true;
  }

  #tell(tenant: Tenant, name: KeyName, error: unknown): void {
    const id = `${tenant.name}\0${name}`;
    if (performance.now() - (this.#toldMs.get(id) ?? -Infinity) < tellEveryMs) return;
    this.#toldMs.set(id, performance.now());
    this.#options.server.log.error(
      { err: error, tenant: tenant.name, key: name },
      'holds cannot be written to the key store: they stay in force on the replicas that know them',
    );
  }
}
