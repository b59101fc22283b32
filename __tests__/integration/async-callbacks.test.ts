import { createServer } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import {
  accessLog,
  circuitBreaker,
  hardenServer,
  ipRateLimit,
  observability,
  type RoundRobinProxyOptions,
  roundRobinProxy,
} from 'expressway';
import { flushIo } from '../../lib/testing/index.ts';
import { Cleanup } from '../support/gateway.ts';
import { listen } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings(
  'WARN_EXPRESSWAY_IS_FAILURE',
  'WARN_EXPRESSWAY_LISTENER',
  'WARN_EXPRESSWAY_MINIMUM_REQUESTS',
  'WARN_EXPRESSWAY_POLICY',
  'WARN_EXPRESSWAY_ROUTE',
);

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** The options of an app whose function is under test. */
interface Given {
  readonly proxy?: object;
  readonly breaker?: object;
  readonly limiter?: object;
  readonly seen?: object;
  readonly bounds?: object;
  readonly log?: object;
}

async function gateway({ proxy: own, breaker, limiter, seen, bounds, log }: Given, parses: boolean) {
  const backend = cleanup.add(
    await listen((req, res) => {
      res.statusCode = req.url === '/fails' ? 500 : 200;
      res.end('backend');
    }),
  );
  const few = { minimumRequests: 2 };
  const options = { backends: [backend.url], circuit: few, ...own } as RoundRobinProxyOptions;
  const proxy = cleanup.add(roundRobinProxy(options));
  const route = circuitBreaker({ ...few, ...breaker } as object);
  const app = express();
  const sink = log === undefined ? undefined : accessLog({ to: log as never });
  app.use(observability({ accessLog: sink, ...seen } as object));
  if (parses) app.use(express.json());
  app.use(ipRateLimit({ limit: 1_000, ...limiter } as object), route, proxy);
  app.use(((error: { code?: string }, _req, res, _next) => {
    res.status(500).end(error.code ?? 'no code');
  }) as express.ErrorRequestHandler);
  const server = hardenServer(createServer(app), { maxConnectionsPerAddress: 1_000, ...bounds } as object);
  const { url } = cleanup.add(await listen(() => {}, server));
  return { url, proxy, route };
}

const throwing = (): never => {
  throw new Error('thrown');
};

type Make = (given: () => Promise<unknown>) => Given;

/** What becomes of a request when the function is async. */
const FUNCTIONS: Record<string, readonly [make: Make, response: string]> = {
  'isFailure of the proxy': [(isFailure) => ({ proxy: { isFailure } }), '200 backend'],
  'isFailure of circuitBreaker()': [(isFailure) => ({ breaker: { isFailure } }), '200 backend'],
  minimumRequests: [(minimumRequests) => ({ breaker: { minimumRequests } }), '200 backend'],
  'a selection policy': [(select) => ({ proxy: { loadBalancing: { select } } }), '200 backend'],
  'response.change()': [(change) => ({ proxy: { response: { change } } }), '500 ERR_EXPRESSWAY_CALLBACK'],
  pathFilter: [(pathFilter) => ({ proxy: { pathFilter } }), '500 ERR_EXPRESSWAY_CALLBACK'],
  'the option body': [(body) => ({ proxy: { body } }), '500 ERR_EXPRESSWAY_CALLBACK'],
  'route of observability()': [(route) => ({ seen: { route } }), '200 backend'],
  'a sink that begins': [(started) => ({ seen: { accessLog: { started, finished() {} } } }), '200 backend'],
  'a sink that ends': [(finished) => ({ seen: { accessLog: { finished } } }), '200 backend'],
  'the stream of the access log': [(write) => ({ log: { write } }), '200 backend'],
  'the logger of the access log': [(info) => ({ log: { info } }), '200 backend'],
  isUncapped: [(isUncapped) => ({ bounds: { isUncapped } }), '200 backend'],
  'key of a limiter, beside a cost that throws': [(key) => ({ limiter: { key, cost: throwing } }), '500 no code'],
  'key of a limiter, beside a limit that throws': [(key) => ({ limiter: { key, limit: throwing } }), '500 no code'],
  'limit of a limiter, beside a cost that throws': [(limit) => ({ limiter: { limit, cost: throwing } }), '500 no code'],
};

describe.each(Object.entries(FUNCTIONS))('%s that is async', (name, [make, response]) => {
  const ask = async (url: string, path: string) => {
    const init = { method: 'POST', body: '{}', headers: { 'Content-Type': 'application/json' } };
    const got = await fetch(`${url}${path}`, name === 'the option body' ? init : {});
    return `${got.status} ${await got.text()}`;
  };

  test.each<[string, () => Promise<unknown>]>([
    ['that is rejected', () => Promise.reject(new Error('rejected'))],
    ['of true', () => Promise.resolve(true)],
  ])('a promise %s does not end the process, and counts for nothing', async (_what, given) => {
    const rejections: unknown[] = [];
    const note = (reason: unknown) => rejections.push(reason);
    process.on('unhandledRejection', note);
    cleanup.add({ close: () => void process.off('unhandledRejection', note) });
    const { url, proxy, route } = await gateway(make(given), name === 'the option body');
    expect(await ask(url, '/')).toBe(response);
    if (response === '200 backend') {
      for (let request = 0; request < 3; request += 1) expect(await ask(url, '/')).toBe(response);
      expect([proxy.status()[0]?.circuit, route.state]).toEqual(['closed', 'closed']);
      if (name === 'minimumRequests') expect(await ask(url, '/fails')).toBe('500 backend');
    }
    // Node reports them when the microtasks are done.
    await flushIo();
    expect(rejections).toEqual([]);
  });
});

test.each([null, {}, true])(
  'skip of a limiter may return %j: a value that counts as true means no limit',
  async (given) => {
    const { url } = await gateway({ limiter: { limit: 1, skip: () => given } }, false);
    const statuses = [(await fetch(url)).status, (await fetch(url)).status];
    expect(statuses).toEqual(given === null ? [200, 429] : [200, 200]);
  },
);
