import { createServer } from 'node:http';
import express from 'express';
import { circuitBreaker, roundRobinProxy } from 'expressway';
import { backendOrigins, serveTarget } from '../harness/target-side.ts';

const app = express();
app.disable('x-powered-by');
app.use(circuitBreaker({ minimumRequests: 10 }));
app.use(roundRobinProxy({ backends: backendOrigins() }));

await serveTarget(createServer(app));
