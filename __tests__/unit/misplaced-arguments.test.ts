import { createServer } from 'node:http';
import { createServer as createHttp2Server, createSecureServer } from 'node:http2';
import { expect, test } from '@jest/globals';
import express, { type RequestHandler } from 'express';
import * as suite from 'expressway';
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

/** Values that are neither options, nor an app, nor a function, in JavaScript without types. */
const VALUES = [null, 5, Number.NaN, 'text', true, [], [5], Symbol('s')] as const;
const WITHOUT_DEFAULT = [undefined, ...VALUES] as const;

const never = (): never => {
  throw new Error('called');
};

/** Each call of the suite with one wrong argument. */
const CALLS: Record<string, readonly [values: readonly unknown[], call: (given: never) => unknown]> = {
  ipRateLimit: [VALUES, suite.ipRateLimit],
  rateLimitStore: [VALUES, suite.rateLimitStore],
  circuitBreaker: [VALUES, suite.circuitBreaker],
  roundRobinProxy: [WITHOUT_DEFAULT, suite.roundRobinProxy],
  serviceRouter: [WITHOUT_DEFAULT, suite.serviceRouter],
  requestGuard: [VALUES, suite.requestGuard],
  loadShedding: [VALUES, suite.loadShedding],
  observability: [VALUES, suite.observability],
  accessLog: [WITHOUT_DEFAULT, suite.accessLog],
  prometheusMetrics: [WITHOUT_DEFAULT, suite.prometheusMetrics],
  statusFeed: [WITHOUT_DEFAULT, suite.statusFeed],
  tracing: [WITHOUT_DEFAULT, suite.tracing],
  errorResponses: [VALUES, suite.errorResponses],
  changeBody: [WITHOUT_DEFAULT, suite.changeBody],
  jwtAuth: [WITHOUT_DEFAULT, suite.jwtAuth],
  apiKeyAuth: [WITHOUT_DEFAULT, suite.apiKeyAuth],
  basicAuth: [WITHOUT_DEFAULT, suite.basicAuth],
  forwardAuth: [WITHOUT_DEFAULT, suite.forwardAuth],
  clientCertAuth: [VALUES, suite.clientCertAuth],
  undiciTransport: [VALUES, suite.undiciTransport],
  compose: [WITHOUT_DEFAULT, suite.compose],
  upgradeHandler: [WITHOUT_DEFAULT, suite.upgradeHandler],
  'upgradeHandler: options': [VALUES, (given) => suite.upgradeHandler(never, given)],
  expressListener: [[...WITHOUT_DEFAULT, {}, never, createServer(), express.Router()], suite.expressListener],
  expressServerOptions: [[...WITHOUT_DEFAULT, {}, never, createServer(), express.Router()], suite.expressServerOptions],
  hardenServer: [[...WITHOUT_DEFAULT, express()], suite.hardenServer],
  gracefulShutdown: [[...WITHOUT_DEFAULT, express()], suite.gracefulShutdown],
  stopOnSignals: [[...WITHOUT_DEFAULT, {}, Promise.resolve()], suite.stopOnSignals],
  'stopOnSignals: options': [VALUES, (given) => suite.stopOnSignals(never, given)],
  http2Server: [WITHOUT_DEFAULT, suite.http2Server],
  proxyProtocol: [WITHOUT_DEFAULT, (given) => suite.proxyProtocol(given, { isTrusted: () => true })],
  assertAddressList: [[undefined, null, 5, 'text', {}, never], suite.assertAddressList],
  assertBackendTls: [WITHOUT_DEFAULT, suite.assertBackendTls],
  assertBackends: [WITHOUT_DEFAULT, suite.assertBackends],
  assertDeclaration: [WITHOUT_DEFAULT, (given) => suite.assertDeclaration(given)],
  'setLimits()': [[...WITHOUT_DEFAULT, never], (given) => suite.ipRateLimit().setLimits(given)],
  'prepareLimits()': [[...WITHOUT_DEFAULT, never], (given) => suite.ipRateLimit().prepareLimits(given)],
  'resetKey() of a limiter': [[undefined, null, 5, true, {}, []], (given) => suite.ipRateLimit().resetKey(given)],
  'setBackends()': [
    WITHOUT_DEFAULT,
    (given) => suite.roundRobinProxy({ backends: ['http://a.test'] }).setBackends(given),
  ],
  'setTls()': [WITHOUT_DEFAULT, (given) => suite.roundRobinProxy({ backends: ['http://a.test'] }).setTls(given)],
};

test.each(Object.entries(CALLS))('%s: an OptionsError says what is wrong', async (_name, [values, call]) => {
  const before = process.listenerCount('SIGTERM');
  for (const value of values) {
    // Some of them reject.
    const called = (async () => call(value as never))();
    await expect(called).rejects.toBeInstanceOf(suite.OptionsError);
  }
  expect(process.listenerCount('SIGTERM')).toBe(before);
});

test.each([null, { algorithm: 'fast' }, { burst: 5 }, { keyPrefix: ' ' }])(
  'rateLimitStore(%j) names itself, and not ipRateLimit()',
  (given) => {
    expect(() => suite.rateLimitStore(given as never)).toThrow(/^rateLimitStore: /);
  },
);
