import { createServer } from 'node:http';
import express, { type Request, type Response } from 'express';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { undiciTransport } from '../../lib/index.ts';
import { backendOrigins, serveTarget } from '../harness/target-side.ts';

// One backend: http-proxy-middleware by itself knows no more, and a router function would be measured along.

const app = express();
app.disable('x-powered-by');
app.use(
  createProxyMiddleware<Request, Response>({
    target: backendOrigins()[0] as string,
    plugins: [undiciTransport()],
  }),
);

await serveTarget(createServer(app));
