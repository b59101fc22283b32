import express from 'express';
import {
  type CounterLink,
  circuitBreaker,
  compose,
  type GatewayEvents,
  requestGuard,
  roundRobinProxy,
} from 'expressway';
import type { Config } from './config/config.ts';
import { readBackendTls } from './config/tls-files.ts';
import { internalErrorHandler } from './internal-error.ts';
import type { Logger } from './logging/logger.ts';
import { type Lines, observe } from './observing/observe.ts';
import { createLimiter, replaceableLimiter } from './reload/replaceable-limiter.ts';

/**
 * The gateway as one Express app, with the middlewares that it mounts.
 *
 * @param counter Counts for a worker's limiter.
 */
export function createApp(config: Config, events: GatewayEvents, log: Logger, lines: Lines, counter?: CounterLink) {
  const { backends, dns, loadBalancing, slowStartMs, trustProxy, circuit, healthCheck } = config;

  const { ambiguousPaths, mergeSlashes, maxBodyBytes, identityHeaders } = config;
  const guard = requestGuard({ ambiguousPaths, mergeSlashes, events });
  const limiter = replaceableLimiter(createLimiter(config, events, counter));
  // Scaled with the pool as it is then, so that one bad backend trips its own circuit and never the whole route's.
  const minimumRequests = () => circuit.minimumRequests * Math.max(1, proxy.status().length);
  const breaker = circuitBreaker({ ...circuit, name: 'route', minimumRequests, events });
  const { connectTimeoutMs, responseTimeoutMs, idleTimeoutMs } = config;
  const timeouts = { connectTimeoutMs, responseTimeoutMs, idleTimeoutMs };
  const picking = { loadBalancing, slowStartMs };
  const tls = readBackendTls(config.backendTls);
  const content = { ambiguousPaths, maxBodyBytes, identityHeaders };
  const proxy = roundRobinProxy({
    backends,
    dns,
    tls,
    ...picking,
    circuit,
    healthCheck,
    ...timeouts,
    ...content,
    events,
  });

  const observer = observe(config, events, log, lines, { limiter, breaker, proxy });

  const app = express();
  app.disable('x-powered-by').disable('etag').set('query parser', false).set('trust proxy', trustProxy);
  app.use(compose(observer.middleware, guard, limiter, breaker, proxy));
  app.use(internalErrorHandler(log));
  return { app, limiter, breaker, proxy, observer };
}

export type App = ReturnType<typeof createApp>;
