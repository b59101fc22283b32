import { request } from 'node:http';
import { expect, test } from '@jest/globals';
import express from 'express';
import { Registry } from 'prom-client';
import {
  type FinishedRequest,
  GatewayEvents,
  ipRateLimit,
  observability,
  prometheusMetrics,
  roundRobinProxy,
  serviceRouter,
  statusFeed,
} from '../../lib/index.ts';
import { closedPort, eventually, listen } from '../support/servers.ts';

test('status and metrics have the services of the declaration that is in force, also of one that the app sets itself', async () => {
  const events = new GatewayEvents();
  const services = (...names: string[]) =>
    Object.fromEntries(names.map((name, index) => [name, { backends: [`http://127.0.0.1:${index + 1}`] }]));
  const router = serviceRouter({ services: services('users', 'shop'), routes: [{ service: 'users' }], events });
  const registered: { name: string; get(): Promise<unknown> }[] = [];
  const register = { registerMetric: (metric: never) => void registered.push(metric) };
  const metrics = prometheusMetrics({ register, events, routers: [router] });
  // One that is given by both options comes once.
  const proxies = [...router.services.values()].slice(0, 1);
  const feed = statusFeed({ events, metrics, proxies, routers: [router] });
  const shown = async () => {
    const up = registered.find(({ name }) => name === 'expressway_backend_up');
    const { values = [] } = ((await up?.get()) ?? {}) as { values?: { labels: { service: string } }[] };
    return [feed.snapshot().backends.map(({ service }) => service), values.map(({ labels }) => labels.service)];
  };
  try {
    expect(await shown()).toEqual([
      ['users', 'shop'],
      ['users', 'shop'],
    ]);
    router.setDeclaration({ services: services('users', 'orders', 'chat'), routes: [{ service: 'chat' }] });
    expect(await shown()).toEqual([
      ['users', 'orders', 'chat'],
      ['users', 'orders', 'chat'],
    ]);
  } finally {
    feed.close();
    metrics.close();
    await router.close();
  }
});

test('a response that a route declares, such as a maintenance page, is no error of the route or the gateway', async () => {
  const events = new GatewayEvents();
  const dead = [`http://127.0.0.1:${await closedPort()}`];
  const router = serviceRouter({
    services: { a: { backends: dead } },
    routes: [
      { path: '/', service: 'a' },
      { path: '/old', respond: { status: 503, body: 'back at noon' } },
      { path: '/older', redirect: { fullPath: '/old' } },
    ],
    events,
  });
  const lines: FinishedRequest[] = [];
  const register = new Registry();
  const metrics = prometheusMetrics({ register, events, routers: [router] });
  const status = statusFeed({ events, metrics, routers: [router] });
  const app = express();
  app.use(observability({ metrics, status, accessLog: { finished: (one) => void lines.push(one) } }), router);
  const server = await listen(app);
  try {
    for (const path of ['/old', '/older', '/']) await (await fetch(server.url + path, { redirect: 'manual' })).text();
    await eventually('all requests are recorded', () => lines.length === 3);
    expect(lines.map(({ route, source, status: sent, cause }) => [route, source, sent, cause])).toEqual([
      ['/old', 'route', 503, undefined],
      ['/older', 'route', 302, undefined],
      ['/', 'gateway', 502, 'connection_refused'],
    ]);
    const { routes, rates } = status.snapshot();
    expect(routes.map(({ route, requests, errors }) => [route, requests, errors])).toEqual([
      ['/', 1, 1],
      ['/older', 1, 0],
      ['/old', 1, 0],
    ]);
    expect(rates).toMatchObject({ gatewayErrors: 0 });
    expect(await register.metrics()).toContain(
      'expressway_requests_total{route="/old",service="",method="GET",status="5xx",source="route"} 1\n',
    );
  } finally {
    await server.close();
    status.close();
    metrics.close();
    await router.close();
  }
});

test('observability({ routers }) finds the route of a request that a limiter in front rejected, and of no other', async () => {
  const finished: FinishedRequest[] = [];
  const dead = [`http://127.0.0.1:${await closedPort()}`];
  const limiter = ipRateLimit({ limit: 4 });
  const legacy = roundRobinProxy({ name: 'legacy', backends: dead });
  const router = serviceRouter({
    services: { a: { backends: dead }, web: { backends: dead } },
    routes: [
      { name: 'of a', hostnames: 'a.example', service: 'a' },
      { name: 'all', service: 'web' },
    ],
  });
  const app = express();
  app.use(observability({ accessLog: { finished: (one) => void finished.push(one) }, routers: [router] }), limiter);
  app.get('/own', (_req, res) => void res.sendStatus(200));
  app.use('/legacy', legacy);
  app.use(router);
  const server = await listen(app);
  try {
    for (const path of ['/own', '/legacy/x', '/x', 'http://a.example', '/own', 'http://a.example']) {
      await new Promise((resolve, reject) => {
        request(server.url, { path }, (res) => res.resume().on('end', resolve))
          .on('error', reject)
          .end();
      });
    }
    await eventually('six records', () => finished.length === 6);
    expect(finished.map(({ status, route, service }) => [status, route, service])).toEqual([
      [200, 'default', undefined],
      [502, 'default', 'legacy'],
      [502, 'all', 'web'],
      [502, 'of a', 'a'],
      // Rejected. Its handler is the app's own, which the router cannot know.
      [429, 'all', 'web'],
      [429, 'of a', 'a'],
    ]);
  } finally {
    await server.close();
    await Promise.all([limiter.close(), legacy.close(), router.close()]);
  }
});

test('observability({ routers }) finds the route of a rejected request also for a router that the app mounts under a path', async () => {
  const finished: FinishedRequest[] = [];
  const limiter = ipRateLimit({ limit: 1 });
  const router = serviceRouter({
    services: {},
    routes: [
      { name: 'shop', path: '/shop', respond: { body: 'shop' } },
      { name: 'all', respond: { body: 'all' } },
    ],
  });
  const app = express();
  app.use(observability({ accessLog: { finished: (one) => void finished.push(one) }, routers: [router] }), limiter);
  app.use('/api', router);
  const server = await listen(app);
  try {
    for (const path of ['/api/shop/x', '/api/shop/x', '/api?a=1', '/apis/shop', '/shop'])
      await fetch(server.url + path);
    await eventually('five records', () => finished.length === 5);
    expect(finished.map(({ status, route }) => [status, route])).toEqual([
      [200, 'shop'],
      [429, 'shop'],
      [429, 'all'],
      // The router would not have got these.
      [429, 'default'],
      [429, 'default'],
    ]);
  } finally {
    await server.close();
    await Promise.all([limiter.close(), router.close()]);
  }
});
