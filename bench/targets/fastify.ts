import httpProxy from '@fastify/http-proxy';
import fastify from 'fastify';
import { announceTarget, backendOrigins } from '../harness/target-side.ts';

// Bare: no limiter, no breaker, no logger. Its own defaults for undici are the ones that its README recommends.

const app = fastify();
const origins = backendOrigins();
let cursor = 0;

await app.register(httpProxy, {
  upstream: '',
  replyOptions: { getUpstream: () => origins[cursor++ % origins.length] as string },
});
await app.listen({ port: 0, host: '127.0.0.1' });

announceTarget(app.server);
