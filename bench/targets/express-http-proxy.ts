import { createServer } from 'node:http';
import express from 'express';
import httpProxy from 'express-http-proxy';
import { backendOrigins, serveTarget } from '../harness/target-side.ts';

// Bare; `parseReqBody` is what its README says for large uploads. A proxy per backend in turns: asking a function for the
// backend of each request would make it read the URL again each time. It closes its connection after each request, always.

const proxies = backendOrigins().map((origin) => httpProxy(origin, { parseReqBody: false }));
let cursor = 0;

const app = express();
app.disable('x-powered-by');
app.use((req, res, next) => void proxies[cursor++ % proxies.length]?.(req, res, next));

await serveTarget(createServer(app));
