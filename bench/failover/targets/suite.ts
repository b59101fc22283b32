import { createServer } from 'node:http';
import express from 'express';
import { circuitBreaker, ipRateLimit, roundRobinProxy } from '../../../lib/index.ts';
import { backendOrigins, serveTarget } from '../../harness/target-side.ts';
import { HEALTH_PATH, REST_MS, TIMEOUT_MS } from '../settings.ts';

// As in the README; whatever is not named here has its default, the retries too.

const backends = backendOrigins();
const app = express();
app.disable('x-powered-by');
app.use(ipRateLimit({ limit: 1e9, windowMs: 60_000 }));
// By the number of backends, so that one bad one trips its own circuit and not the whole route's.
app.use(circuitBreaker({ minimumRequests: 5 * backends.length }));
app.use(
  roundRobinProxy({
    backends,
    connectTimeoutMs: TIMEOUT_MS,
    responseTimeoutMs: TIMEOUT_MS,
    circuit: { openMs: REST_MS },
    healthCheck: { path: HEALTH_PATH, intervalMs: REST_MS, unhealthyIntervalMs: REST_MS / 4, timeoutMs: TIMEOUT_MS },
  }),
);

await serveTarget(createServer(app));
