/**
 * `processes: N`: a supervisor that starts N workers of this same program, which share the port by SO_REUSEPORT. It holds no
 * keys. It shows their metrics and health on the probe listener, starts a worker again that died, passes signals on, and carries key invalidations from each worker to the others.
 */
import { fork, type ChildProcess } from 'node:child_process';
import type { Config } from '../config/model.ts';
import { createProbeServer, type WorkerReport } from '../telemetry/index.ts';
import { WorkersReports } from './worker-reports.ts';

export type WorkerMessage =
  | { readonly kind: 'started'; readonly ports: readonly number[] }
  /** Asked by the supervisor, answered by the worker with what it says of itself. */
  | { readonly kind: 'ask' }
  | { readonly kind: 'report'; readonly report: WorkerReport }
  | { readonly kind: 'invalidate'; readonly tenant: string; readonly key: string };

const indexVariable = 'SELLO_WORKER';

/** Which worker this process is; undefined in a supervisor or a server of one process. */
export function workerIndex(): number | undefined {
  const text = process.env[indexVariable];
  return text === undefined || process.send === undefined ? undefined : Number(text);
}

/** Workers of one server share a file keystore: it belongs to their supervisor. */
export function workerOwnerPid(): { ownerPid: number } | undefined {
  return workerIndex() === undefined ? undefined : { ownerPid: process.ppid };
}

export function tellSupervisor(message: WorkerMessage): void {
  // Without its supervisor a worker is about to stop; what it had to say concerns nobody.
  if (workerIndex() !== undefined && process.connected) process.send!(message, () => undefined);
}

export function onSupervisorMessage(listener: (message: WorkerMessage) => void): void {
  if (workerIndex() === undefined) return;
  process.on('message', (message) => listener(message as WorkerMessage));
  // Listening holds the channel, and the channel would hold a worker that has stopped serving.
  process.channel?.unref();
  // A worker without its supervisor would be started by nobody and stopped by nobody.
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'));
}

export interface SuperviseOptions {
  readonly processes: number;
  /** Where the supervisor shows the metrics and the health of its workers. */
  readonly probes: Config['probes'];
  readonly print: (line: string) => void;
  readonly started: (ports: readonly number[]) => void;
}

/** A worker that dies young is started again this much later, doubled each time up to the second figure. */
const restartMs = { first: 100, most: 10_000, resetAfter: 60_000 };

/** Resolves to the exit status once every worker has ended. @throws when the probe port cannot be opened */
export async function superviseWorkers(options: SuperviseOptions): Promise<number> {
  const workers = new Map<number, ChildProcess>();
  const reports = new WorkersReports(options.processes, workers);
  const probes = options.probes === undefined ? undefined : await createProbeServer(options.probes, reports);
  const status = await supervise(options, workers, reports);
  await probes?.close();
  return status;
}

function supervise(
  options: SuperviseOptions,
  workers: Map<number, ChildProcess>,
  reports: WorkersReports,
): Promise<number> {
  return new Promise((resolve) => {
    let stopping = false;
    let everStarted = false;
    let ready = 0;
    let status = 0;

    const start = (index: number, delayMs: number): void => {
      const worker = fork(process.argv[1]!, process.argv.slice(2), {
        env: { ...process.env, [indexVariable]: String(index) },
        execArgv: process.execArgv,
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      workers.set(index, worker);
      const startedAtMs = performance.now();
      worker.on('message', (raw) => {
        const message = raw as WorkerMessage;
        if (message.kind === 'report') reports.take(worker, message.report);
        else if (message.kind === 'started') {
          reports.started(worker);
          if (++ready === options.processes && !everStarted) {
            everStarted = true;
            options.started(message.ports);
          }
        } else if (message.kind === 'invalidate') {
          for (const [other, child] of workers)
            if (other !== index && child.connected) child.send(message, () => undefined);
        }
      });
      // A worker that cannot be reached, or not be started, is one that ends: 'exit' follows or the timer below.
      worker.on('error', (error) => options.print(`worker ${index}: ${error.message}`));
      worker.on('exit', (code, signal) => {
        workers.delete(index);
        if (stopping || !everStarted) {
          // A worker that is told to stop before it can listen to signals ends by the signal itself.
          if (code !== 0 && !(stopping && signal === 'SIGTERM')) status = code ?? 1;
          if (!everStarted && !stopping) stopAll('SIGTERM');
          if (workers.size === 0) resolve(status);
          return;
        }
        if (code === 0) {
          // Asked to stop, not died: its place is filled at once.
          start(index, restartMs.first);
          return;
        }
        const young = performance.now() - startedAtMs < restartMs.resetAfter;
        const nextMs = young ? Math.min(delayMs * 2, restartMs.most) : restartMs.first;
        options.print(`worker ${index} ended (${signal ?? code}); starting it again in ${delayMs} ms`);
        setTimeout(() => {
          if (!stopping) start(index, nextMs);
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
    for (let index = 0; index < options.processes; index++) start(index, restartMs.first);
  });
}
