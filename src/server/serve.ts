/**
 * `sello serve`: load the configuration, start one process or several, reload on SIGHUP and when files change, stop on SIGTERM.
 */
import os from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { checkConfig, loadConfig, watchedFiles, watchFiles, type FileWatch } from '../config/index.ts';
import type { Config } from '../config/model.ts';
import { SelloError } from '../errors.ts';
import {
  isServedHere,
  isSupervised,
  onSupervisorMessage,
  superviseWorkers,
  tellSupervisor,
  workerName,
} from './processes.ts';
import { startServer, type Server } from './server.ts';

export interface ServeOptions {
  readonly configFile: string;
  /** Overrides the address of the first listener, `IP:port`. */
  readonly address?: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  readonly print: (line: string) => void;
}

/** Runs until a signal stops it; resolves to the exit status. */
export async function serve(options: ServeOptions): Promise<number> {
  // Until there is something to reload, the signal must not end the program: what is being read is new anyway.
  process.on('SIGHUP', () => undefined);
  const config = await load(options);
  if (isSupervised(config) && workerName() === undefined) {
    return superviseWorkers({
      config,
      probes: config.probes,
      print: options.print,
      started: (ports) => banner(config, ports, options.print),
    });
  }
  const files = new ConfigFiles();
  await files.watch(config);
  // What changed since the configuration was first read was seen by nobody, so it is read once more behind the watch.
  const server = await startServer(await load(options), {
    onInvalidate: (tenant, key) => tellSupervisor({ kind: 'invalidate', tenant, key }),
    tellProcesses: tellSupervisor,
  });
  if (workerName() === 'streams') yieldToOthers(server);
  for (const notice of config.warnings) server.info.log.warn({ line: notice.line }, notice.message);
  onSupervisorMessage((message) => {
    if (message.kind === 'invalidate') server.invalidate(message.tenant, message.key);
    else if (
      message.kind === 'restraint' ||
      message.kind === 'settled' ||
      message.kind === 'restraints-wanted'
    )
      server.peers.hear(message);
    else if (message.kind === 'ask')
      void server.report().then((report) => tellSupervisor({ kind: 'report', report }));
  });
  if (workerName() === undefined) banner(config, server.ports, options.print);
  tellSupervisor({ kind: 'started', ports: portsByListener(config, server.ports) });
  return run(server, options, files);
}

/** The nice value of the thread that seals and opens: where the processor is short, key calls come first. */
const streamsPriority = 10;

function yieldToOthers({ info }: Server): void {
  try {
    os.setPriority(streamsPriority);
  } catch (error) {
    // A sandbox may forbid the call. Streams are served all the same, and share the processor evenly.
    info.log.warn({ err: error }, 'the streams process cannot lower its priority');
  }
}

function portsByListener({ listeners }: Config, ports: readonly number[]): (number | null)[] {
  const own = [...ports];
  return listeners.map((listener) => (isServedHere(listener) ? own.shift()! : null));
}

/** The files of a configuration, watched from before they are read: no change falls between reading and watching. */
class ConfigFiles {
  #watcher: FileWatch | undefined;
  #watched: readonly string[] = [];
  #early: string[] = [];
  #listener = (changed: string[]): void => void this.#early.push(...changed);

  /** Watches the files of `config` from now on; false when these are watched already. */
  async watch(config: Config): Promise<boolean> {
    const wanted = watchedFiles(config);
    if (isDeepStrictEqual(wanted, this.#watched)) return false;
    this.#watched = wanted;
    const next = await watchFiles(wanted, (changed) => this.#listener(changed));
    this.#watcher?.close();
    this.#watcher = next;
    return true;
  }

  /** `listener` hears of changes from now on, and of those that nobody has heard of yet. */
  onChange(listener: (changed: string[]) => void): void {
    this.#listener = listener;
    if (this.#early.length > 0) listener(this.#early.splice(0));
  }

  close(): void {
    this.#watcher?.close();
  }
}

async function load(options: ServeOptions): Promise<Config> {
  const config = await loadConfig(options.configFile, { env: options.env });
  if (options.address === undefined) return config;
  const parsed = /^(?:\[(.+)\]|([^:]*)):(\d+)$/.exec(options.address);
  const [first, ...rest] = config.listeners;
  if (parsed === null || first === undefined) {
    throw new SelloError('SELLO_CONFIG_INVALID', { detail: `--addr ${options.address}: expected IP:port` });
  }
  const host = parsed[1] ?? (parsed[2] === '' ? '0.0.0.0' : parsed[2]!);
  return { ...config, listeners: [{ ...first, host, port: Number(parsed[3]) }, ...rest] };
}

async function run(server: Server, options: ServeOptions, files: ConfigFiles): Promise<number> {
  const { log } = server.info;
  let reloading = Promise.resolve();
  const reload = (why: string): void => {
    reloading = reloading.then(async () => {
      try {
        const next = await load(options);
        const broken = (await checkConfig(next)).filter(
          (notice) => notice.failsCheck && !next.warnings.includes(notice),
        );
        if (next.dialect === 'sello' && broken.length > 0)
          throw new SelloError('SELLO_CONFIG_INVALID', { detail: broken.map((b) => b.message).join('; ') });
        await server.reload(next);
        // A watch begins with what is there: one that is kept misses nothing, after a new one what it did not see is read again.
        if (await files.watch(next)) reload('other files are watched');
        server.info.metrics.reloaded('ok', Date.now());
        log.info({ why }, 'configuration reloaded');
      } catch (error) {
        server.info.metrics.reloaded('refused', Date.now());
        log.error({ err: error, why }, 'reload refused: what was in force before stays in force');
      }
    });
  };
  if (await files.watch(server.config)) reload('other files are watched');
  files.onChange((changed) => reload(`changed: ${changed.join(', ')}`));
  return new Promise((resolve) => {
    const stop = (signal: string): void => {
      log.info({ signal }, 'stopping');
      files.close();
      server.stop().then(
        () => resolve(0),
        (error: unknown) => {
          log.error({ err: error }, 'stop failed');
          resolve(1);
        },
      );
    };
    process.on('SIGHUP', () => {
      reload('SIGHUP');
      server
        .reopenAudit()
        .catch((error: unknown) => log.error({ err: error }, 'audit file cannot be reopened'));
    });
    process.once('SIGTERM', () => stop('SIGTERM'));
    process.once('SIGINT', () => stop('SIGINT'));
  });
}

function banner(config: Config, ports: readonly number[], print: (line: string) => void): void {
  const hosts = config.listeners.map(
    ({ host }, i) => `https://${host.includes(':') ? `[${host}]` : host}:${ports[i]}`,
  );
  print(`Sello is listening on ${hosts.join(', ')}`);
  for (const tenant of config.tenants) {
    const where = 'path' in tenant.keystore ? ` ${tenant.keystore.path}` : '';
    print(`  tenant ${tenant.name}: keystore ${tenant.keystore.kind}${where}, audit ${tenant.audit.mode}`);
    if (tenant.keystore.kind === 'memory')
      print(`  WARNING tenant ${tenant.name}: keys live in memory only and are lost when Sello stops`);
  }
  if (config.operators !== undefined) {
    const { host, port, url } = config.operators;
    print(`  people on ${url ?? `https://${host.includes(':') ? `[${host}]` : host}:${port}`}`);
  }
  if (config.probes !== undefined)
    print(`  probes and metrics on http://${config.probes.host}:${config.probes.port}`);
}
