import type { Filter, Options as HpmOptions } from 'http-proxy-middleware';
import type { BackendOptions } from '../backends/backend-url.ts';
import type { AdaptiveConcurrencyOptions } from '../backends/concurrency-options.ts';
import type { DnsOptions } from '../backends/discovery/discovery-options.ts';
import type { HealthCheckOptions } from '../backends/health/health-check-options.ts';
import type { QueueOptions } from '../backends/queue.ts';
import type { LoadBalancing } from '../backends/selection/load-balancing.ts';
import type { BackendCircuitOptions } from '../circuit-breaker/circuit-options.ts';
import type { GatewayEvents } from '../core/events.ts';
import type { Outcome } from '../core/outcome.ts';
import type { AmbiguousPaths } from '../ingress/request-checks.ts';
import { requestGuardDefaults } from '../ingress/request-guard.ts';
import { type InFlightCapOptions, inFlightCapDefaults } from './in-flight-caps.ts';
import type { ForwardedMode, ForwardingFields } from './request/forwarding-headers.ts';
import type { ReadBody } from './request/read-body.ts';
import type { RetryAfterOptions } from './response/retry-after.ts';
import type { RetryOptions } from './retry/retry-rules.ts';
import type { BackendTlsOptions } from './transport/backend-tls.ts';
import type { TunnelOptions } from './tunnel/tunnels.ts';

