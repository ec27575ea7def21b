/** One process of Sello: listeners, probes, reload and stop. */
import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import type { People } from '../access/people/index.ts';
import type { Config, OperatorsConfig } from '../config/model.ts';
import { SelloError } from '../errors.ts';
import { systemClock } from '../clock.ts';
import {
  createHealth,
  createLogger,
  createMetrics,
  createProbeServer,
  newRequestId,
  openTracing,
  type Health,
  type Log,
  type WorkerReport,
} from '../telemetry/index.ts';
import { Gate } from './gate.ts';
import type { OpenStream, ServerInfo } from './info.ts';
import { KeyListener, secureContextOptions } from './listener.ts';
import { OperatorsListener } from './operators.ts';
import { isServedHere, isSupervised, workerName } from './processes.ts';
import { HoldSettler } from './hold-settler.ts';
import { Peers, type RestraintMessage } from './peers.ts';
import { openRuntime, type Runtime } from './runtime.ts';
import { Schedule } from './schedule.ts';
import { VaultError } from '../vault/index.ts';

const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

export interface StartOptions {
  /** Where log lines go, a file descriptor or a path; standard error unless said otherwise. */
  readonly logTo?: number | string;
  /** Tells other processes of this server that a key ended here. */
  readonly onInvalidate?: (tenant: string, key: string) => void;
  /** Tells them what restrains a key. */
  readonly tellProcesses?: (message: RestraintMessage) => void;
}

/** Longer than the longest request: KES's routes end after 15 s. */
const retireAfterMs = 20_000;

/** How long a stopping server goes on accepting, so that connections on their way to it are not lost. */
const drainMs = 500;

export class Server {
  readonly #gate: Gate;
  readonly #listeners: KeyListener[];
  readonly #operators: { readonly listener: OperatorsListener; readonly port: number } | undefined;
  readonly #probes: { close(): Promise<void>; port: number } | undefined;
  readonly #options: StartOptions;
  readonly #streams: Set<OpenStream>;
  readonly info: ServerInfo;
  readonly health: Health;
  /** Ports in use, one per listener, in the configuration's order. */
  readonly ports: readonly number[];
  readonly #log: Log;
  #withdrawHealth: () => void;
  readonly #schedule: Schedule;
  readonly peers: Peers;
  readonly #holds: HoldSettler | undefined;
  readonly #retiring = new Set<() => void>();
  #stopping: Promise<void> | undefined;

