import type { Express } from 'express';
import type {
  CircuitBreaker,
  CircuitBreakerOptions,
  CounterLink,
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

/** What the gateway hands the function that makes its app. */
export interface Host {
  /** What the variables of the environment say, at the time of the start. */
  readonly config: Config;
  /** The same as options of the middlewares. In a worker, the limiter counts for all workers. */
  readonly options: MiddlewareOptions;
  /** Of everything that the gateway logs and counts. The options have it. */
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
  /** Only with `GATEWAY_CONFIG`: what the file declares. */
  readonly router: ServiceRouterOptions | undefined;
}

/**
 * An app, and those of its middlewares that the gateway is to show on its status page, to count, to reload and to close. Each
 * may be missing.
 */
export interface HostedApp {
  readonly app: Express;
  /**
   * Of an app that mounts it before everything else: while it sheds load, requests are rejected before Node's parser
   * (`rejectEarly()`), whatever their path.
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

/** All proxies of an app, as they are now: a reload may give the router others. */
export const proxiesOf = ({ proxy, proxies = [], router }: HostedApp): readonly RoundRobinProxy[] => [
  ...(proxy === undefined ? [] : [proxy]),
  ...proxies,
  ...(router?.services.values() ?? []),
];

/** Makes the app, once in each process that serves. */
export type AppFactory = (host: Host) => HostedApp;

/**
 * A primary that serves no traffic is late only where the machine has no time left: a worker waits so long for its reply, and
 * then counts alone with its part of the limit.
 */
const COUNTER_TIMEOUT_MS = 1_000;

/** What a reload gives `limiter.setLimits()`. */
export function limitsOf({ rateLimit, redisUrl }: Config, counter: CounterLink | undefined) {
  const isCounted = redisUrl === undefined && counter !== undefined;
  return isCounted ? { ...rateLimit, storeTimeoutMs: COUNTER_TIMEOUT_MS } : rateLimit;
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
      ...config.declaration,
      limiter: { ...store, onStoreError, ipv6Subnet, storeTimeoutMs, trustProxy },
      events,
    },
    proxy: {
      backends: config.backends,
      dns: config.dns,
      tls: readBackendTls(config.backendTls),
      protocol: config.backendProtocol,
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
