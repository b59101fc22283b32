import { randomUUID } from 'node:crypto';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type Express, type NextFunction, type Request, type Response } from 'express';
import { ipRateLimit, observability, type RoundRobinProxyOptions, roundRobinProxy } from 'expressway';
import { EXPRESS_VERSIONS } from '../support/express-versions.ts';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { rawRequest } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_TRUST_MISMATCH', 'WARN_EXPRESSWAY_TRUST_PROXY');

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const CLAIM = { 'x-forwarded-for': '203.0.113.7', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'shop.example' };

const made = async (options: Partial<RoundRobinProxyOptions> = {}) => {
  const backend = cleanup.add(await RecorderBackend.start());
  return { backend, proxy: cleanup.add(roundRobinProxy({ backends: [backend.url], ...options })) };
};

const told = ({ requests }: RecorderBackend) =>
  requests.map((one) => [one.field('x-forwarded-for'), one.field('x-forwarded-proto'), one.field('x-forwarded-host')]);

describe('trust proxy on a Unix socket', () => {
  async function ask(
    trust: number | false,
    options: Partial<RoundRobinProxyOptions> = {},
    headers: Partial<typeof CLAIM> = CLAIM,
  ) {
    const { backend, proxy } = await made(options);
    const path = join(tmpdir(), `expressway-${randomUUID()}.sock`);
    const app = express().set('trust proxy', trust);
    app.use(cleanup.add(ipRateLimit({ limit: 100 })), proxy);
    const server = createServer(app);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    cleanup.add({ close: () => new Promise((resolve) => server.close(resolve)) });
    await new Promise<void>((resolve, reject) => {
      request({ socketPath: path, agent: false, headers: { host: 'gw', ...headers } }, (res) =>
        res.resume().on('end', resolve),
      )
        .on('error', reject)
        .end();
    });
    return backend;
  }

  test('X-Forwarded-For of a peer that `trust proxy: 1` trusts names the client', async () => {
    expect(told(await ask(1))).toEqual([['203.0.113.7', 'https', 'shop.example']]);
  });

  test('`append` adds no address, since the peer has none, and no "undefined"', async () => {
    const backend = await ask(1, { forwarded: 'append', forwardingFields: 'both' });
    expect(told(backend)).toEqual([['203.0.113.7', 'https', 'shop.example']]);
    expect(backend.requests[0]?.field('forwarded')).toBe('for=unknown;host=gw;proto=http');
  });

  test('a trusted peer that names no client leaves X-Forwarded-For out', async () => {
    expect(told(await ask(1, {}, {}))).toEqual([[undefined, 'http', 'gw']]);
  });

  test('X-Forwarded-For of an untrusted peer is ignored', async () => {
    expect(told(await ask(false))).toEqual([[undefined, 'http', 'gw']]);
  });
});

describe.each(EXPRESS_VERSIONS)('%s: the client is req.ip of the app that mounts the proxy', (_name, framework) => {
  async function ask(mount: (app: Express, proxy: ReturnType<typeof roundRobinProxy>) => void) {
    const { backend, proxy } = await made();
    const app = framework();
    mount(app, proxy);
    const { url } = cleanup.add(await listen(app));
    const response = await fetch(`${url}/sub/x`, { headers: CLAIM });
    await response.text();
    return told(backend)[0];
  }

  test('a trusting sub-app in an app that does not trust, after its limiter', async () => {
    const seen = await ask((app, proxy) => {
      app.use(cleanup.add(ipRateLimit({ limit: 100 })));
      app.use('/sub', framework().set('trust proxy', 1).use(proxy));
    });
    expect(seen).toEqual(['203.0.113.7', 'https', 'shop.example']);
  });

  test('a sub-app that does not trust, in an app that trusts', async () => {
    const seen = await ask((app, proxy) => {
      app.set('trust proxy', 1).use(cleanup.add(ipRateLimit({ limit: 100 })));
      app.use('/sub', framework().set('trust proxy', false).use(proxy));
    });
    expect(seen?.slice(0, 2)).toEqual(['127.0.0.1', 'http']);
  });

  test('a middleware that defines req.ip, also after a limiter', async () => {
    const seen = await ask((app, proxy) => {
      app.use(cleanup.add(ipRateLimit({ limit: 100 })));
      app.use((req, _res, next) => {
        Object.defineProperty(req, 'ip', { value: '::ffff:198.51.100.9', configurable: true });
        next();
      });
      app.use(proxy);
    });
    expect(seen).toEqual(['198.51.100.9', 'http', expect.stringContaining('127.0.0.1')]);
  });

  test('an app that defines ip for all of its requests', async () => {
    const seen = await ask((app, proxy) => {
      Object.defineProperty(app.request, 'ip', { get: () => '198.51.100.10', configurable: true });
      app.use(cleanup.add(ipRateLimit({ limit: 100 })), proxy);
    });
    expect(seen?.[0]).toBe('198.51.100.10');
  });
});

