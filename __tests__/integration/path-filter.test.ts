import { createServer } from 'node:http';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import express, { type Express } from 'express';
import { roundRobinProxy, undiciTransport } from 'expressway';
import { createProxyMiddleware, type Filter, type RequestHandler } from 'http-proxy-middleware';
import { EXPRESS_VERSIONS } from '../support/express-versions.ts';
import { Cleanup } from '../support/gateway.ts';
import { rawRequest } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { listen } from '../support/servers.ts';

const cleanup = new Cleanup();
let backend: RecorderBackend;
let emitted: jest.SpiedFunction<typeof process.emitWarning>;

beforeEach(async () => {
  backend = cleanup.add(await RecorderBackend.start());
  emitted = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
});
afterEach(async () => {
  emitted.mockRestore();
  await cleanup.run();
});

const warnings = (): string[] =>
  emitted.mock.calls.flatMap(([message, options]) =>
    (options as { code?: string }).code === 'WARN_EXPRESSWAY_PATH_FILTER' ? String(message) : [],
  );

interface Paths {
  readonly pathFilter?: Filter;
  readonly pathRewrite?: Record<string, string> | ((path: string, req: unknown) => string);
}

/** The two middlewares that take `pathFilter` and `pathRewrite`. */
const PROXIES: Readonly<Record<string, (paths: Paths) => express.RequestHandler>> = {
  'roundRobinProxy()': (paths) => cleanup.add(roundRobinProxy({ backends: [backend.url], ...paths })) as never,
  'http-proxy-middleware with undiciTransport()': (paths) =>
    createProxyMiddleware({ target: backend.url, plugins: [undiciTransport()], ...paths }) as RequestHandler as never,
};

/** The request targets that reach the backend, and the statuses. */
async function asked(app: express.RequestHandler | Express, targets: readonly string[]): Promise<string[]> {
  const { port } = cleanup.add(await listen(app as never, createServer(app as never)));
  const seen: string[] = [];
  for (const target of targets) {
    const before = backend.requests.length;
    const { status } = await rawRequest(port, `GET ${target} HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n`);
    const request = backend.requests[before];
    seen.push(request ? `${request.target} for ${request.field('host')}` : String(status));
  }
  return seen;
}

const ABSOLUTE = [
  '/secret',
  'http://other.example/secret',
  'HTTP://other.example/secret?a=b',
  'http://other.example',
  'http://other.example?q',
  'http://other.example/',
];

describe('a rewrite that confines clients to a part of the backend', () => {
  test.each<[string, Paths['pathRewrite']]>([
    ['a table', { '^': '/public' }],
    ['a function', (path) => `/public${path}`],
  ])('a target that is no path is not made one by %s', async (_kind, pathRewrite) => {
    const proxy = PROXIES['roundRobinProxy()']!({ pathRewrite: pathRewrite! });
    expect(await asked(proxy, ['ftp://h?x', 'http://user@h/x', 'x'])).toEqual(['400', '400', '400']);
  });

  test.each<[string, Paths['pathRewrite']]>([
    ['a table', { '^/': '/public/' }],
    ['a function', (path) => `/public${path}`],
  ])('roundRobinProxy() applies %s to requests in absolute form too', async (_kind, pathRewrite) => {
    const proxy = PROXIES['roundRobinProxy()']!({ pathRewrite: pathRewrite! });
    const confined = [
      '/public/secret for gw',
      '/public/secret for other.example',
      '/public/secret?a=b for other.example',
      '/public/ for other.example',
      '/public/?q for other.example',
      '/public/ for other.example',
    ];
    expect(await asked(proxy, ABSOLUTE)).toEqual(confined);
    expect(await asked(express().use(proxy), ABSOLUTE.slice(0, 3))).toEqual(confined.slice(0, 3));
  });

  test.each(EXPRESS_VERSIONS)(
    'roundRobinProxy() mounted in %s applies it to the path without the mount path',
    async (_version, make) => {
      const app = make();
      app.use('/api', PROXIES['roundRobinProxy()']!({ pathRewrite: { '^/': '/public/' } }));
      expect(
        await asked(app, ['/api/secret', 'http://other.example/api/secret', 'http://other.example/secret']),
      ).toEqual(['/public/secret for gw', '/public/secret for other.example', '404']);
    },
  );

  test('http-proxy-middleware does not rewrite requests in absolute form', async () => {
    const proxy = PROXIES['http-proxy-middleware with undiciTransport()']!({ pathRewrite: { '^/': '/public/' } });
    expect(await asked(proxy, ABSOLUTE.slice(0, 2))).toEqual([
      '/public/secret for gw',
      '/http://other.example/secret for gw',
    ]);
  });
});

/** Each with what http-proxy-middleware sends for /api, /api?q and /api/a. */
const WITHOUT_SLASH: readonly [rewrite: Paths['pathRewrite'], targets: readonly string[]][] = [
  [{ '^/api': '' }, ['/', '/?q', '/a']],
  [{ '^/api/': '' }, ['/api', '/api?q', '/a']],
  [{ '^/api.*': 'other' }, ['/other', '/other', '/other']],
  [() => '', ['/', '/', '/']],
  [() => '?q', ['/?q', '/?q', '/?q']],
  [() => 'http://h/a', ['/http://h/a', '/http://h/a', '/http://h/a']],
  [{ '^/api': '..' }, ['400', '400', '400']],
];

