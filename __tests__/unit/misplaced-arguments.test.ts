import { createServer } from 'node:http';
import { createServer as createHttp2Server, createSecureServer } from 'node:http2';
import { expect, test } from '@jest/globals';
import express, { type RequestHandler } from 'express';
import {
  accessLog,
  circuitBreaker,
  gracefulShutdown,
  hardenServer,
  ipRateLimit,
  observability,
  requestGuard,
  roundRobinProxy,
  upgradeHandler,
} from 'expressway';
import { Cleanup } from '../support/gateway.ts';
import { listen } from '../support/servers.ts';

const NOT_SERVERS: Readonly<Record<string, [unknown, RegExp]>> = {
  'an Express app': [express(), /got a function, such as an Express app: \w+\(createServer\(app\)\)/],
  'an HTTP/2 server': [createHttp2Server(), /got one of node:http2: make it with http2Server\(/],
  'a secure HTTP/2 server that allows HTTP/1': [
    createSecureServer({ allowHTTP1: true }),
    /got one of node:http2: make it with http2Server\(/,
  ],
  nothing: [undefined, /got undefined/],
  null: [null, /got null/],
  'a port': [8080, /got number/],
};

test.each(Object.entries(NOT_SERVERS))('hardenServer() and gracefulShutdown() refuse %s', (_name, [given, message]) => {
  const coded = expect.objectContaining({ code: 'ERR_EXPRESSWAY_OPTIONS', message: expect.stringMatching(message) });
  for (const act of [hardenServer, gracefulShutdown]) {
    let thrown: unknown;
    try {
      act(given as never);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toEqual(coded);
  }
});

test.each([undefined, null, {}, createServer()])('upgradeHandler(%s) says to pass the app', (given) => {
  expect(() => upgradeHandler(given as never)).toThrow(
    /upgradeHandler: app must be the Express app .* upgradeHandler\(app\)/,
  );
});

const MIDDLEWARES = { accessLog, circuitBreaker, ipRateLimit, observability, requestGuard, roundRobinProxy };

test.each(Object.entries(MIDDLEWARES))(
  'app.use(%s), not called, passes on an error that says to call it',
  async (name, middleware) => {
    const cleanup = new Cleanup();
    const app = express().use(middleware as unknown as RequestHandler);
    app.use(((error, _req, res, _next) =>
      res.status(500).json({ code: error.code, message: error.message })) as express.ErrorRequestHandler);
    const { url } = cleanup.add(await listen(app));
    const response = await fetch(url);
    expect(await response.json()).toMatchObject({
      code: 'ERR_EXPRESSWAY_OPTIONS',
      message: expect.stringMatching(new RegExp(`^${name}: .*got a request instead of options: call it`)),
    });
    await cleanup.run();
  },
);
