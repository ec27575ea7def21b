/**
 * What several worker processes report, as one: their metrics side by side with a label that tells them apart, and one
 * verdict on their health. Sums would jump back when a worker ends, which Prometheus takes for a burst of requests.
 */
import { renderMetrics, type MetricFamilies, type MetricFamily, type MetricsPage } from './exposition.ts';
import type { HealthReport } from './health.ts';

/** What one worker says of itself. It travels as JSON. */
export interface WorkerReport {
  readonly metrics: MetricFamilies;
  readonly health: HealthReport;
}

/** Workers that share the port are numbered; `streams` has listeners of its own. */
export type WorkerName = number | 'streams';

/** Undefined: a worker that did not answer in time. */
export type WorkerReports = ReadonlyMap<WorkerName, WorkerReport | undefined>;

function workerUp(isUp: boolean): MetricFamily {
  return {
    name: 'sello_worker_up',
    help: '1 while the worker process answers.',
    type: 'gauge' as unknown as MetricFamily['type'],
    aggregator: 'sum',
    values: [{ value: isUp ? 1 : 0, labels: {} }],
  };
}

/** One page of all metrics; every series has the label `worker`. */
export function joinMetrics(reports: WorkerReports, openMetrics: boolean): Promise<MetricsPage> {
  const families = new Map<string, MetricFamily>();
  const add = (family: MetricFamily, worker: WorkerName): void => {
    const values = family.values.map((value) => ({
      ...value,
      labels: { ...value.labels, worker: String(worker) },
    }));
    const known = families.get(family.name);
    if (known === undefined) families.set(family.name, { ...family, values });
    else known.values.push(...values);
  };
  for (const [worker, report] of reports) {
    add(workerUp(report !== undefined), worker);
    for (const family of report?.metrics ?? []) add(family, worker);
  }
  return renderMetrics([...families.values()], openMetrics);
}

/**
 * Ready while one of those that share the port is: `streams` serves no key calls, so it makes nobody ready and nobody unready. What fails is named with its worker.
 */
export function joinHealth(reports: WorkerReports): HealthReport {
  const failing = [...reports].flatMap(([worker, report]) =>
    report === undefined
      ? [{ check: `worker ${worker}`, detail: 'does not answer' }]
      : report.health.failing.map((each) => ({ ...each, check: `worker ${worker}: ${each.check}` })),
  );
  return {
    ready: [...reports].some(([worker, report]) => worker !== 'streams' && report?.health.ready === true),
    failing,
  };
}
