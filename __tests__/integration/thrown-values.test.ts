import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type NextFunction, type Request, type Response } from 'express';
import {
  apiKeyAuth,
  basicAuth,
  changeBody,
  circuitBreaker,
  compose,
  GatewayEvents,
  gracefulShutdown,
  ipRateLimit,
  loadShedding,
  type RoundRobinProxyOptions,
  roundRobinProxy,
  undiciTransport,
} from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup } from '../support/gateway.ts';
import { listen } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings(
  'WARN_EXPRESSWAY_IS_FAILURE',
  'WARN_EXPRESSWAY_LISTENER',
  'WARN_EXPRESSWAY_MINIMUM_REQUESTS',
  'WARN_EXPRESSWAY_POLICY',
);

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** Express takes each of them for success, or for a signal to skip handlers. */
const VALUES: readonly unknown[] = [undefined, null, '', 0, false, Number.NaN, 'route', 'router'];
const shown = VALUES.map(
  (value) => [typeof value === 'string' ? JSON.stringify(value) : String(value), value] as const,
);

type Fails = () => never;
/** Mounts the middleware that calls a function of the app. */
type Mount = (fails: Fails, backend: string) => express.RequestHandler;

const proxy = (options: Partial<RoundRobinProxyOptions>, backend: string) =>
  cleanup.add(roundRobinProxy({ backends: [backend], circuit: { minimumRequests: 1 }, ...options }));

const report = (error: NodeJS.ErrnoException, res: Response): void =>
  void res.status(500).send(`${error instanceof Error} ${error.code} ${error.message} ${String(error.cause)}`);

/** A function of the app whose error goes to Express, with its name in the message. */
const FUNCTIONS: Record<string, readonly [mount: Mount, name: string, isAsync: boolean]> = {
  'key of ipRateLimit()': [(key) => ipRateLimit({ limit: 1, key }), 'key()', true],
  'limit of ipRateLimit()': [(limit) => ipRateLimit({ limit }), 'limit()', true],
  'cost of ipRateLimit()': [(cost) => ipRateLimit({ limit: 1, cost }), 'cost()', true],
  'skip of ipRateLimit()': [(skip) => ipRateLimit({ limit: 1, skip }), 'skip()', true],
  'priority of loadShedding()': [(priority) => loadShedding({ priority }), 'priority()', false],
  pathFilter: [(pathFilter, backend) => proxy({ pathFilter }, backend), 'pathFilter()', false],
  pathRewrite: [(pathRewrite, backend) => proxy({ pathRewrite }, backend), 'pathRewrite()', true],
  'response.change': [(change, backend) => proxy({ response: { change } }, backend), 'response.change()', false],
  'change of changeBody()': [
    (change) =>
      compose(changeBody({ types: ['text/html'], change }), (_req: Request, res: Response) => void res.send('page')),
    'change() of changeBody()',
    true,
  ],
  'the option body': [(body, backend) => compose(express.json(), proxy({ body }, backend)), 'body()', false],
  'the option body of undiciTransport()': [
    (body, backend) =>
      compose(
        express.json(),
        createProxyMiddleware({
          target: backend,
          plugins: [undiciTransport({ body })],
          on: { error: (error, _req, res) => report(error, res as unknown as Response) },
        }),
      ),
    'body()',
    false,
  ],
};

async function gateway(mount: (backend: string) => express.RequestHandler, prepare?: (app: express.Express) => void) {
  const backend = cleanup.add(await listen((_req, res) => void res.end('backend')));
  const app = express();
  prepare?.(app);
  app.use(mount(backend.url));
  app.use((_req: Request, res: Response) => void res.send('the next handler'));
  app.use((error: NodeJS.ErrnoException, _req: Request, res: Response, _next: NextFunction) => report(error, res));
  const { url } = cleanup.add(await listen(app));
  return async () => {
    const headers = { 'content-type': 'application/json', authorization: `Basic ${btoa('a:b')}`, 'x-api-key': 'k' };
    const response = await fetch(url, { method: 'POST', body: '{}', headers });
    return `${response.status} ${await response.text()}`;
  };
}

const throwing = (value: unknown) => (): never => {
  throw value;
};
const rejecting = (value: unknown) => () => Promise.reject(value) as never;

describe.each(Object.entries(FUNCTIONS))('%s', (_what, [mount, name, isAsync]) => {
  test.each(shown)('that throws %s gives an error to Express', async (text, value) => {
    const ask = await gateway((backend) => mount(throwing(value), backend));
    for (let request = 0; request < 2; request += 1) {
      const got = await ask();
      expect(got).toMatch(/^500 true ERR_EXPRESSWAY_CALLBACK /);
      expect(got).toContain(`${name} threw ${text}`);
    }
  });

  if (isAsync) {
    test.each(shown)('that rejects with %s gives an error to Express', async (text, value) => {
      const ask = await gateway((backend) => mount(rejecting(value), backend));
      const got = await ask();
      expect(got).toMatch(/^500 true ERR_EXPRESSWAY_CALLBACK /);
      expect(got).toContain(`${name} threw ${text}`);
    });
  }

  test('that throws an object gives that very object to Express', async () => {
    const given = Object.assign(Object.create(null) as object, { code: 'MINE', message: 'mine' });
    expect(await (await gateway((backend) => mount(throwing(given), backend)))()).toBe('500 false MINE mine undefined');
  });
});

