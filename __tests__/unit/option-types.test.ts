import { createServer } from 'node:http';
import { expect, test } from '@jest/globals';
import * as suite from 'expressway';

const backends = ['http://a.test'];
const services = { a: { backends } };

/** Mistakes that the compiler must find, too: `npm run check` fails if one of them compiles. */
const MISTAKES: readonly (() => unknown)[] = [
  // @ts-expect-error
  () => suite.ipRateLimit({ max: 5 }),
  // @ts-expect-error
  () => suite.ipRateLimit({ limit: '5' }),
  // @ts-expect-error
  () => suite.ipRateLimit({ algorithm: 'sliding' }),
  // @ts-expect-error
  () => suite.ipRateLimit({ fields: true }),
  // @ts-expect-error
  () => suite.ipRateLimit({ redis: {} }),
  // @ts-expect-error
  () => suite.ipRateLimit().setLimits(5),
  // @ts-expect-error
  () => suite.rateLimitStore({ limit: 5 }),
  // @ts-expect-error
  () => suite.circuitBreaker({ timeout: 5 }),
  // @ts-expect-error
  () => suite.roundRobinProxy({}),
  // @ts-expect-error
  () => suite.roundRobinProxy({ backends: 'http://a.test' }),
  // @ts-expect-error
  () => suite.roundRobinProxy({ backends: [{ weight: 1 }] }),
  // @ts-expect-error
  () => suite.roundRobinProxy({ backends, target: 'http://a.test' }),
  // @ts-expect-error
  () => suite.roundRobinProxy({ backends, loadBalancing: 'sticky' }),
  // @ts-expect-error: no secret
  () => suite.roundRobinProxy({ backends, loadBalancing: { policy: 'sticky' } }),
  // @ts-expect-error
  () => suite.roundRobinProxy({ backends, loadBalancing: { policy: 'latency', by: 'ip' } }),
  // @ts-expect-error
  () => suite.roundRobinProxy({ backends, loadBalancing: { policy: 'hash', by: 'header' } }),
  // @ts-expect-error
  () => suite.roundRobinProxy({ backends, retry: 3 }),
  // @ts-expect-error
  () => suite.roundRobinProxy({ backends, respectRetryAfter: true }),
  // @ts-expect-error
  () => suite.roundRobinProxy({ backends, protocol: 'h2' }),
  // @ts-expect-error
  () => suite.roundRobinProxy({ backends, via: true }),
  // @ts-expect-error
  () => suite.serviceRouter({ services, routes: [{ path: '/', service: 'a', rateLimits: '5/1m' }] }),
  // @ts-expect-error
  () => suite.serviceRouter({ services, routes: [{ path: '/', service: 'a', rewrite: '/' }] }),
  // @ts-expect-error
  () => suite.accessLog({ to: 'stdout' }),
  // @ts-expect-error
  () => suite.observability({ accessLog: { to: process.stdout } }),
  // @ts-expect-error
  () => suite.prometheusMetrics({ events: new suite.GatewayEvents() }),
  // @ts-expect-error
  () => suite.changeBody({ types: 'text/html', change: (body: Buffer) => body }),
  // @ts-expect-error
  () => suite.changeBody({ types: ['text/html'] }),
  // @ts-expect-error
  () => suite.errorResponses({ json: () => 'x', jsn: 1 }),
  // @ts-expect-error
  () => suite.upgradeHandler(() => undefined, { upgrades: 'websocket' }),
  // @ts-expect-error
  () => suite.hardenServer(() => undefined),
  // @ts-expect-error
  () => suite.expressListener(() => undefined),
  // @ts-expect-error
  () => suite.compose((_a: 1, _b: 2, _c: 3, _d: 4) => undefined),
  // @ts-expect-error
  () => suite.basicAuth({ users: ['a'] }),
  // @ts-expect-error
  () => suite.forwardAuth({}),
  // @ts-expect-error
  () => suite.stopOnSignals(() => undefined, { signals: ['TERM'] }),
  // @ts-expect-error
  () => suite.proxyProtocol(createServer(), {}),
];

test.each(MISTAKES.map((mistake) => [String(mistake).replace(/^.*suite\./, ''), mistake] as const))(
  '%s',
  (_text, mistake) => expect(mistake).toThrow(suite.OptionsError),
);
