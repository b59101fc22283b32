import { backendList } from '../backends/backend-url.ts';
import { adaptiveConcurrency, concurrencySettings } from '../backends/concurrency-options.ts';
import { dnsChecks, dnsDefaults } from '../backends/discovery/discovery-options.ts';
import { healthCheckChecks, healthCheckDefaults } from '../backends/health/health-check-options.ts';
import { queueChecks, queueDefaults } from '../backends/queue.ts';
import { loadBalancing } from '../backends/selection/load-balancing.ts';
import { backendCircuitChecks, backendCircuitDefaults } from '../circuit-breaker/circuit-options.ts';
import { eventsCheck, GatewayEvents } from '../core/gateway-events.ts';
import { identityHeaderList } from '../core/header-names.ts';
import {
  boolean,
  type Checks,
  durationMs,
  type ForeignOptions,
  func,
  group,
  integer,
  nonEmptyString,
  oneOf,
  optional,
  optionalDurationMs,
  optionalRatio,
  resolveOptions,
} from '../core/options.ts';
import { ambiguousPathsCheck } from '../ingress/request-guard.ts';
import { requestRules } from './header-rules.ts';
import { inFlightCapChecks } from './in-flight-caps.ts';
import { viaPseudonym } from './request/forwarding-headers.ts';
import { pathFilterCheck, pathRewriteCheck } from './request/path-filter.ts';
import { readBody } from './request/read-body.ts';
import { responseChecks } from './response/response-rules.ts';
import { retryAfterChecks, retryAfterDefaults, retryAfterOrFalse } from './response/retry-after.ts';
import { retryChecks, retryDefaults } from './retry/retry-rules.ts';
import { type RoundRobinProxyOptions, roundRobinProxyDefaults } from './round-robin-proxy-options.ts';
import { backendTls } from './transport/backend-tls.ts';
import { tunnelChecks, tunnelDefaults } from './tunnel/tunnels.ts';

const HEADERS_BEFORE = 'change req.headers in a middleware before the proxy, or use requestHeaders';
const HEADERS_AFTER = 'use response';
const PUBLIC_URLS = 'use response: { rewriteUrls: true }, or its change';
const BODIES = 'use changeBody() before the proxy';
const ERRORS = 'use errorResponses() for the response, and events';
const LIST = 'use backends, a list of origins';
const CONNECTIONS = 'connections are kept by undici; backends have options of their own';

/** Options of http-proxy-middleware, express-http-proxy and fast-gateway that users may try here. */
export const foreignProxyOptions: ForeignOptions = Object.freeze({
  target: LIST,
  targets: LIST,
  upstreams: LIST,
  router: 'use one roundRobinProxy() for each route, or undiciTransport() with http-proxy-middleware',
  ws: 'use upgradeHandler()',
  xfwd: 'use forwarded and forwardingFields',
  secure: 'use tls: { rejectUnauthorized: false }',
  ssl: 'use tls',
  agent: CONNECTIONS,
  timeout: 'use responseTimeoutMs',
  proxyTimeout: 'use responseTimeoutMs',
  headers: 'use requestHeaders: { set: { … } }',
  auth: 'use requestHeaders',
  ignorePath: 'use pathRewrite',
  prependPath: 'use pathRewrite',
  prefixRewrite: 'use pathRewrite',
  cookieDomainRewrite: PUBLIC_URLS,
  cookiePathRewrite: PUBLIC_URLS,
  hostRewrite: PUBLIC_URLS,
  autoRewrite: PUBLIC_URLS,
  protocolRewrite: PUBLIC_URLS,
  followRedirects:
    'clients follow redirects themselves; use response: { rewriteUrls: true } if they lead to the backend',
  preserveHeaderKeyCase: 'it is always on: header names keep their case',
  on: 'use requestHeaders, response and events',
  onProxyReq: HEADERS_BEFORE,
  onProxyRes: HEADERS_AFTER,
  onError: ERRORS,
  selfHandleResponse: BODIES,
  forward: 'use mirror of a route of serviceRouter()',
  plugins: 'use undiciTransport() with http-proxy-middleware',
  filter: 'use pathFilter',
  limit: 'use maxBodyBytes',
  hooks: 'use requestHeaders, response and events',
  parseReqBody: 'bodies are streamed; use body for those that were read before',
  preserveHostHdr: 'it is on unless changeOrigin is true',
  proxyReqPathResolver: 'use pathRewrite',
  proxyReqOptDecorator: HEADERS_BEFORE,
  proxyReqBodyDecorator: 'use body',
  userResHeaderDecorator: HEADERS_AFTER,
  userResDecorator: BODIES,
  proxyErrorHandler: ERRORS,
});

