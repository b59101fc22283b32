import circuitBreaker from '@fastify/circuit-breaker';
import httpProxy from '@fastify/http-proxy';
import rateLimit from '@fastify/rate-limit';
import { fastify, LogController } from 'fastify';
import metrics from 'fastify-metrics';
import { announceTarget, backendOrigins } from '../harness/target-side.ts';
import { logFile } from './http-parts.ts';

// Each feature by Fastify's own plugin. The first argument is the file of the access log, the others are the backends.

const [file = '', ...rest] = process.argv.slice(2);
const origins = backendOrigins(rest);
let cursor = 0;

// One line per request instead of two, and two of the proxy, by the hook that Fastify's documentation shows for that.
const app = fastify({
  logger: { stream: logFile(file) },
  logController: new LogController({ disableRequestLogging: true }),
});
app.addHook('onResponse', (req, reply, done) => {
  req.log.info({ req, res: reply, responseTime: reply.elapsedTime }, 'request completed');
  done();
});

// With @platformatic/prom-client, which its README recommends for speed and which it uses where it is installed.
await app.register(metrics, { routeMetrics: { enabled: { histogram: true, summary: false } } });
await app.register(rateLimit, { max: 1e9, timeWindow: 60_000 });
await app.register(circuitBreaker, {});
await app.register(httpProxy, {
  upstream: '',
  disableRequestLogging: true,
  preHandler: app.circuitBreaker(),
  replyOptions: { getUpstream: () => origins[cursor++ % origins.length] as string },
});
await app.listen({ port: 0, host: '127.0.0.1' });

announceTarget(app.server);
