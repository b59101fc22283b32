import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { afterAll, describe, expect, test } from '@jest/globals';
import * as api from '@opentelemetry/api';
import express from 'express';
import {
  accessLog,
  apiKeyAuth,
  basicAuth,
  changeBody,
  circuitBreaker,
  clientCertAuth,
  forwardAuth,
  GatewayError,
  GatewayEvents,
  gracefulShutdown,
  hardenServer,
  http2Server,
  ipRateLimit,
  jwtAuth,
  loadShedding,
  OptionsError,
  observability,
  prometheusMetrics,
  proxyProtocol,
  requestGuard,
  roundRobinProxy,
  serviceRouter,
  statusFeed,
  tracing,
  undiciTransport,
  upgradeHandler,
} from 'expressway';

const DOCS = new URL('../../docs/', import.meta.url);

/** The options of each interface, as the tables of the documentation list them: a test compares those with the code. */
const documented = new Map<string, string[]>();
for (const page of readdirSync(DOCS).filter((name) => name.endsWith('.md'))) {
  const text = readFileSync(new URL(page, DOCS), 'utf8');
  for (const [, name, table] of text.matchAll(/<!-- options: (\w+),.*?-->\n(.*?)<!-- end of options -->/gs)) {
    documented.set(
      name as string,
      [...(table as string).matchAll(/^\| `(\w+)` \|/gm)].map(([, one]) => one as string),
    );
  }
}

const events = new GatewayEvents();
const register = { registerMetric() {} };
const metrics = prometheusMetrics({ register, events });
const inProxy =
  (group: string, more: object = {}) =>
  (options: object) =>
    roundRobinProxy({ backends: ['https://localhost:1'], [group]: { ...more, ...options } }).close();

const inRouter = (options: object) =>
  serviceRouter({
    services: { a: { backends: ['http://localhost:1'] } },
    routes: [{ service: 'a' }],
    ...options,
  }).close();
const inRoute = (options: object) => inRouter({ routes: [{ service: 'a', ...options }] });