  constructor(parts: {
    gate: Gate;
    listeners: KeyListener[];
    operators: { readonly listener: OperatorsListener; readonly port: number } | undefined;
    probes: { close(): Promise<void>; port: number } | undefined;
    options: StartOptions;
    streams: Set<OpenStream>;
    info: ServerInfo;
    health: Health;
    ports: readonly number[];
    log: Log;
    peers: Peers;
    withdrawHealth: () => void;
  }) {
    this.#gate = parts.gate;
    this.#listeners = parts.listeners;
    this.#operators = parts.operators;
    this.#probes = parts.probes;
    this.#options = parts.options;
    this.#streams = parts.streams;
    this.info = parts.info;
    this.health = parts.health;
    this.ports = parts.ports;
    this.#log = parts.log;
    this.#withdrawHealth = parts.withdrawHealth;
    this.#schedule = new Schedule({
      tenants: () => this.#gate.runtime.tenants.values(),
      server: parts.info,
      clock: systemClock,
    });
    this.peers = parts.peers;
    this.#holds = !isLead()
      ? undefined
      : new HoldSettler({
          tenants: () => this.#gate.runtime.tenants.values(),
          server: parts.info,
          everyMs: () => this.config.propagationMs / 4,
        });
  }

  get config(): Config {
    return this.#gate.runtime.config;
  }

  get runtime(): Runtime {
    return this.#gate.runtime;
  }

  /** Every path that a listener routes. */
  get routes(): string[] {
    return [...new Set(this.#listeners.flatMap((listener) => [...listener.routes]))];
  }

  /** Every path of the listener for people. */
  get operatorsRoutes(): string[] {
    return [...(this.#operators?.listener.routes ?? [])];
  }

  /** What this process says of itself to its supervisor. */
  async report(): Promise<WorkerReport> {
    return { metrics: await this.info.metrics.snapshot(), health: this.health.report() };
  }

  /** Of the listener for people, where this process has it. */
  get operatorsPort(): number | undefined {
    return this.#operators?.port;
  }

  /** Who people are and what they may at this moment, where this process has their listener. */
  get people(): People | undefined {
    return this.#operators?.listener.people;
  }

  get probePort(): number | undefined {
    return this.#probes?.port;
  }

  /**
   * Puts a new configuration in force, or throws and leaves all as it is. Listener addresses, process count and the probe
   * address need a restart; a change of those is refused here so that nobody believes it took effect.
   */
  async reload(config: Config): Promise<void> {
    const running = this.#gate.runtime;
    if (!isDeepStrictEqual(fixedParts(config), fixedParts(running.config))) {
      throw new SelloError('SELLO_CONFIG_INVALID', {
        detail:
          'listener and peer addresses and names, limits, log, processes, probes, traces and the folder of holds change only with a restart',
      });
    }
    const people = hasOperators(config) ? this.#operators?.listener.prepare(config) : undefined;
    const next = await openRuntime(config, {
      server: this.info,
      previous: running,
      ...invalidation(this.#options),
      peers: this.peers,
    });
    try {
      this.peers.reload(config);
      servedOf(config).forEach((listener, i) => this.#listeners[i]!.reloadTls(listener.tls));
      if (people !== undefined) this.#operators?.listener.reload(people);
    } catch (error) {
      servedOf(running.config).forEach((listener, i) => {
        try {
          this.#listeners[i]!.reloadTls(listener.tls);
        } catch {
          // The old files are gone too; what is in memory stays in force.
        }
      });
      try {
        this.peers.reload(running.config);
      } catch {
        // As above.
      }
      await next.retire(running);
      throw error;
    }
    this.#gate.runtime = next;
    for (const [name, tenant] of next.tenants) {
      const before = running.tenants.get(name);
      const isKept = before?.keys === tenant.keys;
      if (isKept && !isDeepStrictEqual(before.config.cache, tenant.config.cache))
        tenant.keys.useCache(tenant.config.cache);
    }
    this.#withdrawHealth();
    this.#withdrawHealth = watchHealth(this.health, next);
    for (const stream of this.#streams) stream.rejudge();
    this.#retireLater(running, next);
  }

  /** Requests that began under the old configuration may still use its keystores and audit streams. */
  #retireLater(old: Runtime, next: Runtime): void {
    const retire = (): void => {
      clearTimeout(timer);
      this.#retiring.delete(retire);
      old
        .retire(next)
        .catch((error: unknown) => this.info.log.error({ err: error }, 'old configuration not closed'));
    };
    const timer = setTimeout(retire, retireAfterMs).unref();
    this.#retiring.add(retire);
  }

  /** Goes on in the files that the audit paths name now (after logrotate). */
  async reopenAudit(): Promise<void> {
    const { tenants, serverAudit } = this.#gate.runtime;
    await Promise.all([
      serverAudit.file.reopen(),
      ...[...tenants.values()].map((tenant) => tenant.audit.reopen()),
    ]);
  }

  /** Another process ended this key. */
  invalidate(tenant: string, key: string): void {
    this.#gate.runtime.tenants.get(tenant)?.keys.forget(key);
  }

  /** Ends without losing a request that has arrived. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.health.drain();
    const { shutdownTimeoutMs } = this.config.limits;
    const streams = setTimeout(() => this.#endStreams(), drainMs);
    await Promise.all([
      ...this.#listeners.map((listener) => listener.stop(drainMs, shutdownTimeoutMs)),
      this.#operators?.listener.stop(shutdownTimeoutMs),
    ]);
    clearTimeout(streams);
    await this.#schedule.close();
    await this.#holds?.close();
    await this.peers.stop();
    for (const retire of [...this.#retiring]) retire();
    await this.#gate.runtime.retire(undefined);
    await this.#probes?.close();
    await this.info.tracing?.close();
    this.health.close();
    this.#log.flush();
  }

  #endStreams(): void {
    for (const stream of this.#streams) stream.end();
  }
}

/** Of the processes of a server one listens to people and peers, and writes what was held. */
function isLead(): boolean {
  return (workerName() ?? 0) === 0;
}

/** In the configuration's order. */
function servedOf({ listeners }: Config): Config['listeners'] {
  return listeners.filter(isServedHere);
}

/** What listeners are made with: a change would look accepted and have no effect. */
function fixedParts(config: Config): unknown {
  const { listeners, limits, log, processes, probes, operators, peers, holdsFolder, traces } = config;
  const { maxRequestsInFlight: _read, shutdownTimeoutMs: _too, ...made } = limits;
  const addresses = listeners.map(({ host, port, serverNames, ownProcess, tenantWithoutCertificate }) => [
    host,
    port,
    serverNames,
    ownProcess,
    tenantWithoutCertificate,
  ]);
  const people = [operators?.host, operators?.port];
  return [addresses, made, log, processes, probes, people, peers?.host, peers?.port, holdsFolder, traces];
}

function invalidation(options: StartOptions): { onInvalidate?: (tenant: string, key: string) => void } {
  return options.onInvalidate === undefined ? {} : { onInvalidate: options.onInvalidate };
}

/** What /readyz asks of each tenant. Returns how to withdraw it. */
function watchHealth(health: Health, runtime: Runtime): () => void {
  const withdraw = [...runtime.tenants.values()].flatMap((tenant) => [
    health.poll('keystore', tenant.name, () => tenant.keys.health().catch(sayWhatIsMissing)),
    health.check('audit', tenant.name, () => tenant.audit.trouble),
  ]);
  return () => {
    for (const each of withdraw) each();
  };
}

function hasOperators(config: Config): config is Config & { readonly operators: OperatorsConfig } {
  return config.operators !== undefined;
}

/** Opens keystores and audit streams, then listens. Throws before anything listens when the configuration cannot be used. */
export async function startServer(config: Config, options: StartOptions = {}): Promise<Server> {
  // Before anything is opened or made: a server that cannot listen leaves no trace.
  for (const listener of config.listeners) secureContextOptions(listener.tls);
  if (config.operators !== undefined) secureContextOptions(config.operators.tls);
  const log = createLogger(config.log, { destination: options.logTo ?? 2 });
  const metrics = createMetrics({ version: manifest.version });
  log.onError((_message, tenant) => metrics.errorLogged(tenant));
  const streams = new Set<OpenStream>();
  const info: ServerInfo = {
    version: manifest.version,
    commit: process.env['SELLO_COMMIT'] ?? 'unknown',
    log: log.logger,
    metrics,
    tracing:
      config.traces === undefined
        ? undefined
        : await openTracing(config.traces, {
            version: manifest.version,
            count: (outcome, spans) => metrics.spans(outcome, spans),
            onTrouble: (trouble) => {
              if (trouble === undefined) log.logger.info('traces are exported again');
              else log.logger.warn({ problem: trouble }, 'traces cannot be exported and are dropped');
            },
          }),
    onErrorLine: (listener) => log.onError(listener),
    newRequestId,
    openStream(sink) {
      streams.add(sink);
      return () => streams.delete(sink);
    },
  };
  const serving: { gate?: Gate } = {};
  const peers = new Peers({
    server: info,
    tenants: () => serving.gate?.runtime.tenants ?? new Map(),
    isLead: isLead(),
    tellProcesses: (message) => options.tellProcesses?.(message),
  });
  const runtime = await openRuntime(config, {
    server: info,
    previous: undefined,
    ...invalidation(options),
    peers,
  });
  const gate = new Gate(runtime);
  serving.gate = gate;
  const health = createHealth(systemClock);
  metrics.checks(() => health.states());
  const withdrawHealth = watchHealth(health, runtime);
  const listeners = servedOf(config).map(
    (listener) =>
      new KeyListener(listener, {
        limits: config.limits,
        gate,
        server: info,
        reusePort: config.processes > 1 && !listener.ownProcess,
      }),
  );
  const ports: number[] = [];
  let people: OperatorsListener | undefined;
  try {
    await peers.start(config);
    for (const listener of listeners) ports.push(await listener.listen());
    // Sessions live in one process: of several the first has the listener.
    if (hasOperators(config) && isLead())
      people = new OperatorsListener(config, {
        limits: config.limits,
        gate,
        server: info,
        served: () => listeners.map(({ served }) => served).filter((served) => served !== undefined),
      });
    const operators = people === undefined ? undefined : { listener: people, port: await people.listen() };
    // Of several processes the supervisor shows them all on one port.
    const probes =
      config.probes === undefined || (isSupervised(config) && workerName() !== undefined)
        ? undefined
        : await createProbeServer(config.probes, {
            alive: () => true,
            report: () => health.report(),
            metrics: (openMetrics) => metrics.text(openMetrics),
          });
    return new Server({
      gate,
      listeners,
      operators,
      probes,
      options,
      streams,
      info,
      health,
      ports,
      log,
      peers,
      withdrawHealth,
    });
  } catch (error) {
    await peers.stop();
    await Promise.all([...listeners.map((listener) => listener.stop(0, 100)), people?.stop(100)]);
    await runtime.retire(undefined);
    await info.tracing?.close();
    throw error;
  }
}

/** Readiness names the dependency: of a VaultError the kind of problem, and nothing that Vault said. */
function sayWhatIsMissing(error: unknown): never {
  throw error instanceof VaultError ? new Error(`vault: ${error.problem}`) : error;
}
