import express from 'express';
import {
  circuitBreaker,
  compose,
  ipRateLimit,
  loadShedding,
  requestGuard,
  roundRobinProxy,
  type ServiceRouterOptions,
  serviceRouter,
} from '../index.ts';
import type { Host, HostedApp } from './hosted-app.ts';

/** The app of `npx expressway start`: every middleware of the suite, configured by the variables, in one layer of Express. */
export function standardApp(host: Host): HostedApp {
  const { config, options } = host;
  if (options.router !== undefined) return routedApp(host, options.router);
  const limiter = ipRateLimit(options.limiter);
  // Depends on the present number of backends, so that one bad backend opens its own circuit and never that of the whole route.
  const minimumRequests = () => config.circuit.minimumRequests * Math.max(1, proxy.status().length);
  const breaker = circuitBreaker({ ...options.breaker, minimumRequests });
  const proxy = roundRobinProxy(options.proxy);
  const shedding = loadShedding(options.shedding);
  const app = emptyApp(host);
  app.use(compose(shedding, requestGuard(options.guard), limiter, breaker, proxy));
  return { app, shedding, limiter, breaker, proxy };
}

/** The app for the services and routes of `GATEWAY_CONFIG`. */
function routedApp(host: Host, routes: ServiceRouterOptions): HostedApp {
  const { config, options } = host;
  // The router applies the path rules of the file. The guard before it rejects only requests that are always invalid.
  const guard = requestGuard({ ...options.guard, ambiguousPaths: 'pass', mergeSlashes: false });
  const limiter = config.isRateLimited ? ipRateLimit(options.limiter) : undefined;
  const router = serviceRouter(routes);
  const shedding = loadShedding(options.shedding);
  const app = emptyApp(host);
  const before = [shedding, guard, ...(limiter === undefined ? [] : [limiter])];
  app.use(compose(...before, router));
  return { app, shedding, limiter, router };
}

function emptyApp({ config }: Host) {
  const app = express();
  return app.disable('x-powered-by').disable('etag').set('query parser', false).set('trust proxy', config.trustProxy);
}
