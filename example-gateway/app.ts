import express from 'express';
import { circuitBreaker, type GatewayEvents, ipRateLimit, roundRobinProxy } from 'expressway';
import type { Config } from './config.ts';
import { internalErrorHandler } from './internal-error.ts';
import type { Logger } from './logger.ts';

/** The gateway as one Express app, with the middlewares that it mounts. */
export function createApp(config: Config, events: GatewayEvents, log: Logger) {
  const { backends, redisUrl, trustProxy, circuit, connectTimeoutMs, responseTimeoutMs, idleTimeoutMs } = config;

  const limiter = ipRateLimit({ ...config.rateLimit, redis: redisUrl, trustProxy, events });
  // Scaled with the pool, so that one bad backend trips its own circuit and never the whole route's.
  const minimumRequests = circuit.minimumRequests * backends.length;
  const breaker = circuitBreaker({ ...circuit, name: 'route', minimumRequests, events });
  const proxy = roundRobinProxy({ backends, circuit, connectTimeoutMs, responseTimeoutMs, idleTimeoutMs, events });

  const app = express();
  app.disable('x-powered-by').disable('etag').set('query parser', false).set('trust proxy', trustProxy);
  app.use(limiter, breaker, proxy);
  app.use(internalErrorHandler(log));
  return { app, limiter, breaker, proxy };
}

export type App = ReturnType<typeof createApp>;
