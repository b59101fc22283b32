import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import express from 'express';
import { rateLimit } from 'express-rate-limit';
import {
  accessLog,
  GatewayEvents,
  ipRateLimit,
  observability,
  prometheusMetrics,
  type RedisClient,
  rateLimitStore,
  roundRobinProxy,
  undiciTransport,
} from 'expressway';
import { startBackend } from 'expressway/testing';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { pino } from 'pino';
import { Registry } from 'prom-client';
import { createClient, createCluster, createSentinel } from 'redis';

// Each of these is taken as it is, without a cast. None is connected.
const clients: RedisClient[] = [
  createClient(),
  createCluster({ rootNodes: [{}] }),
  createSentinel({ name: 'mymaster', sentinelRootNodes: [{ host: '127.0.0.1', port: 26379 }] }),
];

const lines: string[] = [];
const register = new Registry();
const events = new GatewayEvents();
const backend = await startBackend();
const limiter = ipRateLimit({ limit: 100, events });
const proxy = roundRobinProxy({ backends: [backend.url], events });
const metrics = prometheusMetrics({ register, events, limiters: [limiter], proxies: [proxy] });
const log = accessLog({ to: pino({}, { write: (line: string) => void lines.push(line) }) });

const app = express();
app.use(observability({ metrics, accessLog: log }));
app.use('/hpm', createProxyMiddleware({ target: backend.url, plugins: [undiciTransport()] }));
app.use('/erl', rateLimit({ limit: 10, store: rateLimitStore({ algorithm: 'token-bucket' }), validate: false }));
app.use(limiter, proxy);

const server = createServer(app);
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address() as AddressInfo;
for (const path of ['/hpm', '/erl', '/']) {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  const text = await response.text();
  if (response.status !== 200 || text !== 'ok') throw new Error(`${path}: got ${response.status} ${text}`);
}
const exposition = await register.metrics();
server.close();
server.closeAllConnections();
await proxy.close();
await limiter.close();
await backend.close();
if (!exposition.includes('expressway_')) throw new Error('no metrics in the registry');
if (lines.length !== 3 || clients.length !== 3) throw new Error(`${lines.length} lines`);
process.exit();
