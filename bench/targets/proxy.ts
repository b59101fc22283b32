import { createServer } from 'node:http';
import express from 'express';
import { roundRobinProxy } from 'expressway';
import { backendOrigins, serveTarget } from '../harness/target-side.ts';

const app = express();
app.disable('x-powered-by');
app.use(roundRobinProxy({ backends: backendOrigins() }));

await serveTarget(createServer(app));