test.each([...shown, ['an invalid header', Object.assign(new Error('mine'), { code: 'ERR_INVALID_CHAR' })] as const])(
  'response.change() that throws %s blames no backend',
  async (_text, value) => {
    const backend = cleanup.add(await listen((_req, res) => void res.end('backend')));
    const events = new GatewayEvents();
    let failures = 0;
    events.on('attemptFailed', () => {
      failures += 1;
    });
    const own = proxy({ response: { change: throwing(value) }, events }, backend.url);
    const app = express().use(own, (_error: unknown, _req: Request, res: Response, _next: NextFunction) => {
      res.status(500).end();
    });
    const { url } = cleanup.add(await listen(app));
    expect([(await fetch(url)).status, (await fetch(url)).status]).toEqual([500, 500]);
    expect([own.status()[0]?.circuit, failures]).toEqual(['closed', 0]);
  },
);

test.each(shown)('a method of the response that throws %s is an error of the app', async (_text, value) => {
  const ask = await gateway(
    (backend) => proxy({}, backend),
    (app) => {
      app.use((_req, res, next) => {
        const { setHeader } = res;
        let isFirst = true;
        res.setHeader = function (this: Response, ...args: Parameters<typeof setHeader>) {
          if (!isFirst || args[0] === 'X-Powered-By') return setHeader.apply(this, args);
          isFirst = false;
          throw value;
        } as never;
        next();
      });
    },
  );
  const got = await ask();
  expect(got).toMatch(/^500 true ERR_EXPRESSWAY_CALLBACK /);
});

describe.each<[string, (fails: Fails, backend: string) => express.RequestHandler]>([
  ['keys of apiKeyAuth()', (keys) => apiKeyAuth({ keys })],
  ['users of basicAuth()', (users) => basicAuth({ users })],
])('%s', (_what, mount) => {
  const hostile = Object.create(null) as object;
  test.each([...shown, ['an object without a text', hostile] as const])(
    'that fail with %s refuse the request',
    async (_text, value) => {
      for (const fails of [throwing(value), rejecting(value)]) {
        const ask = await gateway((backend) => mount(fails, backend));
        expect(await ask()).toMatch(/^503 .*"authentication_unavailable"/);
      }
    },
  );
});

describe.each<[string, (fails: Fails, backend: string) => express.RequestHandler]>([
  ['isFailure of circuitBreaker()', (isFailure) => circuitBreaker({ isFailure })],
  ['isFailure of a proxy', (isFailure, backend) => proxy({ isFailure }, backend)],
  ['minimumRequests', (minimumRequests) => circuitBreaker({ minimumRequests })],
  ['a selection policy', (select, backend) => proxy({ loadBalancing: { select } }, backend)],
])('%s', (_what, mount) => {
  test.each([...shown, ['an object without a text', Object.create(null) as object] as const])(
    'that throws %s leaves the request alone',
    async (_text, value) => {
      const ask = await gateway((backend) => mount(throwing(value), backend));
      expect(await ask()).toMatch(/^200 /);
    },
  );
});

test.each(shown)('a "trust proxy" function that throws %s does not let requests pass a limit', async (_text, value) => {
  const ask = await gateway(
    () => ipRateLimit({ limit: 1 }),
    (app) => app.set('trust proxy', throwing(value)),
  );
  for (let request = 0; request < 2; request += 1) expect(await ask()).toMatch(/^500 true ERR_EXPRESSWAY_CALLBACK /);
});

test.each(shown)('close of gracefulShutdown() that fails with %s rejects with an error', async (text, value) => {
  const { server } = cleanup.add(await listen((_req, res) => void res.end()));
  const shutdown = gracefulShutdown(server, { idleGraceMs: 0, close: rejecting(value) as never });
  await expect(shutdown.close()).rejects.toThrow(`close() threw ${text}`);
});

test.each(shown)('a counter that rejects with %s is away, and its error says so', async (text, value) => {
  const events = new GatewayEvents();
  const changed = new Promise<Error | undefined>((resolve) => {
    events.once('limiterModeChange', ({ error }) => resolve(error));
  });
  const limiter = cleanup.add(ipRateLimit({ limit: 100, counter: { processes: 2, ask: rejecting(value) }, events }));
  const ask = await gateway(() => limiter as express.RequestHandler);
  // So many errors in a row mean that it is away.
  for (let request = 0; request < 5; request += 1) expect(await ask()).toMatch(/^200 /);
  expect((await changed)?.message).toContain(`The shared store threw ${text}`);
});

test.each(shown)('a resolver that rejects with %s is an error of the lookup', async (text, value) => {
  const events = new GatewayEvents();
  const failed = new Promise<Error>((resolve) => {
    events.once('discoveryFailed', ({ error }) => resolve(error));
  });
  const resolver = { resolve4: rejecting(value), resolve6: rejecting(value), resolveSrv: rejecting(value) };
  cleanup.add(roundRobinProxy({ backends: ['dns://api.test:80'], dns: { resolver }, events }));
  expect((await failed).message).toContain(`The resolver threw ${text}`);
});

test.each([undefined, Symbol('s'), Object.create(null) as object])(
  'isHealthy that throws anything, %p, is a failed check',
  async (value) => {
    const backend = cleanup.add(await listen((_req, res) => void res.end('backend')));
    const events = new GatewayEvents();
    const checked = new Promise<Error | undefined>((resolve) => {
      events.once('healthChecked', ({ error }) => resolve(error));
    });
    cleanup.add(
      roundRobinProxy({
        backends: [backend.url],
        events,
        healthCheck: { path: '/', isHealthy: throwing(value) },
      }),
    );
    expect((await checked)?.message).toContain('isHealthy threw');
  },
);
