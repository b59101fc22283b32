import express from 'express';
import { circuitBreaker, ipRateLimit, loadShedding, requestGuard, roundRobinProxy } from 'expressway';
import type { Host, HostedApp } from 'expressway/gateway';
import { middlewareOptions } from './config.ts';

/** The gateway: an Express app, and the middlewares of the suite in the order in which a request passes them. */
export function createApp(host: Host): HostedApp {
  const { trustProxy, shed, guard, limit, circuit, forward } = middlewareOptions(host);

  const shedding = loadShedding(shed);
  const limiter = ipRateLimit(limit);
  const proxy = roundRobinProxy(forward);
  const breaker = circuitBreaker({
    ...circuit,
    // Scaled with the number of backends: one bad backend opens its own circuit, and never that of the whole route.
    minimumRequests: () => circuit.minimumRequests * Math.max(1, proxy.status().length),
  });

  const app = express();
  app.disable('x-powered-by').disable('etag').set('query parser', false);
  // The proxies whose X-Forwarded-For counts.
  app.set('trust proxy', trustProxy);

  // 1. Rejects a part of the requests with 503 while more come than the process can serve.
  app.use(shedding);
  // 2. Rejects ambiguous requests (request smuggling, odd paths) with 400, and normalises the path.
  app.use(requestGuard(guard));
  // 3. Counts the requests of each client: 429 over the limit.
  app.use(limiter);
  // Your own authentication goes here.
  // 4. Stops asking when too many requests fail: 503 for a while.
  app.use(breaker);
  // 5. Forwards to the next available backend, and to another one when that fails.
  app.use(proxy);

  return { app, shedding, limiter, breaker, proxy };
}
