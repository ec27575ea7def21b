/** What the workers of a supervisor say of themselves, asked for when somebody looks. */
import type { ChildProcess } from 'node:child_process';
import type { Probed, WorkerName, WorkerReport } from '../telemetry/index.ts';
import { joinHealth, joinMetrics } from '../telemetry/index.ts';

/** Less than a probe waits for its answer (Kubernetes: 1 s unless said otherwise) and more than a busy worker takes. */
const answerWithinMs = 800;

export class WorkersReports implements Probed {
  readonly #names: readonly WorkerName[];
  readonly #workers: ReadonlyMap<WorkerName, ChildProcess>;
  /** Workers that have said that they serve. */
  readonly #started = new Set<ChildProcess>();
  #asking: Promise<Map<WorkerName, WorkerReport | undefined>> | undefined;
  readonly #answers = new Map<ChildProcess, (report: WorkerReport) => void>();

  constructor(names: readonly WorkerName[], workers: ReadonlyMap<WorkerName, ChildProcess>) {
    this.#names = names;
    this.#workers = workers;
  }

  started(worker: ChildProcess): void {
    this.#started.add(worker);
  }

  take(worker: ChildProcess, report: WorkerReport): void {
    this.#answers.get(worker)?.(report);
  }

  /** A worker that serves and does not answer; one that is being started is nobody's fault yet. */
  async alive(): Promise<boolean> {
    const reports = await this.#ask();
    return [...this.#workers].every(
      ([name, worker]) => !this.#started.has(worker) || reports.get(name) !== undefined,
    );
  }

  async report(): Promise<ReturnType<typeof joinHealth>> {
    return joinHealth(await this.#ask());
  }

  async metrics(openMetrics: boolean): Promise<{ readonly contentType: string; readonly body: string }> {
    return joinMetrics(await this.#ask(), openMetrics);
  }

  /** However many look at once, each worker is asked once. */
  #ask(): Promise<Map<WorkerName, WorkerReport | undefined>> {
    this.#asking ??= this.#askAll().finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  async #askAll(): Promise<Map<WorkerName, WorkerReport | undefined>> {
    const reports = await Promise.all(
      this.#names.map((name) => {
        const worker = this.#workers.get(name);
        return worker?.connected === true ? this.#askOne(worker) : undefined;
      }),
    );
    return new Map(this.#names.map((name, i) => [name, reports[i]]));
  }

  #askOne(worker: ChildProcess): Promise<WorkerReport | undefined> {
    return new Promise((resolve) => {
      const done = (report: WorkerReport | undefined): void => {
        clearTimeout(timer);
        this.#answers.delete(worker);
        resolve(report);
      };
      const timer = setTimeout(done, answerWithinMs, undefined);
      this.#answers.set(worker, done);
      worker.send({ kind: 'ask' }, (error) => {
        if (error !== null) done(undefined);
      });
    });
  }
}
