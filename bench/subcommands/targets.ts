import { join } from 'node:path';
import { SystemTarget } from '../harness/system-target.ts';
import { NodeTarget } from '../harness/target.ts';
import { caddy, caddyFull } from '../peers/caddy.ts';
import { go } from '../peers/go.ts';
import { haproxy } from '../peers/haproxy.ts';
import { nginx } from '../peers/nginx.ts';
import { LAYERS, type LayerName } from '../targets/layer-names.ts';

/** Every target by name; a subcommand picks the ones that its question needs. */
export const FLOOR = new NodeTarget('floor', 'bare node:http + undici, a Pool for each backend, in turn');
export const HPM = new NodeTarget('hpm', 'http-proxy-middleware + express-rate-limit + cockatiel on Express 5');
export const FASTIFY = new NodeTarget('fastify', '@fastify/http-proxy, bare', { isPeer: true });
export const FAST_GATEWAY = new NodeTarget('fast-gateway', 'fast-gateway, bare', { isPeer: true });
const EXPRESS_HTTP_PROXY = new NodeTarget('express-http-proxy', 'express-http-proxy on Express 5, bare', {
  isPeer: true,
});
export const EXPRESS = new NodeTarget('express', 'Express 5 that answers by itself, no proxy');
export const TRANSPORT = new NodeTarget('transport', 'http-proxy-middleware with undiciTransport(), 1 backend');
export const SUITE_PLAIN = new NodeTarget(
  'suite-plain',
  'Expressway: ipRateLimit + circuitBreaker + roundRobinProxy on Express 5, nothing else',
);
export const SUITE = layered(
  'suite',
  'bounds',
  'Expressway, all on: limiter, route circuit, circuit per backend, health checks, failover, guard, metrics, access log to a file, bounds',
);

/** As the gateway mounts it. */
export const SUITE_SHEDDING = layered('suite-shedding', 'bounds+shedding', 'the suite with loadShedding()');

/** With what few need all the time. */
export const SUITE_WATCHED = layered(
  'suite-watched',
  'tracing',
  'the suite, its status page with somebody who watches, and tracing() without an SDK',
);

/** Each is the one before plus one layer; the suite is one of them, and the last one is the suite that is watched. */
export const LAYERED = LAYERS.map(([name, title], index) => {
  const known = { bounds: SUITE, tracing: SUITE_WATCHED }[name as string];
  return known ?? layered(index === 0 ? name : `+${name}`, name, title);
});

export const SYSTEM_PEERS = [
  new SystemTarget('nginx', 'nginx, one worker process, kept connections', nginx),
  new SystemTarget('haproxy', 'HAProxy, one thread', haproxy),
  new SystemTarget('caddy', 'Caddy reverse_proxy, GOMAXPROCS=1', caddy),
  new SystemTarget('go', 'httputil.ReverseProxy of Go, GOMAXPROCS=1', go),
];

/** With what the suite does, as far as their ecosystem has it. */
export const FULL_PEERS = [
  full('hpm-full', 'hpm with prom-client and pino-http'),
  full('fastify-full', '@fastify/http-proxy with rate-limit, circuit-breaker, fastify-metrics and its logger'),
  full('fast-gateway-full', 'fast-gateway with express-rate-limit, opossum, prom-client and pino-http'),
  new SystemTarget('caddy', 'Caddy with metrics and access log; no limiter, no breaker', caddyFull, 'caddy-full'),
];

export const NODE_PEERS = [HPM, FASTIFY, FAST_GATEWAY, EXPRESS_HTTP_PROXY];

/** Those that run on Node, and so can be profiled. */
export const ALL = [
  ...new Set([FLOOR, SUITE, SUITE_WATCHED, SUITE_PLAIN, ...NODE_PEERS, EXPRESS, TRANSPORT, ...LAYERED]),
];

function layered(name: string, top: LayerName | 'bounds+shedding', title: string): NodeTarget {
  return new NodeTarget(name, title, {
    script: 'expressway',
    args: ({ folder }) => [top, join(folder, `${name}.access.log`)],
  });
}

function full(name: string, title: string): NodeTarget {
  return new NodeTarget(name, title, { isPeer: true, args: ({ folder }) => [join(folder, `${name}.access.log`)] });
}
