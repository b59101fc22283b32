import { createServer } from 'node:http';
import express from 'express';
import { circuitBreaker, ipRateLimit, roundRobinProxy } from '../../lib/index.ts';
import { backendOrigins, serveTarget } from '../harness/target-side.ts';

const app = express();
app.disable('x-powered-by');
app.use(ipRateLimit({ limit: 1e9, windowMs: 60_000 }));
app.use(circuitBreaker({ minimumRequests: 10 }));
app.use(roundRobinProxy({ backends: backendOrigins() }));

await serveTarget(createServer(app));
