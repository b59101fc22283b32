import { type OpenMetricsContentType, Registry } from 'prom-client';

const OPEN_METRICS = Registry.OPENMETRICS_CONTENT_TYPE;

/** A registry, or one that is made for each scrape. */
export type MetricsSource = Registry | (() => Promise<Registry>);

/** All metrics as text: OpenMetrics for clients that ask for it, as Prometheus does, and Prometheus' own format for all others. */
export async function metricsPage(
  source: MetricsSource,
  accept = '',
): Promise<{ readonly type: string; readonly text: string }> {
  const register = typeof source === 'function' ? await source() : source;
  if (!accept.includes('application/openmetrics-text')) {
    return { type: register.contentType, text: await register.metrics() };
  }
  // In a registry of their own: prom-client renames the counters of one that is asked for OpenMetrics, for good.
  const open = new Registry<OpenMetricsContentType>();
  open.setContentType(OPEN_METRICS);
  for (const metric of await register.getMetricsAsJSON()) {
    const named = {
      ...metric,
      get() {
        return { ...metric, name: this.name };
      },
    };
    open.registerMetric(named as never);
  }
  return { type: OPEN_METRICS, text: await open.metrics() };
}