/** What makes something of an object of options, without any that it needs. */
const MAKERS: Readonly<Record<string, (options: object) => unknown>> = {
  RequestGuardOptions: (options) => requestGuard(options),
  LoadSheddingOptions: (options) => loadShedding(options),
  GracefulShutdownOptions: (options) => gracefulShutdown(createServer(), options),
  IpRateLimitOptions: (options) => ipRateLimit(options).close(),
  LeaseOptions: (lease) => ipRateLimit({ lease: { share: 0.1, ...lease } }).close(),
  TracingOptions: (options) => tracing({ api, ...options }),
  CircuitBreakerOptions: (options) => circuitBreaker(options),
  ObservabilityOptions: (options) => observability(options),
  AccessLogOptions: (options) => accessLog({ to: { write() {} }, ...options }),
  PrometheusMetricsOptions: (options) => prometheusMetrics({ register, events, ...options }).close(),
  StatusFeedOptions: (options) => statusFeed({ events, metrics, ...options }).close(),
  UndiciTransportOptions: (options) => undiciTransport(options),
  HardenServerOptions: (options) => hardenServer(createServer(), options),
  Http2ServerOptions: (options) => http2Server(createHttpsServer(), options),
  ProxyProtocolOptions: (options) => proxyProtocol(createServer(), { isTrusted: () => true, ...options }),
  RoundRobinProxyOptions: (options) => roundRobinProxy({ backends: ['http://localhost:1'], ...options }).close(),
  BackendOptions: (options) => roundRobinProxy({ backends: [{ url: 'http://localhost:1', ...options }] }).close(),
  DnsOptions: inProxy('dns'),
  BackendCircuitOptions: inProxy('circuit'),
  HealthCheckOptions: inProxy('healthCheck'),
  ChangeBodyOptions: (options) => changeBody({ types: ['text/html'], change: (body) => body, ...options }),
  RetryOptions: inProxy('retry'),
  RetryAfterOptions: inProxy('respectRetryAfter'),
  AdaptiveConcurrencyOptions: inProxy('adaptiveConcurrency'),
  QueueOptions: inProxy('queue'),
  TunnelOptions: inProxy('tunnel'),
  BackendTlsOptions: inProxy('tls'),
  HashOptions: inProxy('loadBalancing', { policy: 'hash' }),
  StickyOptions: inProxy('loadBalancing', { policy: 'sticky', secret: 'a secret that has at least 32 characters' }),
  JwtAuthOptions: (options) => jwtAuth({ secret: 'a secret that has at least 32 characters', ...options }),
  ApiKeyAuthOptions: (options) => apiKeyAuth({ keys: [], ...options }).close(),
  ClientCertAuthOptions: (options) => clientCertAuth(options),
  BasicAuthOptions: (options) => basicAuth({ users: {}, ...options }),
  ForwardAuthOptions: (options) => forwardAuth({ url: 'http://localhost:8', ...options }),
  ServiceRouterOptions: (options) => inRouter(options),
  RouteOptions: (options) => inRoute(options),
  RouteMatch: (options) => inRoute(options),
  SessionPersistence: (options) =>
    inRoute({ sessionPersistence: { secret: 'a secret that has at least 32 characters', ...options } }),
  MirrorOptions: (options) => inRoute({ mirror: { service: 'a', ...options } }),
  RouteLimit: (options) => inRoute({ rateLimit: { limit: '1/1m', ...options } }),
  RewriteOptions: (rewrite) => inRoute({ rewrite }),
  RedirectOptions: (redirect) => inRoute({ service: undefined, redirect: { port: 1, ...redirect } }),
  FixedResponse: (respond) => inRoute({ service: undefined, respond }),
  CorsOptions: (cors) => inRoute({ cors: { origin: '*', ...cors } }),
  ErrorResponseOptions: (errors) => inRouter({ errors }),
  HeaderRules: inProxy('requestHeaders'),
  ResponseOptions: inProxy('response'),
  UpgradeHandlerOptions: (options) => upgradeHandler(express(), options),
};

class Foreign {
  readonly password = 'geheim';
}

/** Values that no option takes. */
const NONSENSE: readonly unknown[] = [new Foreign(), [new Foreign()], Symbol('a symbol'), Number.NaN];
/** Values that some options take, and some do not. */
const DOUBTFUL: readonly unknown[] = [
  null,
  {},
  [],
  '',
  -1,
  { password: 'geheim' },
  ['http://me:geheim@host/?geheim'],
  'http://me:geheim@host/?geheim',
  class {},
];

/** `base` is any object; with another policy there are other options. */
const TAKES_ANY: ReadonlySet<string> = new Set(['base', 'policy']);

function errorOf(make: (options: object) => unknown, options: object): unknown {
  try {
    make(options);
    return undefined;
  } catch (error) {
    return error;
  }
}

afterAll(() => metrics.close());

