/** The door of telemetry/: metrics, logs, health, and the listener that shows them. */
export { createHealth, type Health, type HealthReport, type PollTiming } from './health.ts';
export { joinHealth, joinMetrics, type WorkerReport, type WorkerName, type WorkerReports } from './joined.ts';
export type { MetricFamilies } from './exposition.ts';
export { createLogger, type Log, type Logger, type LogOptions } from './logger.ts';
export {
  createMetrics,
  otherTenants,
  type AuditSeries,
  type CacheCounts,
  type KeystoreOperation,
  type KeystoreOutcome,
  type KeystoreSeries,
  type LoginOutcome,
  type Metrics,
  type MetricsOptions,
  type RequestSeries,
} from './metrics.ts';
export { createProbeServer, type Probed, type ProbeServer } from './probes.ts';
export { newRequestId } from './request-id.ts';
export { parseTraceparent, type TraceParent } from './traceparent.ts';
export { openTracing, tracePackages, type SpanOutcome, type Tracing } from './tracing.ts';
