import { Agent, createServer } from 'node:http';
import express, { type Request, type Response } from 'express';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { backendOrigins, serveTarget } from '../../harness/target-side.ts';
import { TIMEOUT_MS } from '../settings.ts';

// It has no notion of several backends: a router that takes turns is what its users write.

const backends = backendOrigins();
let cursor = 0;

const app = express();
app.disable('x-powered-by');
app.use(
  createProxyMiddleware<Request, Response>({
    target: backends[0] as string,
    router: () => backends[cursor++ % backends.length] as string,
    changeOrigin: true,
    xfwd: true,
    proxyTimeout: TIMEOUT_MS,
    agent: new Agent({ keepAlive: true }),
  }),
);

await serveTarget(createServer(app));
