import { createServer } from 'node:http';
import { expect, test } from '@jest/globals';
import * as expressway from 'expressway';
import { Registry } from 'prom-client';

const { roundRobinProxy, serviceRouter, GatewayEvents } = expressway;

const backends = ['http://localhost:8081'];
const secret = 'a secret of thirty-two characters';
const proxy = (group: string) => (defaults: object) => roundRobinProxy({ backends, [group]: defaults });
const route = (group: string, more: object) => (defaults: object) =>
  serviceRouter({
    services: { a: { backends } },
    routes: [{ path: '/', service: 'a', [group]: { ...defaults, ...more } }],
  });

type Use = (defaults: never) => unknown;

/** What takes each set of defaults, with the options that must be given. */
const USES: Readonly<Record<string, Use>> = {
  accessLogDefaults: (defaults: object) => expressway.accessLog({ ...defaults, to: { write: () => true } }),
  adaptiveConcurrencyDefaults: proxy('adaptiveConcurrency'),
  apiKeyAuthDefaults: (defaults: object) => expressway.apiKeyAuth({ ...defaults, keys: () => undefined }),
  backendCircuitDefaults: proxy('circuit'),
  basicAuthDefaults: (defaults: object) => expressway.basicAuth({ ...defaults, users: () => undefined }),
  changeBodyDefaults: (defaults: object) =>
    expressway.changeBody({ ...defaults, types: ['text/html'], change: (body) => body }),
  circuitBreakerDefaults: expressway.circuitBreaker,
  circuitDefaults: expressway.circuitBreaker,
  clientCertAuthDefaults: expressway.clientCertAuth,
  dnsDefaults: proxy('dns'),
  forwardAuthDefaults: (defaults: object) => expressway.forwardAuth({ ...defaults, url: 'http://localhost:8081/' }),
  gracefulShutdownDefaults: (defaults: object) => expressway.gracefulShutdown(createServer(), defaults),
  hardenServerDefaults: (defaults: object) => expressway.hardenServer(createServer(), defaults),
  hashDefaults: (defaults: object) => roundRobinProxy({ backends, loadBalancing: { ...defaults, policy: 'hash' } }),
  healthCheckDefaults: proxy('healthCheck'),
  http2ServerDefaults: (defaults: object) => expressway.http2Server(() => {}, { ...defaults, tls: {} }),
  ipRateLimitDefaults: expressway.ipRateLimit,
  jwtAuthDefaults: (defaults: object) => expressway.jwtAuth({ ...defaults, secret }),
  loadSheddingDefaults: expressway.loadShedding,
  mirrorDefaults: route('mirror', { service: 'a' }),
  observabilityDefaults: expressway.observability,
  prometheusMetricsDefaults: (defaults: object) =>
    expressway.prometheusMetrics({ ...defaults, register: new Registry(), events: new GatewayEvents() }),
  proxyProtocolDefaults: (defaults: object) =>
    expressway.proxyProtocol(createServer(), { ...defaults, isTrusted: () => true }),
  queueDefaults: proxy('queue'),
  requestGuardDefaults: expressway.requestGuard,
  retryAfterDefaults: proxy('respectRetryAfter'),
  retryDefaults: proxy('retry'),
  roundRobinProxyDefaults: (defaults: object) => roundRobinProxy({ ...defaults, backends }),
  serviceRouterDefaults: (defaults: object) =>
    serviceRouter({ ...defaults, services: {}, routes: [{ path: '/', respond: { status: 204 } }] }),
  sessionPersistenceDefaults: route('sessionPersistence', { secret }),
  stickyDefaults: (defaults: object) =>
    roundRobinProxy({ backends, loadBalancing: { ...defaults, policy: 'sticky', secret } }),
  stopSignalsDefaults: (defaults: object) => expressway.stopOnSignals(() => {}, defaults),
  tunnelDefaults: proxy('tunnel'),
  undiciTransportDefaults: expressway.undiciTransport,
  upgradeHandlerDefaults: (defaults: object) => expressway.upgradeHandler(() => {}, defaults),
};

/** They need an OpenTelemetry, or metrics and events that belong together. */
const ELSEWHERE = ['statusFeedDefaults', 'tracingDefaults'];

const all = new Map<string, unknown>(Object.entries(expressway).filter(([name]) => name.endsWith('Defaults')));

test('each exported set of defaults is tested here', () => {
  expect([...Object.keys(USES), ...ELSEWHERE].sort()).toEqual([...all.keys()].sort());
});

test.each(Object.entries(USES))('%s are options that can be given', async (name, use) => {
  const defaults = all.get(name);
  const made = use({ ...(defaults as object) } as never) as { close?(): unknown; dispose?(): void } | undefined;
  expect(Object.isFrozen(defaults)).toBe(true);
  await made?.close?.();
  made?.dispose?.();
});