describe.each(WITHOUT_SLASH)('pathRewrite %p, whose result does not begin with a slash', (pathRewrite, targets) => {
  test('makes the same path as with http-proxy-middleware', async () => {
    const paths = { pathFilter: '/api/**', pathRewrite: pathRewrite! };
    const ours = await asked(PROXIES['roundRobinProxy()']!(paths), ['/api', '/api?q', '/api/a']);
    expect(ours).toEqual(targets.map((target) => (target === '400' ? target : `${target} for gw`)));
    if (targets[0] === '400') return;
    const theirs = createProxyMiddleware({ target: backend.url, ...paths }) as RequestHandler as never;
    const app = express().use(theirs);
    const host = ` for ${new URL(backend.url).host}`;
    const got = await asked(app, ['/api', '/api?q', '/api/a']);
    expect(got.map((one) => one.replace(host, ' for gw'))).toEqual(ours);
  });
});

test.each(EXPRESS_VERSIONS)(
  'in %s, a request in absolute form that the filter excludes reaches the next handler unchanged',
  async (_version, make) => {
    const app = make();
    app.use('/api', PROXIES['roundRobinProxy()']!({ pathFilter: '/other/' }));
    app.use((req, res) => res.end(`${req.url} for ${req.headers.host}`));
    const { port } = cleanup.add(await listen(app));
    const response = await rawRequest(
      port,
      'GET http://other.example/api/x HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n',
    );
    expect(response.content.toString()).toBe('http://other.example/api/x for gw');
  },
);

test('`OPTIONS *` has no path: a proxy responds to it only without a filter', async () => {
  const status = async (paths: Paths) => {
    const app = express().use(PROXIES['roundRobinProxy()']!(paths));
    app.use((_req, res) => void res.status(299).end());
    const { port } = cleanup.add(await listen(app));
    return (await rawRequest(port, 'OPTIONS * HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n')).status;
  };
  expect(await status({ pathFilter: '/api/' })).toBe(299);
  expect(await status({ pathFilter: '/api/', pathRewrite: { '^': '/api/' } })).toBe(299);
  expect(await status({ pathRewrite: { '^': '/api/' } })).toBe(204);
  expect(backend.requests).toHaveLength(0);
});

test('the handler behind a filter gets the whole body of a request that a middleware reads', async () => {
  const app = express().use((req, _res, next) => {
    req.on('data', () => {});
    next();
  });
  app.use(PROXIES['roundRobinProxy()']!({ pathFilter: '/other/' }));
  app.use((req, res) => void req.on('end', () => res.end('read')));
  const { url } = cleanup.add(await listen(app));
  expect(await (await fetch(url, { method: 'POST', body: 'hello' })).text()).toBe('read');
});

describe.each(Object.entries(PROXIES))('%s', (_name, make) => {
  const TARGETS = [
    '/orders',
    '/orders?x',
    '/orders/',
    '/orders/1',
    '/ordersX',
    '/orders.json',
    '/orders-old/1',
    '/other',
  ];
  const OWN = ['/orders', '/orders?x', '/orders/', '/orders/1'];

  const passed = async (app: Express | express.RequestHandler) =>
    (await asked(app, TARGETS)).flatMap((seen) => (/^\d+$/.test(seen) ? [] : seen.replace(/ for .*/, '')));

  test('a string as pathFilter matches more than a mount path, which a warning says', async () => {
    expect(await passed(express().use(make({ pathFilter: '/orders' })))).toEqual(TARGETS.slice(0, -1));
    expect(warnings()).toEqual([expect.stringContaining('pathFilter "/orders" also matches "/ordersX"')]);
  });

  test.each<[string, Filter]>([
    ['a pattern', '/orders/**'],
    ['patterns', ['/orders/**', '!/orders/secret']],
    ['a function', (path) => path === '/orders' || path.startsWith('/orders/')],
  ])('%s stops at the end of a segment, without a warning', async (_kind, pathFilter) => {
    expect(await passed(express().use(make({ pathFilter })))).toEqual(OWN);
    expect(warnings()).toEqual([]);
  });

  test('the table in docs/http-proxy-middleware.md is right', async () => {
    const targets = ['/orders', '/orders/1', '/ordersX', '/orders.json', '/ORDERS/1', '//a/orders/1'];
    const kept = { pathRewrite: (_path: string, req: unknown) => (req as express.Request).originalUrl };
    const apps = [
      express().use(make({ pathFilter: '/orders' })),
      express().use(make({ pathFilter: '/orders/**' })),
      express().use('/orders', make(kept)),
    ];
    const columns: boolean[][] = [];
    for (const app of apps) columns.push((await asked(app, targets)).map((seen) => !/^\d+$/.test(seen)));
    expect(columns).toEqual([
      [true, true, true, true, false, true],
      [true, true, false, false, false, true],
      [true, true, false, false, true, false],
    ]);
  });

  test('of several strings, each without a final slash gets a warning', () => {
    make({ pathFilter: ['/a', '/b/', '/c/d'] });
    expect(warnings().map((text) => text.split('"')[1])).toEqual(['/a', '/c/d']);
  });

  test('after middlewares at the same mount path, only requests that they saw are proxied, unchanged', async () => {
    const app = express();
    const limited: string[] = [];
    const limiter: express.RequestHandler = (req, _res, next) => {
      limited.push(req.originalUrl);
      next();
    };
    app.use('/orders', limiter, make({ pathRewrite: (_path, req) => (req as express.Request).originalUrl }));
    const proxied = await passed(app);
    expect(proxied).toEqual(OWN);
    expect(limited).toEqual(OWN);
  });
});
