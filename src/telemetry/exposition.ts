/**
 * Families of metrics as text: Prometheus's form, or OpenMetrics 1.0 for a scraper that asks for it. Only the latter has a place for
 * exemplars, which lead from a bucket of a histogram to a trace.
 */
import {
  Registry,
  type MetricObjectWithValues,
  type MetricValue,
  type RegistryContentType,
} from 'prom-client';

/** A family of metrics as prom-client hands it out. */
export type MetricFamily = Omit<MetricObjectWithValues<MetricValue<string>>, 'collect'>;
export type MetricFamilies = readonly MetricFamily[];

export interface MetricsPage {
  readonly contentType: string;
  readonly body: string;
}

/** What a scraper's `Accept` header asks for. */
export function wantsOpenMetrics(accept: string | undefined): boolean {
  return accept?.includes('application/openmetrics-text') === true;
}

export async function renderMetrics(families: MetricFamilies, openMetrics: boolean): Promise<MetricsPage> {
  const registry = new Registry<RegistryContentType>();
  if (openMetrics) registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  for (const family of families) {
    // In OpenMetrics a counter's family has no `_total`, its series have; prom-client puts that back.
    const isCounter = String(family.type) === 'counter';
    const name = openMetrics && isCounter ? family.name.replace(/_total$/, '') : family.name;
    const metric = {
      name,
      type: family.type,
      get: () => Promise.resolve({ ...family, name }),
      reset: () => undefined,
    };
    registry.registerMetric(metric as unknown as Parameters<Registry['registerMetric']>[0]);
  }
  return { contentType: registry.contentType, body: await registry.metrics() };
}
