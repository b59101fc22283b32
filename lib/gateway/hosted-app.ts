import type { Express } from 'express';
import type {
  CircuitBreaker,
  CircuitBreakerOptions,
  CounterLink,
  Declaration,
  GatewayEvents,
  IpRateLimiter,
  IpRateLimitOptions,
  LoadShedding,
  LoadSheddingOptions,
  RequestGuardOptions,
  RoundRobinProxy,
  RoundRobinProxyOptions,
  ServiceRouter,
  ServiceRouterOptions,
} from '../index.ts';
import type { Config } from './config/config.ts';
import { readBackendTls } from './config/tls-files.ts';
import type { Logger } from './logging/logger.ts';

/** The argument of the function that makes the app. */
export interface Host {
  /** The configuration from the variables of the environment, as of the start. */
  readonly config: Config;
  /** The same configuration as options of the middlewares. In a worker, the limiter counts for all workers. */
  readonly options: MiddlewareOptions;
  /** Emitter of all events that the gateway logs and counts. `options` contains it already. */
  readonly events: GatewayEvents;
  readonly log: Logger;
}

/** Options of the middlewares of the suite. */
export interface MiddlewareOptions {
  readonly shedding: LoadSheddingOptions;
  readonly guard: RequestGuardOptions;
  readonly limiter: IpRateLimitOptions;
  readonly breaker: CircuitBreakerOptions;
  readonly proxy: RoundRobinProxyOptions;
  /** The declaration in the file of `GATEWAY_CONFIG`; `undefined` without one. */
  readonly router: ServiceRouterOptions | undefined;
}

/**
 * An app with its middlewares. The gateway shows them on the status page, counts their requests, reloads and closes them. All
 * middlewares are optional.
 */
export interface HostedApp {
  readonly app: Express;
  /**
   * Pass it only if the app mounts it before everything else. While it sheds load, the gateway then rejects requests of any path before
   * Node parses them (`rejectEarly()`).
   */
  readonly shedding?: LoadShedding | undefined;
  /** Follows the variables `RATE_LIMIT_*` at a reload. */
  readonly limiter?: IpRateLimiter | undefined;
  readonly breaker?: CircuitBreaker | undefined;
  /** Follows `BACKENDS`, `BACKENDS_FILE` and `BACKEND_*` at a reload. */
  readonly proxy?: RoundRobinProxy | undefined;
  /** Follows the file `GATEWAY_CONFIG`. Its proxies are on the status page, too. */
  readonly router?: ServiceRouter | undefined;
  /** Further proxies, each with a `name` of its own. No variable configures them. */
  readonly proxies?: readonly RoundRobinProxy[] | undefined;
}

/** All present proxies of an app. A reload may change those of the router. */
export const proxiesOf = ({ proxy, proxies = [], router }: HostedApp): readonly RoundRobinProxy[] => [
  ...(proxy === undefined ? [] : [proxy]),
  ...proxies,
  ...(router?.services.values() ?? []),
];

/** Makes the app, once in each process that serves. */
export type AppFactory = (host: Host) => HostedApp;

/**
 * Milliseconds that a worker waits for the counts of the primary; then it counts alone with its part of the limit. The primary serves no
 * traffic, so it is late only if the machine is overloaded.
 */
const COUNTER_TIMEOUT_MS = 1_000;

/** The argument of `limiter.setLimits()` at a reload. */
export function limitsOf({ rateLimit, redisUrl }: Config, counter: CounterLink | undefined) {
  const isCounted = redisUrl === undefined && counter !== undefined;
  return isCounted ? { ...rateLimit, storeTimeoutMs: COUNTER_TIMEOUT_MS } : rateLimit;
}

/** A declaration whose services have the defaults that variables set. An option of a service or a route wins. */
export function withServiceDefaults(
  declaration: Declaration,
  { maxBodyBytes }: Pick<Config, 'maxBodyBytes'>,
): Declaration {
  const services = Object.entries(declaration.services).map(([name, own]) => [name, { maxBodyBytes, ...own }]);
  return { ...declaration, services: Object.fromEntries(services) };
}

/** @throws {TlsFilesError} when a file for backends over https cannot be used. */
export function middlewareOptions(config: Config, events: GatewayEvents, counter?: CounterLink): MiddlewareOptions {
  const { ambiguousPaths, mergeSlashes, trustProxy, redisUrl, circuit } = config;
  const isCounted = redisUrl === undefined && counter !== undefined;
  const store = isCounted ? { counter } : { redis: redisUrl };
  const limits = limitsOf(config, counter);
  const { onStoreError, ipv6Subnet, storeTimeoutMs } = limits;
  return {
    shedding: { maxDelayMs: config.maxDelayMs, events },
    guard: { ambiguousPaths, mergeSlashes, events },
    limiter: { ...limits, ...store, trustProxy, events },
    breaker: { ...circuit, name: 'route', events },
    router: config.declaration && {
      ...withServiceDefaults(config.declaration, config),
      limiter: { ...store, onStoreError, ipv6Subnet, storeTimeoutMs, trustProxy },
      events,
    },
    proxy: {
      backends: config.backends,
      dns: config.dns,
      tls: readBackendTls(config.backendTls),
      protocol: config.backendProtocol,
      changeOrigin: config.changeOrigin,
      loadBalancing: config.loadBalancing,
      slowStartMs: config.slowStartMs,
      adaptiveConcurrency: config.adaptiveConcurrency,
      circuit,
      retry: config.retry,
      healthCheck: config.healthCheck,
      connectTimeoutMs: config.connectTimeoutMs,
      responseTimeoutMs: config.responseTimeoutMs,
      idleTimeoutMs: config.idleTimeoutMs,
      maxBodyBytes: config.maxBodyBytes,
      identityHeaders: config.identityHeaders,
      ambiguousPaths,
      events,
    },
  };
}
