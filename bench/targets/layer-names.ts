/** The middlewares of the suite, in the order in which `layers` adds them. */
export const LAYERS = [
  ['proxy', 'roundRobinProxy: one circuit per backend, failover'],
  ['health', 'its health checks, every 10 s'],
  ['circuit', 'circuitBreaker for the route'],
  ['limiter', 'ipRateLimit in memory'],
  ['guard', 'requestGuard'],
  ['observability', 'observability: a record and an X-Request-Id per request, told to nobody'],
  ['metrics', 'prometheusMetrics into prom-client, with its default metrics'],
  ['access-log', 'accessLog as JSON to a file'],
  ['bounds', 'hardenServer'],
  ['status', 'statusFeed with somebody who watches'],
  ['tracing', 'tracing() without an SDK'],
] as const;

export type LayerName = (typeof LAYERS)[number][0];