export const roundRobinProxyChecks: Checks<RoundRobinProxyOptions> = {
  backends: backendList,
  name: nonEmptyString,
  dns: group(dnsDefaults, dnsChecks),
  drainTimeoutMs: optionalDurationMs,
  circuit: group(backendCircuitDefaults, backendCircuitChecks),
  healthCheck: group(healthCheckDefaults, healthCheckChecks),
  respectRetryAfter: retryAfterOrFalse,
  maxUnavailableRatio: optionalRatio,
  panic: boolean,
  loadBalancing,
  slowStartMs: optionalDurationMs,
  connectTimeoutMs: durationMs,
  responseTimeoutMs: durationMs,
  idleTimeoutMs: durationMs,
  forwarded: oneOf('replace', 'append'),
  forwardingFields: oneOf('x-forwarded', 'forwarded', 'both'),
  via: viaPseudonym,
  identityHeaders: identityHeaderList,
  changeOrigin: boolean,
  ambiguousPaths: ambiguousPathsCheck,
  maxBodyBytes: integer(0),
  requestHeaders: optional(requestRules),
  response: optional(group({}, responseChecks)),
  body: readBody,
  retry: group(retryDefaults, retryChecks),
  maxRequests: integer(0),
  adaptiveConcurrency,
  queue: group(queueDefaults, queueChecks),
  tunnel: group(tunnelDefaults, tunnelChecks),
  tls: backendTls,
  protocol: oneOf('http1', 'http2'),
  ...inFlightCapChecks,
  pathFilter: optional(pathFilterCheck),
  pathRewrite: optional(pathRewriteCheck),
  isFailure: optional(func),
  events: optional(eventsCheck),
};

/** The options of one proxy, with all defaults, also those of groups of options. */
export type ProxySettings = ReturnType<typeof proxySettings>;

/** @throws {OptionsError} that names each unknown key and each bad value. */
export function proxySettings(given: RoundRobinProxyOptions) {
  const options = resolveOptions(
    'roundRobinProxy',
    given,
    roundRobinProxyDefaults,
    roundRobinProxyChecks,
    foreignProxyOptions,
  );
  // The checks above include those of the groups, so the values are valid here.
  const resolved = <T extends object, D extends Partial<T>>(one: T, defaults: D, its: Checks<T>): T & D =>
    resolveOptions('roundRobinProxy', one, defaults, its);
  const { respectRetryAfter } = options;
  return {
    ...options,
    events: options.events ?? new GatewayEvents(),
    dns: resolved(options.dns, dnsDefaults, dnsChecks),
    circuit: resolved(options.circuit, backendCircuitDefaults, backendCircuitChecks),
    healthCheck: resolved(options.healthCheck, healthCheckDefaults, healthCheckChecks),
    respectRetryAfter: respectRetryAfter && resolved(respectRetryAfter, retryAfterDefaults, retryAfterChecks),
    retry: resolved(options.retry, retryDefaults, retryChecks),
    concurrency: concurrencySettings(options.adaptiveConcurrency),
    queue: resolved(options.queue, queueDefaults, queueChecks),
    tunnel: resolved(options.tunnel, tunnelDefaults, tunnelChecks),
  };
}
