import { createServer } from 'node:http';
import express from 'express';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { LogOutput } from '../../lib/gateway/logging/log-output.ts';
import { keepNewObjectsYoung } from '../../lib/gateway/v8-settings.ts';
import {
  accessLog,
  circuitBreaker,
  compose,
  expressListener,
  expressServerOptions,
  GatewayEvents,
  hardenServer,
  ipRateLimit,
  loadShedding,
  observability,
  type PrometheusMetrics,
  prometheusMetrics,
  requestGuard,
  roundRobinProxy,
  statusFeed,
  tracing,
} from '../../lib/index.ts';
import { backendOrigins, serveTarget } from '../harness/target-side.ts';
import { LAYERS, type LayerName } from './layer-names.ts';

// The layers of `layer-names.ts` up to the one that the first argument names; the second is the file of the access log, the
// others are the backends. All of them together are the gateway of example-gateway/, save for its admin listener.

const [wanted = '', file = '', ...origins] = process.argv.slice(2);
// `bounds+shedding` is the suite with load shedding, for `overload`.
const [top = '', extra] = wanted.split('+');
const height = LAYERS.findIndex(([name]) => name === top);
if (height === -1) throw new Error(`no layer "${top}"; there are ${LAYERS.map(([name]) => name).join(', ')}`);
const has = (layer: LayerName): boolean => LAYERS.findIndex(([name]) => name === layer) <= height;

// As the example gateway does at its start.
keepNewObjectsYoung();

const api = has('tracing') ? await import('@opentelemetry/api') : undefined;
const backends = backendOrigins(origins);
const events = new GatewayEvents();

const guard = requestGuard({ events });
const limiter = ipRateLimit({ limit: 1e9, windowMs: 60_000, events });
// By the number of backends, so that one bad one trips its own circuit and not the whole route's.
const breaker = circuitBreaker({ name: 'route', minimumRequests: 5 * backends.length, events });
const proxy = roundRobinProxy({
  backends,
  ...(has('health') ? { healthCheck: { path: '/healthz' } } : {}),
  events,
});

const parts = { events, limiters: [limiter], breakers: [breaker], proxies: [proxy] };

function countRequests() {
  const register = new Registry();
  collectDefaultMetrics({ register });
  return prometheusMetrics({ register, ...parts });
}

/** As for an operator who has the status page open. */
function watchedFeed(metrics: PrometheusMetrics) {
  const feed = statusFeed({ metrics, ...parts });
  const show = (data: unknown): void => void JSON.stringify(data);
  feed.watch({ snapshot: show, history: show });
  return feed;
}

/** As example-gateway/ writes it. */
function log() {
  const lines = new LogOutput(file);
  return accessLog({ to: lines, base: { level: 'info' } });
}

function observer() {
  const metrics = has('metrics') ? countRequests() : undefined;
  return observability({
    metrics,
    accessLog: has('access-log') ? log() : undefined,
    status: metrics && has('status') ? watchedFeed(metrics) : undefined,
    tracing: api && tracing({ api }),
  });
}

const shedding = extra === 'shedding' ? loadShedding({ events }) : undefined;

const app = express();
app.disable('x-powered-by');
const mounted = [
  has('observability') ? [observer()] : [],
  shedding === undefined ? [] : [shedding],
  has('guard') ? [guard] : [],
  has('limiter') ? [limiter] : [],
  has('circuit') ? [breaker] : [],
  proxy,
];
app.use(compose(...mounted.flat()));

const server = createServer(expressServerOptions(app), expressListener(app));
// `connections` opens more than the defaults let anybody have.
if (has('bounds')) hardenServer(server, { maxConnections: 100_000, maxConnectionsPerAddress: 100_000, events });
shedding?.rejectEarly(server);
// As on the admin listener of a gateway, which shares the event loop with the traffic.
const admin = shedding && createServer((_req, res) => void res.end('ready'));
await serveTarget(server, admin);
