import type { BackendOptions } from '../backends/backend-url.ts';
import type { AdaptiveConcurrencyOptions } from '../backends/concurrency-options.ts';
import type { DnsOptions } from '../backends/discovery/discovery-options.ts';
import type { HealthCheckOptions } from '../backends/health/health-check-options.ts';
import type { QueueOptions } from '../backends/queue.ts';
import type { LoadBalancing } from '../backends/selection/load-balancing.ts';
import type { BackendCircuitOptions } from '../circuit-breaker/circuit-options.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import type { Outcome } from '../core/outcome.ts';
import type { AmbiguousPaths } from '../ingress/request-checks.ts';
import { requestGuardDefaults } from '../ingress/request-guard.ts';
import type { PathFilter, PathRewrite } from './filtered-requests.ts';
import type { HeaderRules } from './header-rules.ts';
import { type InFlightCapOptions, inFlightCapDefaults } from './in-flight-caps.ts';
import type { ForwardedMode, ForwardingFields } from './request/forwarding-headers.ts';
import type { ReadBody } from './request/read-body.ts';
import type { ResponseOptions } from './response/response-rules.ts';
import type { RetryAfterOptions } from './response/retry-after.ts';
import type { RetryOptions } from './retry/retry-rules.ts';
import type { BackendProtocol } from './transport/all-connections.ts';
import type { BackendTlsOptions } from './transport/backend-tls.ts';
import type { TunnelOptions } from './tunnel/tunnels.ts';

