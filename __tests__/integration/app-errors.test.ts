import { createServer } from 'node:http';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import express, { type NextFunction, type Request, type Response } from 'express';
import { type RoundRobinProxyOptions, roundRobinProxy, serviceRouter } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { RawClient, rawRequest } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';
import { rawSilence, rawTunnel, upgradeRequest } from '../support/tunnels.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  jest.restoreAllMocks();
  await cleanup.run();
});

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

/** The same fault of the app meets the proxy itself, and http-proxy-middleware in front of it. */
const PATHS: readonly (readonly [
  where: string,
  options: Pick<RoundRobinProxyOptions, 'pathFilter' | 'pathRewrite'>,
])[] = [
  ['without a filter', {}],
  ['behind a pathFilter', { pathFilter: '/**' }],
  ['behind a function as pathFilter', { pathFilter: () => true }],
  ['behind a pathRewrite', { pathRewrite: { '^/a': '/b' } }],
];

test.each(PATHS)('an error handler that throws, too, costs the one connection, %s', async (_name, options) => {
  const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const backend = cleanup.add(await RecorderBackend.start());
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url], ...options }));
  const server = createServer((req, res) => {
    // The proxy cannot send it.
    if (req.url === '/bad') req.headers['x-bad'] = {} as never;
    proxy(req as never, res as never, () => {
      throw new Error('the handler fails');
    });
  });
  const { port } = cleanup.add(await listen(() => {}, server));
  const bad = cleanup.add(await RawClient.connect(port));
  bad.send(GET.replace('/', '/bad'));
  await bad.closed();
  expect(bad.pending.toString()).toBe('');
  expect(warn.mock.calls.join()).toContain('the handler fails');
  expect(proxy.load().inFlight).toBe(0);
  const good = cleanup.add(await RawClient.connect(port));
  good.send(GET);
  expect((await good.response()).status).toBe(200);
});

describe('a plain server, which gives no `next`', () => {
  const fail = (): never => {
    throw new Error('a bug');
  };

  test.each<[string, string, Pick<RoundRobinProxyOptions, 'pathFilter' | 'pathRewrite'>]>([
    ['404 no_route', 'a request that a text as pathFilter leaves out', { pathFilter: '/other/' }],
    ['404 no_route', 'a request that a function as pathFilter leaves out', { pathFilter: () => false }],
    ['500 handler_error', 'a pathFilter that throws', { pathFilter: fail }],
    ['500 handler_error', 'a pathRewrite that throws', { pathRewrite: fail }],
    ...PATHS.map(
      ([where, options]) => ['500 handler_error', `a header that cannot be sent, ${where}`, options] as const,
    ),
  ] as never)('sends %s for %s', async (expected, what, options) => {
    const backend = cleanup.add(await RecorderBackend.start());
    const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url], ...options }));
    const outcomes: unknown[] = [];
    proxy.events.on('rejected', ({ outcome }) => outcomes.push(outcome));
    const server = createServer((req, res) => {
      if (what.startsWith('a header')) req.headers['x-bad'] = {} as never;
      Reflect.apply(proxy, undefined, [req, res]);
    });
    const { port } = cleanup.add(await listen(() => {}, server));
    for (const target of ['/a', 'http://a/a']) {
      const { status, content } = await rawRequest(port, GET.replace('/', target));
      expect(`${status} ${JSON.parse(content.toString()).cause}`).toBe(expected);
      expect(outcomes.splice(0)).toMatchObject([{ cause: expected.split(' ')[1] }]);
    }
    expect(backend.requests).toEqual([]);
    expect(proxy.load().inFlight).toBe(0);
  });

  test('gets 500 from serviceRouter() for a request in absolute form, too', async () => {
    const router = serviceRouter({ services: { a: { backends: ['http://127.0.0.1:1'] } }, routes: [{ service: 'a' }] });
    cleanup.add(router);
    const server = createServer((req, res) => {
      req.headers['x-bad'] = {} as never;
      Reflect.apply(router, undefined, [req, res]);
    });
    const { port } = cleanup.add(await listen(() => {}, server));
    for (const target of ['/a', 'http://a/a'])
      expect((await rawRequest(port, GET.replace('/', target))).status).toBe(500);
  });
});

test.each<[string, () => string | Promise<string>]>([
  [
    'throws',
    () => {
      throw new Error('no rewrite');
    },
  ],
  ['rejects', () => Promise.reject(new Error('no rewrite'))],
])('a pathRewrite that %s gives its error to the error handlers of the app', async (_name, pathRewrite) => {
  const backend = cleanup.add(await RecorderBackend.start());
  const app = express();
  app.use(cleanup.add(roundRobinProxy({ backends: [backend.url], pathRewrite: pathRewrite as never })));
  app.use((error: Error, _req: Request, res: Response, _next: NextFunction) => {
    res.status(500).send(error.message);
  });
  const { url } = cleanup.add(await listen(app));
  const response = await fetch(url);
  expect([response.status, await response.text()]).toEqual([500, 'no rewrite']);
  expect(backend.requests).toEqual([]);
});

test.each(PATHS)('a header that cannot be sent is an error of the app, %s', async (_name, options) => {
  const backend = cleanup.add(await RecorderBackend.start());
  const app = express();
  app.use((req, _res, next) => {
    req.headers['x-bad'] = {} as never;
    next();
  });
  app.use(cleanup.add(roundRobinProxy({ backends: [backend.url], ...options })));
  app.use((error: { code?: string }, _req: Request, res: Response, _next: NextFunction) => {
    res.status(500).send(error.code);
  });
  const { url } = cleanup.add(await listen(app));
  expect(await (await fetch(url)).text()).toBe('ERR_EXPRESSWAY_REQUEST_HEAD');
  expect(backend.requests).toEqual([]);
});

describe.each(PATHS)('a req.url that a middleware made and that cannot be forwarded, %s', (_name, options) => {
  test.each([
    'http://user@host/',
    'http:///a',
    'http://host:99999/a',
    'http://host\\a',
    'http://host%2fa/b',
    'ftp://host/',
    'a',
  ])('gets 400: %s', async (url) => {
    const backend = cleanup.add(await RecorderBackend.start());
    const gateway = await proxyGateway({ backends: [backend.url], ...options }, (app) => {
      app.use((req, _res, next) => {
        req.url = url;
        next();
      });
    });
    const response = await fetch(cleanup.add(gateway).url);
    expect([response.status, backend.requests]).toEqual([400, []]);
  });
});

test('an upgrade request causes a warning only where no upgradeHandler() serves it', async () => {
  const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const backend = cleanup.add(await RecorderBackend.start(rawSilence));
  const served = cleanup.add(await proxyGateway({ backends: [backend.url] }));
  cleanup.add(await rawTunnel(served.port));
  expect(warn).not.toHaveBeenCalled();
  const app = express().use(cleanup.add(roundRobinProxy({ backends: [backend.url] })));
  const { port } = cleanup.add(await listen(app));
  const client = cleanup.add(await RawClient.connect(port));
  client.send(upgradeRequest());
  await eventually('it warns', () => warn.mock.calls.join().includes('upgradeHandler'));
});
