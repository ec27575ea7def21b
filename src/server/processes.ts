/**
 * `processes: N`: a supervisor that starts N workers of this same program, which share the port by SO_REUSEPORT, and one more,
 * `streams`, for listeners with `process: own`. It holds no keys. It shows their metrics and health on the probe listener, starts a worker again that died, passes signals on, and carries key invalidations from each worker to the others.
 */
import { fork, type ChildProcess } from 'node:child_process';
import type { Config, ListenerConfig } from '../config/model.ts';
import { createProbeServer, type WorkerName, type WorkerReport } from '../telemetry/index.ts';
import { replicaId, type RestraintMessage } from './peers.ts';
import { WorkersReports } from './worker-reports.ts';

/** By the configuration's order of listeners; null where another process has the listener. */
export type PortsOfWorker = readonly (number | null)[];

export type WorkerMessage =
  | { readonly kind: 'started'; readonly ports: PortsOfWorker }
  /** Asked by the supervisor, answered by the worker with what it says of itself. */
  | { readonly kind: 'ask' }
  | { readonly kind: 'report'; readonly report: WorkerReport }
  | { readonly kind: 'invalidate'; readonly tenant: string; readonly key: string }
  | RestraintMessage;

/** What goes from each worker to all others as it is. */
const passedOn: ReadonlySet<WorkerMessage['kind']> = new Set([
  'invalidate',
  'restraint',
  'restraints-wanted',
  'settled',
]);

const nameVariable = 'SELLO_WORKER';

/** True when a configuration takes more than one process. */
export function isSupervised({ processes, listeners }: Pick<Config, 'processes' | 'listeners'>): boolean {
  return processes > 1 || listeners.some(({ ownProcess }) => ownProcess);
}

/** Which worker this process is; undefined in a supervisor or a server of one process. */
export function workerName(): WorkerName | undefined {
  const text = process.env[nameVariable];
  if (text === undefined || process.send === undefined) return undefined;
  return text === 'streams' ? text : Number(text);
}

/** Listeners that this process has: all of them without a supervisor. */
export function isServedHere({ ownProcess }: Pick<ListenerConfig, 'ownProcess'>): boolean {
  const name = workerName();
  return name === undefined || ownProcess === (name === 'streams');
}

/** Workers of one server share a file keystore: it belongs to their supervisor. */
export function workerOwnerPid(): { ownerPid: number } | undefined {
  return workerName() === undefined ? undefined : { ownerPid: process.ppid };
}

export function tellSupervisor(message: WorkerMessage): void {
  // Without its supervisor a worker is about to stop; what it had to say concerns nobody.
  if (workerName() !== undefined && process.connected) process.send!(message, () => undefined);
}

export function onSupervisorMessage(listener: (message: WorkerMessage) => void): void {
  if (workerName() === undefined) return;
  process.on('message', (message) => listener(message as WorkerMessage));
  // Listening holds the channel, and the channel would hold a worker that has stopped serving.
  process.channel?.unref();
  // A worker without its supervisor would be started by nobody and stopped by nobody.
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
}

export interface SuperviseOptions {
  readonly config: Pick<Config, 'processes' | 'listeners'>;
  /** Where the supervisor shows the metrics and the health of its workers. */
  readonly probes: Config['probes'];
  readonly print: (line: string) => void;
  readonly started: (ports: readonly number[]) => void;
}

/** A worker that dies young is started again this much later, doubled each time up to the second figure. */
const restartMs = { first: 100, most: 10_000, resetAfter: 60_000 };

/** Resolves to the exit status once every worker has ended. @throws when the probe port cannot be opened */
export async function superviseWorkers(options: SuperviseOptions): Promise<number> {
  const workers = new Map<WorkerName, ChildProcess>();
  const names = workerNames(options.config);
  const reports = new WorkersReports(names, workers);
  const probes = options.probes === undefined ? undefined : await createProbeServer(options.probes, reports);
  const status = await supervise(options, names, workers, reports);
  await probes?.close();
  return status;
}

function workerNames({ processes, listeners }: SuperviseOptions['config']): WorkerName[] {
  const names: WorkerName[] = Array.from({ length: processes }, (_, index) => index);
  return listeners.some(({ ownProcess }) => ownProcess) ? [...names, 'streams'] : names;
}

function supervise(
  options: SuperviseOptions,
  names: readonly WorkerName[],
  workers: Map<WorkerName, ChildProcess>,
  reports: WorkersReports,
): Promise<number> {
  return new Promise((resolve) => {
    let stopping = false;
    let everStarted = false;
    let ready = 0;
    const ports: number[] = [];
    let status = 0;

    // Processes of one server are one replica to its peers.
    replicaId();
    const start = (name: WorkerName, delayMs: number): void => {
      const worker = fork(process.argv[1]!, process.argv.slice(2), {
        env: { ...process.env, [nameVariable]: String(name) },
        execArgv: process.execArgv,
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      workers.set(name, worker);
      const startedAtMs = performance.now();
      worker.on('message', (raw) => {
        const message = raw as WorkerMessage;
        if (message.kind === 'report') reports.take(worker, message.report);
        else if (message.kind === 'started') {
          reports.started(worker);
          message.ports.forEach((port, i) => {
            if (port !== null) ports[i] = port;
          });
          if (++ready === names.length && !everStarted) {
            everStarted = true;
            options.started(ports);
          }
        } else if (passedOn.has(message.kind)) {
          for (const [other, child] of workers)
            if (other !== name && child.connected) child.send(message, () => undefined);
        }
      });
      // A worker that cannot be reached, or not be started, is one that ends: 'exit' follows or the timer below.
      worker.on('error', (error) => options.print(`worker ${name}: ${error.message}`));
      worker.on('exit', (code, signal) => {
        workers.delete(name);
        if (stopping || !everStarted) {
          // A worker that is told to stop before it can listen to signals ends by the signal itself.
          if (code !== 0 && !(stopping && signal === 'SIGTERM')) status = code ?? 1;
          if (!everStarted && !stopping) stopAll('SIGTERM');
          if (workers.size === 0) resolve(status);
          return;
        }
        if (code === 0) {
          // Asked to stop, not died: its place is filled at once.
          start(name, restartMs.first);
          return;
        }
        const young = performance.now() - startedAtMs < restartMs.resetAfter;
        const nextMs = young ? Math.min(delayMs * 2, restartMs.most) : restartMs.first;
        options.print(`worker ${name} ended (${signal ?? code}); starting it again in ${delayMs} ms`);
        setTimeout(() => {
          if (!stopping) start(name, nextMs);
        }, delayMs);
      });
    };

    const stopAll = (signal: NodeJS.Signals): void => {
      stopping = true;
      for (const worker of workers.values()) worker.kill(signal);
      if (workers.size === 0) resolve(status);
    };
    process.on('SIGHUP', () => {
      for (const worker of workers.values()) worker.kill('SIGHUP');
    });
    process.once('SIGTERM', () => stopAll('SIGTERM'));
    process.once('SIGINT', () => stopAll('SIGTERM'));
    for (const name of names) start(name, restartMs.first);
  });
}
