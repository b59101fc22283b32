import express from 'express';
import { circuitBreaker, compose, ipRateLimit, loadShedding, requestGuard, roundRobinProxy } from '../index.ts';
import type { Host, HostedApp } from './hosted-app.ts';

/** The app of `npx expressway start`: every middleware of the suite, as the variables say, as one layer of Express. */
export function standardApp({ config, options }: Host): HostedApp {
  const limiter = ipRateLimit(options.limiter);
  // Scaled with the pool as it is then, so that one bad backend trips its own circuit and never the whole route's.
  const minimumRequests = () => config.circuit.minimumRequests * Math.max(1, proxy.status().length);
  const breaker = circuitBreaker({ ...options.breaker, minimumRequests });
  const proxy = roundRobinProxy(options.proxy);
  const app = express();
  app.disable('x-powered-by').disable('etag').set('query parser', false).set('trust proxy', config.trustProxy);
  app.use(compose(loadShedding(options.shedding), requestGuard(options.guard), limiter, breaker, proxy));
  return { app, limiter, breaker, proxy };
}
