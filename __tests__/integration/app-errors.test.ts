import { createServer } from 'node:http';
import { afterEach, expect, jest, test } from '@jest/globals';
import express, { type NextFunction, type Request, type Response } from 'express';
import { roundRobinProxy } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';
import { rawSilence, rawTunnel, upgradeRequest } from '../support/tunnels.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  jest.restoreAllMocks();
  await cleanup.run();
});

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

test('an error handler that throws, too, costs the one connection, and the next request is served', async () => {
  const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const backend = cleanup.add(await RecorderBackend.start());
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url] }));
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

test.each<[string, object]>([
  ['without a filter', {}],
  ['behind a pathFilter', { pathFilter: '/' }],
  ['behind a pathRewrite', { pathRewrite: { '^/a': '/b' } }],
])('a header that cannot be sent is an error of the app, %s', async (_name, options) => {
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

test.each(['http://user@host/', 'http:///a', 'ftp://host/', 'a'])(
  'a req.url that cannot be forwarded gets 400 when a middleware made it: %s',
  async (url) => {
    const backend = cleanup.add(await RecorderBackend.start());
    const gateway = await proxyGateway({ backends: [backend.url] }, (app) => {
      app.use((req, _res, next) => {
        req.url = url;
        next();
      });
    });
    const response = await fetch(cleanup.add(gateway).url);
    expect([response.status, backend.requests]).toEqual([400, []]);
  },
);

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