test('a limiter counts by the req.ip that a middleware defines', async () => {
  const app = express();
  app.use((req, _res, next) => {
    Object.defineProperty(req, 'ip', { value: req.get('x-own'), configurable: true });
    next();
  });
  app.use(cleanup.add(ipRateLimit({ limit: 1 })), (_req, res) => void res.end('ok'));
  const { url } = cleanup.add(await listen(app));
  const ask = async (own: string) => (await fetch(url, { headers: { 'x-own': own } })).status;
  expect([await ask('192.0.2.1'), await ask('192.0.2.2'), await ask('192.0.2.1')]).toEqual([200, 200, 429]);
});

test('a client address that changes during a request leaves no place taken', async () => {
  const { proxy } = await made({ maxInFlightPerClient: 1, maxInFlight: 1 });
  const app = express();
  app.use(observability());
  app.use('/sub', express().set('trust proxy', 1).use(proxy));
  const { url } = cleanup.add(await listen(app));
  for (let i = 0; i < 3; i += 1) {
    expect((await fetch(`${url}/sub`, { headers: { 'x-forwarded-for': `192.0.2.${i % 2}` } })).status).toBe(200);
    await eventually('the place is free', () => proxy.load().inFlight === 0);
  }
});

test.each([
  ['replace', '[2001:db8::1]:4711', '[2001:db8::1]:4711', 'for="[2001:db8::1]:4711";host=shop.example;proto=https'],
  ['replace', 'a"b', 'unknown', 'for=unknown;host=shop.example;proto=https'],
  ['append', 'a b, 203.0.113.7', 'unknown, 203.0.113.7, 127.0.0.1', 'for=127.0.0.1;host=gw;proto=http'],
] as const)('%s: a trusted peer that names %s as the client', async (forwarded, named, xForwardedFor, element) => {
  const { backend, proxy } = await made({ forwarded, forwardingFields: 'both' });
  const app = express().set('trust proxy', 1).use(proxy);
  const { port } = cleanup.add(await listen(app));
  const lines = Object.entries({ ...CLAIM, 'x-forwarded-for': named, host: 'gw', forwarded: 'for="broken' });
  await rawRequest(port, `GET / HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`);
  expect([backend.requests[0]?.field('x-forwarded-for'), backend.requests[0]?.field('forwarded')]).toEqual([
    xForwardedFor,
    element,
  ]);
});

describe('a pathFilter that throws', () => {
  const thrown: unknown[] = [new Error('no filter'), 'text', undefined, null, 0];

  test.each(thrown)('%p reaches the error handlers, and the next request is served', async (error) => {
    const backend = cleanup.add(await RecorderBackend.start());
    const errors: unknown[] = [];
    const gateway = cleanup.add(
      await proxyGateway({
        backends: [backend.url],
        pathFilter: (path) => {
          if (path === '/throws') throw error;
          return path === '/mine';
        },
      }),
    );
    const app = express();
    app.use(gateway.proxy, (_req: Request, res: Response) => void res.status(404).end());
    app.use((caught: unknown, _req: Request, res: Response, _next: NextFunction) => {
      errors.push(caught);
      res.status(500).end();
    });
    const { url } = cleanup.add(await listen(app));
    const statuses = [];
    for (const path of ['/throws', '/mine', '/other', '/throws']) statuses.push((await fetch(url + path)).status);
    expect(statuses).toEqual([500, 200, 404, 500]);
    const expected =
      error instanceof Error ? error : expect.objectContaining({ code: 'ERR_EXPRESSWAY_CALLBACK', cause: error });
    expect(errors).toEqual([expected, expected]);
  });
});