/** Options of `roundRobinProxy()`. */
export interface RoundRobinProxyOptions extends InFlightCapOptions {
  /** The backends: origins or names to discover, plain or with options; at least one, none twice. */
  backends: readonly (string | BackendOptions)[];
  /**
   * Name of this proxy in metrics, events, logs, traces and on the status page. Give each proxy its own name when an app has
   * several. Default `default`.
   */
  name?: string;
  /** How `dns://`, `dns+https://` and `srv://` names among the backends are looked up. Default: {@link dnsDefaults}. */
  dns?: DnsOptions;
  /**
   * Milliseconds after which the requests, event streams and tunnels of a removed backend are cut. Default 0: they end
   * in their own time.
   */
  drainTimeoutMs?: number;
  /** The circuit that each backend has for itself. Default: {@link backendCircuitDefaults}. */
  circuit?: BackendCircuitOptions;
  /**
   * Active health checks. While they are on, an open circuit whose time is up waits for a passing check before it
   * admits a trial, but for no longer than `circuit.maxOpenMs`. Default: off, until `path` is set.
   */
  healthCheck?: HealthCheckOptions;
  /**
   * Keep a backend out for as long as the `Retry-After` of its 503 or 429 says. Only for backends that mean themselves
   * by it: one that limits each client, or a single path that is shut, would be taken from everybody. Default false.
   */
  respectRetryAfter?: false | RetryAfterOptions;
  /**
   * Share of the backends, from 0 to 1, that health checks and `respectRetryAfter` may take out at once, in the order
   * in which they give cause for it; never the last one. Open circuits are not counted. Default 1.
   */
  maxUnavailableRatio?: number;
  /** When more would have to be out than may be, use all of them instead (Envoy's panic threshold). Default false. */
  panic?: boolean;
  /**
   * How a backend is picked among those that are available: the name of a policy, `{ policy: name }` with its options, or a
   * policy of your own. Default `round-robin`.
   */
  loadBalancing?: LoadBalancing;
  /**
   * Milliseconds in which a backend's share rises from a tenth to the whole, under every policy, after it was added to a
   * running pool, after its circuit closed again, and after it was out for its health or for weight 0. A backend that is the
   * only one available gets everything all the same. Default 0: at once.
   */
  slowStartMs?: number;
  /** Milliseconds to connect to a backend; then the next one is asked. Default 2 000. */
  connectTimeoutMs?: number;
  /**
   * Milliseconds from the end of a request to the head of its response; then 504. A timeout counts against the backend only if the
   * backend has sent no other response and passed no health check in the meantime, and only once for each client address within
   * the circuit's `windowMs`, unless another backend responds to the same request: the long polls of one client do not open the
   * circuit for all. Default 60 000.
   */
  responseTimeoutMs?: number;
  /** Milliseconds without a byte; then the exchange is cut. Event streams and upgrades are exempt. Default 60 000. */
  idleTimeoutMs?: number;
  /**
   * `replace` sends the client's address alone as `X-Forwarded-For` or `Forwarded`; `append` adds to the list that a
   * trusted peer sent (an untrusted peer's is dropped in both). Default `replace`.
   */
  forwarded?: ForwardedMode;
  /**
   * In which fields a backend learns who asked: `x-forwarded` for `X-Forwarded-For`, `-Proto` and `-Host`, `forwarded` for
   * `Forwarded` (RFC 7239), or `both`. Who the client is, is read from `X-Forwarded-For` in any case: Express knows no other.
   * Default `x-forwarded`.
   */
  forwardingFields?: ForwardingFields;
  /**
   * Pseudonym of this gateway in `Via` (RFC 9110 §7.6.3): says nothing about the machine. A request that names it already
   * has been here, and gets 508: gateways in a chain need different ones, those side by side may share one. `false` leaves
   * the field as it came, and finds no loops. Default: `expressway-` and six random digits, new for each proxy.
   */
  via?: string | false;
  /**
   * More headers that tell backends who a client is, beside those that are known (`X-Forwarded-*`, `X-Real-IP`, `X-SSL-*` and the
   * like): names, or beginnings such as `x-corp-*`. From a peer that `trust proxy` does not name they are dropped, in spellings
   * with underscores or dots too. What a middleware writes into `req.headers` goes on. Default none.
   */
  identityHeaders?: readonly string[];
  /** Send the backend's authority as `Host` instead of the client's. Default false. */
  changeOrigin?: boolean;
  /**
   * Which requests to proxy, as in http-proxy-middleware; the others go to the next handler. A plain text is a prefix: `/a`
   * matches `/ab` too, with a warning. Default all.
   */
  pathFilter?: Filter;
  /** Rewrites the path, as in http-proxy-middleware, of requests in absolute form too. Default none. */
  pathRewrite?: NonNullable<HpmOptions['pathRewrite']>;
  /**
   * What becomes of a request whose path servers read in different ways, as in `requestGuard()`: `reject` sends 400
   * (an encoded slash alone passes), `strict` refuses that too, `pass` forwards all as they are. Default `reject`.
   */
  ambiguousPaths?: AmbiguousPaths;
  /**
   * Bytes of a request's content; then 413: at once where the request says its length, else when it is passed, and the
   * backend's request is broken off. 0 for any number. Default 0.
   */
  maxBodyBytes?: number;
  /**
   * Where the body of a request is that a middleware read before the proxy: the name of a property of the request that has the raw
   * bytes (`express.json({ verify: (req, _res, bytes) => { req.rawBody = bytes; } })` and `body: 'rawBody'`), or a function of the
   * request, such as {@link parsedBody}. It gives a Buffer or text; nothing for a request that is then refused. Not asked about bodies
   * that were not read. `Content-Encoding` goes on only if the bytes are as many as the client said. Default: such requests get 500.
   */
  body?: ReadBody;
  /** When and how a request is tried at another backend. Default: {@link retryDefaults}. */
  retry?: RetryOptions;
  /** Requests in flight at one backend; a full one is not available. 0 for any number. Default 0. */
  maxRequests?: number;
  /**
   * Whether each backend gets a limit of requests that follows its latency: it grows while responses stay about as fast as without
   * load, and shrinks when they become slower. A request over the limit goes to another backend, into the queue, or gets 503. It
   * counts only until its response head, so event streams and tunnels do not fill the limit. `true` stands for the defaults.
   * Default false.
   */
  adaptiveConcurrency?: boolean | AdaptiveConcurrencyOptions;
  /** What may wait while every backend that would do is full; then 503. Default: nothing waits. */
  queue?: QueueOptions;
  /** Bounds of upgraded connections, such as WebSockets. Default: {@link tunnelDefaults}. */
  tunnel?: TunnelOptions;
  /** How backends over https are checked, and what they are shown. Default: by the system's authorities, nothing. */
  tls?: BackendTlsOptions;
  /**
   * Replaces the rule that a failure and a status of 500 or more count against a backend. Where it throws, that rule stands,
   * and a process warning says so, once. Default: none.
   */
  isFailure?: (outcome: Outcome) => boolean;
  /** Where events go. Default: an emitter of its own, as `events`. */
  events?: GatewayEvents;
}

/** Defaults of {@link RoundRobinProxyOptions}; groups of options have theirs each for themselves. */
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
  ...requestGuardDefaults,
  maxBodyBytes: 0,
  retry: {},
  maxRequests: 0,
  adaptiveConcurrency: false as boolean | AdaptiveConcurrencyOptions,
  queue: {},
  tunnel: {},
  tls: {},
  ...inFlightCapDefaults,
});
