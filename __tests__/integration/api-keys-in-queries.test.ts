import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type RequestHandler } from 'express';
import {
  accessLog,
  apiKeyAuth,
  forwardAuth,
  ipRateLimit,
  observability,
  requestGuard,
  roundRobinProxy,
  serviceRouter,
} from 'expressway';
import { EXPRESS_VERSIONS } from '../support/express-versions.ts';
import { Cleanup } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const SECRET = 'SECRET';
const apiKey = { query: 'key', keys: (key: string) => (key === SECRET ? { name: 'acme' } : undefined) };
const auth = () => apiKeyAuth(apiKey);
const original = (_path: string, req: unknown) => (req as { originalUrl: string }).originalUrl;

/** Middlewares behind `/orders`. */
const CHAINS: Record<string, (backend: string) => RequestHandler[]> = {
  'with the path of the mount': (backend) => [
    auth(),
    roundRobinProxy({ backends: [backend], pathRewrite: original }) as RequestHandler,
  ],
  'behind requestGuard()': (backend) => [
    requestGuard(),
    auth(),
    roundRobinProxy({ backends: [backend], pathRewrite: original }) as RequestHandler,
  ],
  'before requestGuard()': (backend) => [
    auth(),
    requestGuard(),
    roundRobinProxy({ backends: [backend], pathRewrite: original }) as RequestHandler,
  ],
  'before forwardAuth(), whose service is the backend': (backend) => [
    auth(),
    forwardAuth({ url: backend }),
    roundRobinProxy({ backends: [backend], pathRewrite: original }) as RequestHandler,
  ],
  'in a route of serviceRouter()': (backend) => [
    serviceRouter({
      services: { orders: { backends: [backend] }, copies: { backends: [backend] } },
      routes: [{ service: 'orders', authentication: { apiKey }, mirror: { service: 'copies' } }],
    }) as RequestHandler,
  ],
  'read from the parsed query': (backend) => [
    auth(),
    roundRobinProxy({
      backends: [backend],
      pathRewrite: (_path, req) => `/${encodeURIComponent(JSON.stringify((req as { query?: object }).query))}`,
    }) as RequestHandler,
  ],
};

test('a key in the query for one of two routers reaches no log, whichever of them rejects the request', async () => {
  const lines: string[] = [];
  const routerOf = (path: string, query: string) =>
    cleanup.add(
      serviceRouter({
        services: {},
        routes: [{ path, respond: { status: 204 }, authentication: { apiKey: { ...apiKey, query } } }],
      }),
    );
  const routers = [routerOf('/orders', 'k1'), routerOf('/users', 'k2')] as const;
  const log = accessLog({ to: { write: (line) => void lines.push(line) } });
  const app = express().use(observability({ accessLog: log, routers }));
  app.use('/first', routers[0]).use('/second', routers[1]);
  app.use(ipRateLimit({ deny: ['127.0.0.1'] }));
  const { url } = cleanup.add(await listen(app));
  const statuses: number[] = [];
  for (const path of ['/first/none', '/second/none', '/orders', '/users', '/none']) {
    statuses.push((await fetch(`${url}${path}?k1=SECRET&k2=SECRET`)).status);
  }
  expect(statuses).toEqual([404, 404, 403, 403, 403]);
  await eventually('all are logged', () => lines.length === statuses.length);
  expect(lines.filter((line) => line.includes(SECRET))).toEqual([]);
});

describe('a key in the query of a request that serviceRouter() rejects before its authentication reaches no log', () => {
  test.each([
    ['by the address of the client', { deny: ['127.0.0.1'] }, '/orders?k9=SECRET', 403],
    ['by a limit', { rateLimit: '1/1h' }, '/orders?a&%6B9=SECRET', 429],
    ['by its guard', {}, '/orders/%2e%2e/?k9=SECRET', 400],
    ['as one without a route', {}, '/?k9=SECRET', 404],
  ])('%s', async (_why, more, target, status) => {
    const lines: string[] = [];
    const router = serviceRouter({
      services: {},
      routes: [
        { path: '/orders', respond: { status: 204 }, authentication: { apiKey: { ...apiKey, query: 'k9' } }, ...more },
      ],
    });
    cleanup.add(router);
    const limiter = cleanup.add(ipRateLimit({ limit: 2 }));
    const record = observability({
      accessLog: accessLog({ to: { write: (line: string) => lines.push(line) } as never }),
      routers: [router],
    });
    const { port } = cleanup.add(await listen(express().use(record, limiter, router)));
    const ask = async () => {
      const client = cleanup.add(await RawClient.connect(port));
      client.send(`GET ${target} HTTP/1.1\r\nHost: a.test\r\nReferer: http://a.test${target}\r\n\r\n`);
      return (await client.response()).status;
    };
    await ask();
    expect(await ask()).toBe(status);
    // By a limit before the router.
    expect(await ask()).toBe(429);
    await eventually('the requests are logged', () => lines.join('').split('\n').length > 3);
    expect(lines.join('')).toMatch(/9=\*\*\*/);
    expect(lines.join('')).not.toMatch(/SECRET/);
  });
});

describe.each(EXPRESS_VERSIONS)('a key in the query reaches no backend and no log, in %s', (_name, create) => {
  describe.each(Object.entries(CHAINS))('%s', (_what, chain) => {
    test.each([
      ['among others', '/orders/1?a=b%20c&key=SECRET&d'],
      ['alone', '/orders/1?key=SECRET'],
      ['twice', '/orders/1?key=SECRET&a=1&key=SECRET'],
      ['encoded', '/orders/1?a=1&k%65y=SECRE%54'],
      ['in absolute form', 'http://a.test/orders/1?a=1&key=SECRET'],
    ])('%s', async (_form, target) => {
      const seen: string[] = [];
      const backend = cleanup.add(
        await listen((req, res) => {
          seen.push(`${req.url} ${JSON.stringify(req.headers)}`);
          res.end('backend');
        }),
      );
      const lines: string[] = [];
      const app = create();
      app.use(observability({ accessLog: accessLog({ to: { write: (line: string) => lines.push(line) } as never }) }));
      app.use('/orders', ...chain(backend.url));
      const { port } = cleanup.add(await listen(app));
      const client = cleanup.add(await RawClient.connect(port));
      client.send(`GET ${target} HTTP/1.1\r\nHost: a.test\r\n\r\n`);
      expect((await client.response()).content.toString()).toBe('backend');
      await eventually('the request is logged', () => lines.length > 0);
      expect(seen.length).toBeGreaterThan(0);
      expect([...seen, ...lines].join('\n')).not.toMatch(/SECRE|k(e|%65)y=/);
    });
  });
});
