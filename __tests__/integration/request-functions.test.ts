import { afterEach, expect, test } from '@jest/globals';
import type { Request, Response } from 'express';
import express from 'express';
import {
  GatewayEvents,
  observability,
  parsedBody,
  prometheusMetrics,
  roundRobinProxy,
  undiciTransport,
} from 'expressway';
import { startBackend } from 'expressway/testing';
import { createProxyMiddleware, type Filter } from 'http-proxy-middleware';
import { Registry } from 'prom-client';
import { Cleanup } from '../support/gateway.ts';
import { listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

// That these compile is half of the test. Those of ipRateLimit() have theirs in unit/rate-limit/request-types.test.ts.
test('functions for the Request of Express compile as options, and get one', async () => {
  const backend = cleanup.add(await startBackend());
  const register = new Registry();
  const proxy = roundRobinProxy({
    backends: [backend.url],
    pathFilter: (pathname: string, req: Request) => pathname.startsWith('/api') && req.is('json') === 'json',
    pathRewrite: async (path: string, req: Request) => `${path}?from=${req.originalUrl}`,
    body: (req: Request) => JSON.stringify({ ...req.body, by: req.get('x-by') }),
    response: { change: ({ headers }, req: Request) => void Object.assign(headers, { 'x-path': req.path }) },
  });
  cleanup.add(proxy);
  const app = express();
  const route = (req: Request) => req.method.toLowerCase();
  app.use(observability({ route, metrics: prometheusMetrics({ register, events: new GatewayEvents() }) }));
  app.use(express.json(), proxy, (_req: Request, res: Response) => res.sendStatus(418));
  const { url } = cleanup.add(await listen(app));

  const headers = { 'content-type': 'application/json', 'x-by': 'ann' };
  const response = await fetch(`${url}/api/a`, { method: 'POST', headers, body: '{"one":1}' });
  expect([response.status, response.headers.get('x-path')]).toEqual([200, '/api/a']);
  expect((await fetch(`${url}/api/a`)).status).toBe(418);
  expect(backend.requests.map(({ url, content }) => [url, String(content)])).toEqual([
    ['/api/a?from=/api/a', '{"one":1,"by":"ann"}'],
  ]);
  expect(await register.metrics()).toContain('route="post"');
});

test('functions without a type, and those written for http-proxy-middleware, compile as well', () => {
  const filter: Filter<Request> = (pathname, req) => pathname !== '' && req.ip !== undefined;
  const options: Parameters<typeof roundRobinProxy>[0][] = [
    { backends: ['http://localhost'], pathFilter: filter, pathRewrite: (path, req) => path + req.method },
    {
      backends: ['http://localhost'],
      pathRewrite: (path: string, _req: Request, _res?: Response) => path,
      body: parsedBody,
    },
    { backends: ['http://localhost'], pathFilter: ['/a/**', '/b/**'], pathRewrite: { '^/a': '/b' } },
  ];
  // @ts-expect-error: not a request
  const wrong: PathFilter = (_pathname: string, req: { readonly notThere: string }) => !req.notThere;
  // @ts-expect-error: no body
  const other: ReadBody = (_req: Request) => 5;
  const { length } = options.map((one) => cleanup.add(roundRobinProxy(one)));
  const body = (req: Request) => JSON.stringify(req.body);
  const plugins = [undiciTransport({ body })];
  const used = [wrong, other, createProxyMiddleware({ target: 'http://localhost', plugins })];
  expect([length, ...used.map((one) => typeof one)]).toEqual([3, 'function', 'function', 'function']);
});