describe.each([...documented])('%s', (name, options) => {
  test.each(options)('%s: the error for a bad value says what is expected, and shows no secret', (option) => {
    const make = MAKERS[name];
    if (make === undefined) throw new Error(`no maker for ${name}`);
    for (const value of [...NONSENSE, ...DOUBTFUL]) {
      const error = errorOf(make, { [option]: value });
      if (error === undefined) {
        if (!TAKES_ANY.has(option))
          expect([option, NONSENSE.includes(value) ? value : undefined]).toEqual([option, undefined]);
        continue;
      }
      expect(error).toBeInstanceOf(GatewayError);
      const { message } = error as Error;
      expect(message).not.toMatch(/geheim|\[object|Cannot read|is not a function|undefined is|made for this/);
      expect(message).toMatch(new RegExp(`\\b(?:${option}|trust proxy)\\b`, 'i'));
      expect(message).toMatch(
        /must|needs|is not a URL|cannot be given|unknown option|has no option|is not a protocol name|give the text|cannot be read/,
      );
      if (error instanceof OptionsError) {
        for (const problem of error.problems) expect(problem.length).toBeLessThan(400);
      }
    }
  });
});

test('each interface of options in the documentation is looked at', () => {
  expect(documented.size).toBeGreaterThan(20);
  expect([...documented.keys()].filter((name) => !(name in MAKERS))).toEqual([]);
});

test.each<[string, (options: object) => unknown, object, string]>([
  [
    'a sink',
    observability,
    { metrics: {} },
    'metrics must be the result of prometheusMetrics(), or an object with a function finished(request), got an empty object',
  ],
  ['a maker that was not called', observability, { metrics: prometheusMetrics }, 'got the function prometheusMetrics'],
  [
    'a URL object as backend',
    MAKERS.RoundRobinProxyOptions as never,
    { backends: [new URL('http://a')] },
    'a backend must be a string like "http://localhost:8081", or { url, weight }, got an object of URL',
  ],
  [
    'a number as pathFilter',
    MAKERS.RoundRobinProxyOptions as never,
    { pathFilter: 5 },
    "pathFilter must be a path like '/api', a glob like '/api/**', a list of either, or a function (path, req) => boolean, got 5",
  ],
  [
    'an empty list as pathFilter',
    MAKERS.RoundRobinProxyOptions as never,
    { pathFilter: [] },
    "pathFilter must be a path like '/api', a glob like '/api/**', a list of either, or a function (path, req) => boolean, got an empty array",
  ],
  [
    'a path that no path begins with',
    MAKERS.RoundRobinProxyOptions as never,
    { pathFilter: ['/a', 'api'] },
    '"api" matches no path',
  ],
  [
    'paths and globs',
    MAKERS.RoundRobinProxyOptions as never,
    { pathFilter: ['/a', '/b/**'] },
    'must not mix paths and globs',
  ],
  [
    'a text as pathRewrite',
    MAKERS.RoundRobinProxyOptions as never,
    { pathRewrite: '/a' },
    "pathRewrite must be an object like { '^/api': '' }",
  ],
  [
    'no pathRewrite rule',
    MAKERS.RoundRobinProxyOptions as never,
    { pathRewrite: {} },
    "pathRewrite must be an object like { '^/api': '' }",
  ],
  [
    'a bad pattern',
    MAKERS.RoundRobinProxyOptions as never,
    { pathRewrite: { '(': '' } },
    'pathRewrite: must have regular expressions as keys: Invalid regular expression',
  ],
  [
    'a bad replacement',
    MAKERS.RoundRobinProxyOptions as never,
    { pathRewrite: { '^/a': 1 } },
    'pathRewrite: "^/a" must have a string as its replacement, got 1',
  ],
  [
    'a backend that is not a list',
    MAKERS.RoundRobinProxyOptions as never,
    { backends: 'http://a' },
    'backends must be a non-empty array of backends, like [\'http://localhost:8081\'], got "http://a"',
  ],
  [
    'the path of a PEM file',
    MAKERS.BackendTlsOptions as never,
    { ca: './ca.pem' },
    'ca has no certificate in PEM form: give the text of a PEM file, not its path',
  ],
  [
    'proxies that are none',
    MAKERS.PrometheusMetricsOptions as never,
    { proxies: [{}] },
    'proxies must be an array of results of roundRobinProxy(), got [an empty object]',
  ],
])('%s: the message says what to pass', (_what, make, options, message) => {
  expect(() => make(options)).toThrow(message);
});

test.each<[object]>([
  [{ pathFilter: '/api/' }],
  [{ pathFilter: ['/a/', '/b/'] }],
  [{ pathFilter: ['/a/**', '!**.html'] }],
  [{ pathFilter: () => true, pathRewrite: () => '/' }],
  [{ pathRewrite: { '^/a': '', '/b$': '/c' } }],
])('%j is taken', (options) => {
  expect(errorOf(MAKERS.RoundRobinProxyOptions as never, options)).toBeUndefined();
});