/** Options of `roundRobinProxy()`. */
export interface RoundRobinProxyOptions extends InFlightCapOptions {
  /** The backends: origins, or names to discover, plain or with options. At least one, and none twice. */
  backends: readonly (string | BackendOptions)[];
  /**
   * Name of this proxy: the `service` of metrics, events, logs, traces and the status page. Give each proxy its own name when an
   * app has several.
   *
   * @default `default`
   */
  name?: string;
  /**
   * How to look up `dns://`, `dns+https://` and `srv://` names among the backends.
   *
   * @default {@link dnsDefaults}
   */
  dns?: DnsOptions;
  /**
   * Milliseconds after which the requests, event streams and tunnels of a removed backend or service are cut. With 0 they are not cut.
   *
   * @default 0
   */
  drainTimeoutMs?: number;
  /**
   * The circuit breaker of each backend.
   *
   * @default {@link backendCircuitDefaults}
   */
  circuit?: BackendCircuitOptions;
  /**
   * Active health checks. While they are on, an open circuit whose time is up waits for a passing check before it
   * admits a trial, but no longer than `circuit.maxOpenMs`.
   *
   * @default off, until `path` is set
   */
  healthCheck?: HealthCheckOptions;
  /**
   * Keeps a backend out for as long as the `Retry-After` of its 503 or 429 says. Enable this only if `Retry-After`
   * applies to the whole backend. Otherwise a backend that limits one client, or closes one path, is lost for all
   * clients.
   *
   * @default false
   */
  respectRetryAfter?: false | RetryAfterOptions;
  /**
   * Largest share of the backends, from 0 to 1, that health checks and `respectRetryAfter` may take out at the same
   * time. The last backend always stays. Open circuits do not count.
   *
   * @default 1
   */
  maxUnavailableRatio?: number;
  /**
   * Whether to use all backends when more than `maxUnavailableRatio` would have to be out (Envoy's panic threshold).
   *
   * @default false
   */
  panic?: boolean;
  /**
   * How a backend is picked among those that are available: the name of a policy, `{ policy: name }` with its options,
   * or a policy of your own.
   *
   * @default `round-robin`
   */
  loadBalancing?: LoadBalancing;
  /**
   * Milliseconds in which a backend's share rises from a tenth to the whole, under every policy. This happens after it
   * was added to a running pool, after its circuit closed again, and after it was out for its health or for weight 0. A
   * backend that is the only one available gets all requests at once.
   *
   * @default 0
   */
  slowStartMs?: number;
  /**
   * Timeout for connecting to a backend, in milliseconds. After it, the request goes to the next backend.
   *
   * @default 2_000
   */
  connectTimeoutMs?: number;
  /**
   * Timeout from the end of a request to the head of its response, in milliseconds. After it, the client gets 504. A
   * timeout counts against the backend only if the backend has sent no other response and passed no health check in
   * the meantime. The timeouts of one client address count once within the circuit's `windowMs`, so that its long polls
   * do not open the circuit for all. They count each time if another backend responds to the same request.
   *
   * @default 60_000
   */
  responseTimeoutMs?: number;
  /**
   * Timeout without a byte in either direction, in milliseconds. After it, the request is cut. Upgrades are exempt,
   * and so are event streams whose backend takes the body of the request.
   *
   * @default 60_000
   */
  idleTimeoutMs?: number;
  /**
   * `replace` sends only the client's address as `X-Forwarded-For` or `Forwarded`. `append` adds to the list that a
   * trusted peer sent. Both drop the list of a peer that is not trusted.
   *
   * @default `replace`
   */
  forwarded?: ForwardedMode;
  /**
   * Headers that tell a backend about the client: `x-forwarded` for `X-Forwarded-For`, `-Proto` and `-Host`,
   * `forwarded` for `Forwarded` (RFC 7239), or `both`. The family that is not in use is dropped, from trusted peers
   * too. The gateway itself reads the client's address from `X-Forwarded-For` in any case, because Express does.
   *
   * @default `x-forwarded`
   */
  forwardingFields?: ForwardingFields;
  /**
   * Pseudonym of this gateway in `Via` (RFC 9110 §7.6.3). It says nothing about the machine. A request that has this
   * pseudonym already was here before, and gets 508: gateways in a chain need different pseudonyms, those side by side
   * may share one. `false` leaves the header as it came, and detects no loops.
   *
   * @default `expressway-` and six random digits, new for each proxy
   */
  via?: string | false;
  /**
   * More headers that tell backends who a client is, beside the known ones (`X-Forwarded-*`, `X-Real-IP`, `X-SSL-*`
   * and the like): names, or beginnings such as `x-corp-*`. The proxy drops them, also in spellings with underscores
   * or dots, when they come from a peer that `trust proxy` does not name. Of a trusted peer, it replaces what it knows
   * better (`X-Real-IP`) and drops some (`X-Original-URL`): see "What backends learn about the client" in
   * docs/proxy.md. What a middleware writes into `req.headers` is forwarded.
   *
   * @default none
   */
  identityHeaders?: readonly string[];
  /**
   * Whether to send the backend's authority as `Host`, and not the client's. Then `response.rewriteUrls` is on by default: redirects and
   * cookies of the backend name the host that the client asked.
   *
   * @default false
   */
  changeOrigin?: boolean;
  /**
   * Which requests to proxy, as in http-proxy-middleware: patterns, or a function of path and request. The others go to
   * the next handler. A plain text is a prefix: `/a` matches `/ab` too, with a warning.
   *
   * @default all
   */
  pathFilter?: PathFilter;
  /**
   * Rewrites the path, as in http-proxy-middleware: a table of expressions and replacements, or a function of path and
   * request, also an async one. Applies to requests in absolute form, too.
   *
   * @default none
   */
  pathRewrite?: PathRewrite;
  /**
   * What to do with paths that servers read in different ways, as in `requestGuard()`: `reject` sends 400, except for
   * an encoded slash alone; `strict` rejects that too; `pass` forwards all of them as they are.
   *
   * @default `reject`
   */
  ambiguousPaths?: AmbiguousPaths;
  /**
   * Longest body of a request, in bytes; longer ones get 413. That happens at once where the request declares its
   * length, else when the body becomes too long: the request to the backend is then broken off. 0 for no limit.
   *
   * @default 0
   */
  maxBodyBytes?: number;
  /**
   * Where to find a body that a middleware read before the proxy. Either the name of a property of the request that has
   * the raw bytes (`express.json({ verify: (req, _res, bytes) => { req.rawBody = bytes; } })` and `body: 'rawBody'`), or a
   * function of the request, such as {@link parsedBody}. The function returns a Buffer or text, or nothing for a request
   * to reject. It is not called for bodies that were not read. `Content-Encoding` is forwarded only if there are as many
   * bytes as the client declared.
   *
   * @default none: such requests get 500
   */
  body?: ReadBody;
  /**
   * Changes of the request headers that backends see, made last: the gateway itself still reads what came.
   * @default none
   */
  requestHeaders?: HeaderRules;
  /**
   * Changes of the responses of backends, before the client gets them.
   * @default none
   */
  response?: ResponseOptions;
  /**
   * When and how a request is tried at another backend.
   *
   * @default {@link retryDefaults}
   */
  retry?: RetryOptions;
  /**
   * Limit of the requests in flight at each backend. A full backend gets no further one. 0 for no limit.
   *
   * @default 0
   */
  maxRequests?: number;
  /**
   * Whether each backend gets a limit of requests that follows its latency: it grows while responses stay about as fast as without
   * load, and shrinks when they become slower. A request over the limit goes to another backend, into the queue, or gets 503. It
   * counts only until its response head, so event streams and tunnels do not fill the limit. `true` stands for the defaults.
   * Default false.
   */
  adaptiveConcurrency?: boolean | AdaptiveConcurrencyOptions;
  /**
   * How many requests may wait, and how long, while all suitable backends are full. Further ones get 503.
   *
   * @default no request waits
   */
  queue?: QueueOptions;
  /**
   * Limits of upgraded connections, such as WebSockets.
   *
   * @default {@link tunnelDefaults}
   */
  tunnel?: TunnelOptions;
  /**
   * How to check backends over https, and which certificate to show them.
   *
   * @default the authorities of the system, and no certificate
   */
  tls?: BackendTlsOptions;
  /**
   * What the backends speak: `http1` for HTTP/1.1, or `http2`, which gRPC needs. HTTP/2 is agreed on by ALPN with
   * `https://`, and used with prior knowledge ("h2c") with `http://`.
   *
   * @default `http1`
   */
  protocol?: BackendProtocol;
  /**
   * Replaces the rule that a failure and a status of 500 or more count against a backend. If it throws, that rule
   * applies, and one process warning says so.
   *
   * @default none
   */
  isFailure?: (outcome: Outcome) => boolean;
  /**
   * Emitter of the events.
   *
   * @default a new one, as `events` of the result
   */
  events?: GatewayEvents;
}

/** Defaults of {@link RoundRobinProxyOptions}. Each group of options has its own defaults. */
export const roundRobinProxyDefaults = Object.freeze({
  name: 'default',
  dns: {},
  drainTimeoutMs: 0,
  circuit: {},
  healthCheck: {},
  respectRetryAfter: false as false | RetryAfterOptions,
  maxUnavailableRatio: 1,
  panic: false,
  loadBalancing: 'round-robin' as LoadBalancing,
  slowStartMs: 0,
  connectTimeoutMs: 2_000,
  responseTimeoutMs: 60_000,
  idleTimeoutMs: 60_000,
  forwarded: 'replace' as ForwardedMode,
  forwardingFields: 'x-forwarded' as ForwardingFields,
  identityHeaders: Object.freeze([]) as readonly string[],
  changeOrigin: false,
  ambiguousPaths: requestGuardDefaults.ambiguousPaths,
  maxBodyBytes: 0,
  retry: {},
  maxRequests: 0,
  adaptiveConcurrency: false as boolean | AdaptiveConcurrencyOptions,
  queue: {},
  tunnel: {},
  tls: {},
  protocol: 'http1' as BackendProtocol,
  ...inFlightCapDefaults,
});
