import { createHash } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import {
  GatewayEvents,
  OptionsError,
  type ServiceRouter,
  type ServiceRouterOptions,
  serviceRouter,
} from '../../lib/index.ts';
import { pause } from '../support/pause.ts';
import { eventually, listen, type RunningServer } from '../support/servers.ts';

const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function started<T extends RunningServer>(server: Promise<T>): Promise<T> {
  const one = await server;
  open.push(one);
  return one;
}

/** A backend that responds with what it got. */
const backend = async (name: string, status = 200): Promise<string> => {
  const { url } = await started(
    listen(async (req, res) => {
      const chunks: Buffer[] = [];
      for await (const chunk of req) chunks.push(chunk as Buffer);
      res.statusCode = status;
      res.setHeader('Content-Type', 'application/json');
      res.end(
        JSON.stringify({
          name,
          method: req.method,
          url: req.url,
          headers: req.headers,
          body: Buffer.concat(chunks).toString(),
        }),
      );
    }),
  );
  return url;
};

interface Gateway {
  url: string;
  router: ServiceRouter;
}

async function gateway(options: ServiceRouterOptions, trustProxy = false): Promise<Gateway> {
  const router = serviceRouter(options);
  const app = express();
  app.set('trust proxy', trustProxy ? 'loopback' : false);
  app.use(router);
  open.push({ close: () => router.close() });
  const { url } = await started(listen(app));
  return { url, router };
}

interface Seen {
  status: number;
  headers: Headers;
  body: {
    name?: string;
    url?: string;
    method?: string;
    cause?: string;
    headers: Record<string, string>;
    body?: string;
  };
}

async function ask({ url }: Gateway, path = '/', init: RequestInit = {}): Promise<Seen> {
  const response = await fetch(url + path, { redirect: 'manual', ...init });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    body: text.startsWith('{') ? JSON.parse(text) : { headers: {}, body: text },
  };
}

/** `fetch` sets the Host header itself. */
function askHost({ url }: Gateway, host: string, path = '/'): Promise<{ status: number; body: { name?: string } }> {
  return new Promise((resolve, reject) => {
    httpRequest(url + path, { headers: { host } }, async (res) => {
      let text = '';
      for await (const chunk of res) text += chunk;
      resolve({ status: res.statusCode ?? 0, body: JSON.parse(text) });
    })
      .on('error', reject)
      .end();
  });
}

describe('serviceRouter()', () => {
  test.each<[string, { route?: object; service?: object }]>([
    ['retry.statuses', { route: { retry: { statuses: undefined } } }],
    ['retry.attempts', { route: { retry: { attempts: undefined } } }],
    ['retry.deadlineMs', { route: { retry: { deadlineMs: undefined } } }],
    ['retry.bufferBytes', { route: { retry: { bufferBytes: undefined } } }],
    ['response.hideServer', { route: { response: { hideServer: undefined } } }],
    ['response.headers', { route: { response: { headers: undefined } } }],
    ['response.rewriteUrls', { route: { rewrite: { prefix: '/' }, response: { rewriteUrls: undefined } } }],
    ['ambiguousPaths of a service', { service: { ambiguousPaths: undefined } }],
  ])('%s: undefined works as if it were left out', async (_name, { route, service }) => {
    const [first, second] = await Promise.all(
      [503, 503].map((status) =>
        started(
          listen((_req, res) => {
            const headers = { Server: 'x', 'X-Secret': 's', Location: '/there' };
            res.writeHead(status, headers).end();
          }),
        ),
      ),
    );
    const all = {
      backends: [first?.url ?? '', second?.url ?? ''],
      retry: { attempts: 1, statuses: [503] },
      response: { hideServer: true, headers: { remove: ['x-secret'] } },
    };
    const responses = async (options: object, own: object) => {
      const events = new GatewayEvents();
      const gw = await gateway({
        services: { a: { ...all, ...own } },
        routes: [{ path: '/a', service: 'a', ...options }],
        ambiguousPaths: 'pass',
        events,
      });
      let attempts = 0;
      events.on('attemptFailed', () => {
        attempts += 1;
      });
      const { status, headers } = await ask(gw, '/a/%5c', { method: 'PUT', body: 'x' });
      return [status, attempts, headers.get('server'), headers.get('x-secret'), headers.get('location')];
    };
    const leftOut = (options: object) =>
      Object.fromEntries(
        Object.entries(options).map(([key, value]) => [key, value && JSON.parse(JSON.stringify(value))]),
      );
    expect(await responses(route ?? {}, service ?? {})).toEqual(await responses(leftOut(route ?? {}), {}));
  });

  test('sends each request to the service of its route, by the path that it forwards', async () => {
    const [users, shop] = [await backend('users'), await backend('shop')];
    const gw = await gateway({
      services: { users: { backends: [users] }, shop: { backends: [shop] } },
      routes: [
        { path: '/users', service: 'users' },
        { path: '/shop', service: 'shop', rewrite: { prefix: '/' } },
        { path: '/v2/users', methods: ['GET'], headers: { 'x-beta': '1' }, service: 'shop' },
      ],
    });
    expect((await ask(gw, '/users/42?a=b')).body).toMatchObject({ name: 'users', url: '/users/42?a=b' });
    expect((await ask(gw, '/shop/cart?id=1')).body).toMatchObject({ name: 'shop', url: '/cart?id=1' });
    expect((await ask(gw, '/shop')).body).toMatchObject({ name: 'shop', url: '/' });
    expect((await ask(gw, '/v2/users', { headers: { 'X-Beta': '1' } })).body.name).toBe('shop');
    const missed = await ask(gw, '/v2/users');
    expect([missed.status, missed.body.cause, missed.headers.get('content-type')]).toEqual([
      404,
      'no_route',
      'application/problem+json',
    ]);
  });

  test.each([
    ['/%75sers/42', '/users/42'],
    ['//users//42', '/users/42'],
    ['/users%2f42', undefined],
    ['/users/%2e%2e/admin', 400],
    ['/users/..%2fadmin', 400],
  ])('the matched path is the forwarded path: %s', async (path, expected) => {
    const gw = await gateway({
      services: { users: { backends: [await backend('users')] } },
      routes: [{ path: '/users', service: 'users' }],
    });
    const { port } = new URL(gw.url);
    const seen = await new Promise<{ status: number; text: string }>((resolve, reject) => {
      httpRequest({ port, host: '127.0.0.1', path }, async (res) => {
        let text = '';
        for await (const chunk of res) text += chunk;
        resolve({ status: res.statusCode ?? 0, text });
      })
        .on('error', reject)
        .end();
    });
    if (typeof expected === 'string') expect(JSON.parse(seen.text).url).toBe(expected);
    else expect(seen.status).toBe(expected ?? 404);
  });

  test('matches hostnames, of a trusted proxy as well', async () => {
    const [a, b] = [await backend('a'), await backend('b')];
    const declaration: ServiceRouterOptions = {
      services: { a: { backends: [a] }, b: { backends: [b] } },
      routes: [
        { hostnames: 'api.example.com', service: 'a' },
        { hostnames: ['*.example.com'], service: 'b' },
      ],
    };
    const gw = await gateway(declaration);
    expect((await askHost(gw, 'API.example.com:8080')).body.name).toBe('a');
    expect((await askHost(gw, 'www.example.com.')).body.name).toBe('b');
    expect((await askHost(gw, 'example.com')).status).toBe(404);
    const forwarded = { headers: { 'x-forwarded-host': 'api.example.com' } };
    expect((await ask(gw, '/', forwarded)).status).toBe(404);
    expect((await ask(await gateway(declaration, true), '/', forwarded)).body.name).toBe('a');
  });

  test('a removed prefix goes to the backend as X-Forwarded-Prefix, and a client cannot write it', async () => {
    const services = { shop: { backends: [await backend('shop')] } };
    const routes = [{ path: '/shop', service: 'shop', rewrite: { prefix: '/' } }];
    const spoofed = { headers: { 'x-forwarded-prefix': '/evil' } };
    expect(
      (await ask(await gateway({ services, routes }), '/shop/a', spoofed)).body.headers['x-forwarded-prefix'],
    ).toBe('/shop');
    expect(
      (await ask(await gateway({ services, routes }, true), '/shop/a', spoofed)).body.headers['x-forwarded-prefix'],
    ).toBe('/evil/shop');
    const plain = await gateway({ services, routes: [{ path: '/shop', service: 'shop' }] });
    expect((await ask(plain, '/shop/a', spoofed)).body.headers).not.toHaveProperty('x-forwarded-prefix');
  });

  test('rewrites the whole path and the hostname, and changes request headers', async () => {
    const gw = await gateway({
      services: { a: { backends: [await backend('a')] } },
      routes: [
        {
          path: { exact: '/old' },
          service: 'a',
          rewrite: { fullPath: '/new', hostname: 'inner.example' },
          requestHeaders: {
            set: { 'X-Route': '{route} {clientAddress} {scheme}' },
            add: { 'x-list': 'b' },
            remove: ['X-Secret'],
          },
        },
      ],
    });
    const seen = await ask(gw, '/old?x=1', { headers: { 'x-secret': '1', 'x-route': 'mine', 'x-list': 'a' } });
    expect(seen.body.url).toBe('/new?x=1');
    expect(seen.body.headers).toMatchObject({
      host: 'inner.example',
      'x-route': '=/old 127.0.0.1 http',
      'x-list': 'a, b',
    });
    expect(seen.body.headers).not.toHaveProperty('x-secret');
  });

  test.each(['stable', 'canary'])(
    '{service} in request headers of a weighted route names the service %s',
    async (name) => {
      const gw = await gateway({
        services: { stable: { backends: [await backend('stable')] }, canary: { backends: [await backend('canary')] } },
        routes: [
          {
            service: ['stable', 'canary'].map((one) => ({ name: one, weight: one === name ? 1 : 0 })),
            requestHeaders: { set: { 'x-service': '{service}' } },
          },
        ],
      });
      const { body } = await ask(gw, '/');
      expect([body.name, body.headers]).toEqual([name, expect.objectContaining({ 'x-service': name })]);
    },
  );

  test('redirects and responds without a backend', async () => {
    const gw = await gateway({
      services: {},
      routes: [
        { path: '/old', redirect: { prefix: '/new', status: 308 } },
        { path: '/secure', redirect: { scheme: 'https', hostname: 'example.com' } },
        { path: '/health', respond: { status: 200, headers: { 'content-type': 'text/plain' }, body: 'ok' } },
        { path: '/gone', respond: { status: 204 } },
        { path: '/plain', respond: { body: '<b>' } },
      ],
    });
    const old = await ask(gw, '/old/a?b=c');
    expect([old.status, old.headers.get('location')]).toEqual([308, `${gw.url}/new/a?b=c`]);
    expect((await ask(gw, '/secure/a?b')).headers.get('location')).toBe('https://example.com/secure/a?b');
    const health = await ask(gw, '/health');
    expect([health.status, health.headers.get('content-type'), health.body.body]).toEqual([200, 'text/plain', 'ok']);
    expect((await ask(gw, '/health', { method: 'HEAD' })).headers.get('content-length')).toBe('2');
    const gone = await ask(gw, '/gone');
    expect([gone.status, gone.headers.get('content-type')]).toEqual([204, null]);
    expect((await ask(gw, '/plain')).headers.get('content-type')).toBe('text/plain; charset=utf-8');
  });

  test('shares requests out among weighted services', async () => {
    const gw = await gateway({
      services: { stable: { backends: [await backend('stable')] }, canary: { backends: [await backend('canary')] } },
      routes: [
        {
          service: [
            { name: 'stable', weight: 9 },
            { name: 'canary', weight: 1 },
          ],
        },
      ],
    });
    const random = jest.spyOn(Math, 'random');
    try {
      for (const [value, name] of [
        [0, 'stable'],
        [0.89, 'stable'],
        [0.9, 'canary'],
        [0.999, 'canary'],
      ] as const) {
        random.mockReturnValue(value);
        expect((await ask(gw)).body.name).toBe(name);
      }
    } finally {
      random.mockRestore();
    }
  });

  test('limits each route, several routes together, and each consumer by its plan', async () => {
    const key = (text: string) => createHash('sha256').update(text).digest('hex');
    const gw = await gateway({
      services: { a: { backends: [await backend('a')] } },
      rateLimits: { shared: { limit: '2/1m' } },
      authentication: {
        keys: {
          apiKey: {
            keys: [
              { sha256: key('g'), consumer: 'gold', plan: 'gold' },
              { sha256: key('f'), consumer: 'free', plan: 'free' },
            ],
          },
        },
      },
      routes: [
        { path: '/own', service: 'a', rateLimit: '1/1m' },
        { path: '/one', service: 'a', rateLimit: 'shared' },
        { path: '/two', service: 'a', rateLimit: ['shared', '100/1m'] },
        {
          path: '/plans',
          service: 'a',
          authentication: 'keys',
          rateLimit: { limit: '1/1m', key: 'consumer', plans: { gold: '3/1m' } },
        },
      ],
    });
    const statuses = async (...asked: [path: string, key?: string][]) => {
      const all: number[] = [];
      for (const [path, apiKey] of asked)
        all.push((await ask(gw, path, apiKey ? { headers: { 'x-api-key': apiKey } } : {})).status);
      return all;
    };
    expect(await statuses(['/own'], ['/own'], ['/one'], ['/two'], ['/one'], ['/two'])).toEqual([
      200, 429, 200, 200, 429, 429,
    ]);
    expect(await statuses(['/plans', 'g'], ['/plans', 'g'], ['/plans', 'g'], ['/plans', 'g'])).toEqual([
      200, 200, 200, 429,
    ]);
    expect(await statuses(['/plans', 'f'], ['/plans', 'f'], ['/plans'])).toEqual([200, 429, 401]);
  });

  test('admits and denies addresses', async () => {
    const gw = await gateway({
      services: { a: { backends: [await backend('a')] } },
      routes: [
        { path: '/allowed', service: 'a', allow: ['127.0.0.0/8', '::1'] },
        { path: '/others', service: 'a', allow: ['192.0.2.0/24'] },
        { path: '/denied', service: 'a', deny: ['127.0.0.1'] },
      ],
    });
    expect((await ask(gw, '/allowed')).status).toBe(200);
    for (const path of ['/others', '/denied']) {
      const seen = await ask(gw, path);
      expect([seen.status, seen.body.cause]).toEqual([403, 'client_denied']);
    }
  });

  test('timeouts, body limits and caps belong to the route, and the backend to the service', async () => {
    const held: (() => void)[] = [];
    const slow = await started(
      listen((_req, res) => {
        held.push(() => res.end('done'));
      }),
    );
    const gw = await gateway({
      services: { slow: { backends: [slow.url], circuit: { minimumRequests: 1000 } } },
      routes: [
        { path: '/quick', service: 'slow', responseTimeoutMs: 100, retry: { attempts: 1 } },
        { path: '/stream', service: 'slow', stream: true },
        { path: '/small', service: 'slow', maxBodyBytes: 3 },
        { path: '/one', service: 'slow', maxInFlight: 1 },
      ],
    });
    expect((await ask(gw, '/quick')).status).toBe(504);
    expect((await ask(gw, '/small', { method: 'POST', body: 'four' })).status).toBe(413);
    held.length = 0;
    const first = ask(gw, '/one');
    await eventually('the backend holds the request', () => held.length === 1);
    expect((await ask(gw, '/one')).body.cause).toBe('overloaded');
    held.pop()?.();
    expect((await first).status).toBe(200);
    const streamed = ask(gw, '/stream');
    await eventually('the backend holds the request', () => held.length === 1);
    held.pop()?.();
    expect((await streamed).status).toBe(200);
  });

  test('requestTimeoutMs ends a whole request: with 504, or by a cut where the response has begun', async () => {
    let asked = 0;
    const { url } = await started(
      listen((req, res) => {
        asked += 1;
        if (req.url === '/begun') res.writeHead(200, { 'Content-Length': 20_000 }).write('x'.repeat(10_000));
        if (req.url === '/feed') res.writeHead(200, { 'Content-Type': 'text/event-stream' }).write('data: 1\n\n');
        if (req.url === '/quick') res.end('{}');
      }),
    );
    const gw = await gateway({
      services: { a: { backends: [url], circuit: { minimumRequests: 1000 } } },
      routes: [
        { path: '/late', service: 'a', requestTimeoutMs: 300 },
        { service: 'a', requestTimeoutMs: 2_000 },
      ],
    });
    const late = await ask(gw, '/late');
    expect([late.status, late.body.cause]).toEqual([504, 'handler_timeout']);
    const begun = await fetch(`${gw.url}/begun`);
    await expect(begun.text()).rejects.toThrow();
    expect((await ask(gw, '/quick')).status).toBe(200);
    const feed = (await fetch(`${gw.url}/feed`)).body?.getReader();
    expect((await feed?.read())?.done).toBe(false);
    const ends = feed?.read().then(({ done }) => done);
    expect(await Promise.race([ends, pause('longer than requestTimeoutMs', 3_000).then(() => 'open')])).toBe('open');
    await feed?.cancel();
    expect(asked).toBe(4);
    await eventually('nothing is in flight', () => gw.router.services.get('a')?.load().inFlight === 0);
  });

  test('a circuit guards one route and leaves the others alone', async () => {
    const gw = await gateway({
      services: { bad: { backends: [await backend('bad', 500)], circuit: { minimumRequests: 1000 } } },
      routes: [
        { path: '/guarded', service: 'bad', circuit: { minimumRequests: 2 } },
        { path: '/plain', service: 'bad' },
      ],
    });
    for (let count = 0; count < 2; count += 1) expect((await ask(gw, '/guarded')).status).toBe(500);
    expect((await ask(gw, '/guarded')).body.cause).toBe('circuit_open');
    expect((await ask(gw, '/plain')).status).toBe(500);
  });

  test('an error of a middleware goes to the app with the path that the client sent', async () => {
    const events = new GatewayEvents();
    const router = serviceRouter({
      services: { a: { backends: [await backend('a')] } },
      routes: [{ path: '/a', service: 'a', rewrite: { prefix: '/' }, requestHeaders: { set: { 'x-y': '1' } } }],
      events,
    });
    open.push({ close: () => router.close() });
    const app = express();
    app.use((req, _res, next) => {
      req.headers['x-bad'] = 'line\nbreak';
      next();
    });
    app.use(router);
    app.use((error: Error, req: express.Request, res: express.Response, _next: express.NextFunction) => {
      res.status(500).json({ code: (error as { code?: string }).code, url: req.url });
    });
    const { url } = await started(listen(app));
    const response = await fetch(`${url}/a/b?c`);
    expect(await response.json()).toEqual({ code: 'ERR_EXPRESSWAY_REQUEST_HEAD', url: '/a/b?c' });
  });

  test('tells why each route takes a request or not', async () => {
    const gw = await gateway({
      services: { a: { backends: [await backend('a')] } },
      routes: [
        { path: '/', service: 'a', name: 'all' },
        { path: '/users', methods: ['GET'], service: 'a' },
      ],
    });
    expect(gw.router.routes().map(({ name }) => name)).toEqual(['GET /users', 'all']);
    const request = { hostname: '', path: '/users/1', search: '', method: 'POST', headers: {} };
    expect(gw.router.explain(request)).toEqual([
      { route: 'GET /users', unmet: ['method POST is not GET'] },
      { route: 'all', unmet: [] },
    ]);
  });
});

describe('a new declaration', () => {
  test('keeps unchanged parts: counts, circuits, connections and running requests', async () => {
    let sockets = 0;
    const steady = await started(listen((_req, res) => res.end('{"name":"steady"}')));
    steady.server.on('connection', () => {
      sockets += 1;
    });
    const other = await backend('other');
    const services = {
      steady: { backends: [steady.url] },
      bad: { backends: [await backend('bad', 500)], circuit: { minimumRequests: 2 } },
    };
    const routes = [
      { path: '/steady', service: 'steady', rateLimit: '3/1m' },
      { path: '/bad', service: 'bad', retry: { attempts: 1 } },
    ];
    const gw = await gateway({ services, routes });
    await ask(gw, '/steady');
    for (let count = 0; count < 3; count += 1) await ask(gw, '/bad');
    expect((await ask(gw, '/bad')).body.cause).toBe('no_backend');
    const proxy = gw.router.services.get('steady');

    gw.router.setDeclaration({
      services: { ...services, other: { backends: [other] } },
      routes: [...routes, { path: '/other', service: 'other' }],
    });
    expect(gw.router.services.get('steady')).toBe(proxy);
    expect((await ask(gw, '/other')).body.name).toBe('other');
    expect((await ask(gw, '/bad')).body.cause).toBe('no_backend');
    expect([
      (await ask(gw, '/steady')).status,
      (await ask(gw, '/steady')).status,
      (await ask(gw, '/steady')).status,
    ]).toEqual([200, 200, 429]);
    expect(sockets).toBe(1);
  });

  test('changes only the backends of a service in place', async () => {
    const [one, two] = [await backend('one'), await backend('two')];
    const routes = [{ service: 'a' }];
    const gw = await gateway({ services: { a: { backends: [one] } }, routes });
    expect((await ask(gw)).body.name).toBe('one');
    const proxy = gw.router.services.get('a');
    gw.router.setDeclaration({ services: { a: { backends: [two] } }, routes });
    expect(gw.router.services.get('a')).toBe(proxy);
    expect((await ask(gw)).body.name).toBe('two');
  });

  test('has its own limits and authenticators, without those of the previous declaration', async () => {
    const services = { a: { backends: [await backend('a')] } };
    const routes = [{ service: 'a', rateLimit: 'shared' }];
    const gw = await gateway({ services, routes, rateLimits: { shared: { limit: '1/1m' } } });
    expect(() => gw.router.setDeclaration({ services, routes })).toThrow(/there is no limit "shared"/);
  });

  test('changes nothing when it cannot be used', async () => {
    const gw = await gateway({ services: { a: { backends: [await backend('a')] } }, routes: [{ service: 'a' }] });
    expect(() => gw.router.setDeclaration({ services: {}, routes: [{ service: 'a' }] })).toThrow(
      /there is no service "a"/,
    );
    expect(() =>
      gw.router.setDeclaration({
        services: { a: { backends: ['http://127.0.0.1:1'] }, b: { backends: ['http://127.0.0.1:2'] } },
        routes: [{ service: 'b', authentication: { apiKey: { keys: '/no/such/file' } } }],
      }),
    ).toThrow(/no such file/);
    expect((await ask(gw)).body.name).toBe('a');
  });

  test('200 of them under load lose no request', async () => {
    const [one, two] = [await backend('one'), await backend('two')];
    const declaration = (count: number) => ({
      services: { a: { backends: count % 2 === 0 ? [one] : [one, two], connectTimeoutMs: 1_000 + (count % 3) } },
      routes: [{ path: '/', service: 'a', rateLimit: `${100_000 + (count % 5)}/1m` }],
    });
    const gw = await gateway(declaration(0));
    const failed: unknown[] = [];
    let isOver = false;
    const clients = Array.from({ length: 8 }, async () => {
      while (!isOver) {
        const { status, body } = await ask(gw, '/', { method: 'POST', body: 'x' });
        if (status !== 200) failed.push([status, body]);
      }
    });
    for (let count = 1; count <= 200; count += 1) {
      gw.router.setDeclaration(declaration(count));
      await ask(gw);
    }
    isOver = true;
    await Promise.all(clients);
    expect(failed).toEqual([]);
  });
});

describe('problems of a declaration', () => {
  const good = { services: { a: { backends: ['http://127.0.0.1:1'] } }, routes: [{ service: 'a' }] };
  const route = (changes: object) => ({ ...good, routes: [{ service: 'a', ...changes }] });
  const responds = (respond: object) => ({ ...good, routes: [{ respond }] });
  test.each<[object, string, RegExp]>([
    [{ ...good, servces: {} }, 'servces', /unknown option "servces": did you mean "services"/],
    [{ ...good, services: { A_1: good.services.a } }, 'services/A_1', /"A_1" must be of lower-case letters/],
    [{ ...good, services: { a: { backends: [] } } }, 'services/a/backends', /backends must/],
    [{ ...good, services: { a: { ...good.services.a, target: 'x' } } }, 'services/a/target', /use backends/],
    [
      { ...good, services: { a: { ...good.services.a, healthCheck: { pth: '/' } } } },
      'services/a/healthCheck/pth',
      /did you mean "path"/,
    ],
    [{ ...good, routes: [] }, 'routes', /at least 1 route/],
    [route({ service: 'b' }), 'routes/0/service', /there is no service/],
    [route({ service: undefined }), 'routes/0', /exactly one of service, redirect and respond, got none/],
    [route({ respond: {} }), 'routes/0/respond', /got service and respond/],
    [route({ service: undefined, respond: {}, circuit: {} }), 'routes/0/circuit', /circuit needs a service/],
    [route({ path: 'users' }), 'routes/0/path', /must begin with a slash/],
    [route({ path: '/a/../b' }), 'routes/0/path', /normalised/],
    [route({ path: '/%61' }), 'routes/0/path', /normalised/],
    [route({ path: '/a//b' }), 'routes/0/path', /normalised/],
    [route({ path: '/a?b' }), 'routes/0/path', /normalised/],
    [route({ path: '/ü' }), 'routes/0/path', /percent-encoded where it is not ASCII/],
    [route({ path: { exact: '/a b' } }), 'routes/0/path/exact', /percent-encoded/],
    [route({ path: '/\ud800' }), 'routes/0/path', /percent-encoded/],
    [route({ path: '/users/*' }), 'routes/0/path', /not a pattern: a path prefix matches all paths below it/],
    [route({ path: '/users/:id/cart' }), 'routes/0/path', /not a pattern/],
    [route({ path: { prefix: '/{id}' } }), 'routes/0/path/prefix', /not a pattern/],
    [route({ path: { exact: '/a', prefix: '/a' } }), 'routes/0/path/prefix', /unknown option "prefix"/],
    [route({ hostnames: 'api.example.com:80' }), 'routes/0/hostnames', /without port/],
    [route({ hostnames: ['a.*.com'] }), 'routes/0/hostnames/0', /hostname/],
    [route({ host: 'x' }), 'routes/0/host', /use hostnames/],
    [route({ methods: ['get'] }), 'routes/0/methods/0', /upper case/],
    [route({ headers: { 'a b': '1' } }), 'routes/0/headers', /not a header name/],
    [route({ headers: { 'X-Beta': '1', 'x-beta': '2' } }), 'routes/0/headers', /"x-beta" is repeated/],
    [route({ rewrite: { prefix: '//evil.example' } }), 'routes/0/rewrite/prefix', /one slash/],
    [route({ rewrite: { fullPath: '/ü' } }), 'routes/0/rewrite/fullPath', /percent-encoded/],
    [route({ rewrite: { hostname: 'a\u0001b' } }), 'routes/0/rewrite/hostname', /hostname/],
    [responds({ headers: { 'a b': '1' } }), 'routes/0/respond/headers/a b', /not a header that can be set/],
    [
      responds({ headers: { 'Content-Length': '1' } }),
      'routes/0/respond/headers/Content-Length',
      /not a header that can/,
    ],
    [responds({ headers: { a: 'line\nbreak' } }), 'routes/0/respond/headers/a', /control characters/],
    [route({ rateLimit: '100 per minute' }), 'routes/0/rateLimit', /like "100\/1m/],
    [route({ rateLimit: 'gold' }), 'routes/0/rateLimit', /there is no limit "gold"/],
    [route({ rateLimit: ['100/1m', { limit: '5' }] }), 'routes/0/rateLimit/1/limit', /windows/],
    [route({ rateLimit: { limit: '5/1s', key: 'consumer' } }), 'routes/0/rateLimit', /no authentication/],
    [route({ authentication: 'keys' }), 'routes/0/authentication', /there is no authenticator "keys"/],
    [route({ authentication: {} }), 'routes/0/authentication', /exactly one of jwt/],
    [route({ authentication: { jwt: { secret: 'short' } } }), 'routes/0/authentication/jwt/secret', /at least 32/],
    [route({ allow: ['localhost'] }), 'routes/0/allow', /IP address/],
    [route({ stream: true, idleTimeoutMs: 5 }), 'routes/0/stream', /no requestTimeoutMs/],
    [route({ path: { exact: '/a' }, rewrite: { prefix: '/' } }), 'routes/0/rewrite', /needs a path prefix/],
    [route({ rewrite: { prefix: '/', fullPath: '/' } }), 'routes/0/rewrite', /prefix or fullPath/],
    [route({ service: [{ name: 'a', weight: 0 }] }), 'routes/0/service', /weight above 0/],
    [route({ service: [{ name: 'b', weight: 1 }] }), 'routes/0/service', /there is no service/],
    [
      route({ requestHeaders: { set: { 'x-a': '{consmer}' } } }),
      'routes/0/requestHeaders',
      /\{consmer\} is not a fact/,
    ],
    [
      route({ requestHeaders: { set: { 'content-length': '1' } } }),
      'routes/0/requestHeaders/set/content-length',
      /not a header that can be set/,
    ],
    [
      { ...good, routes: [{ service: 'a' }, { service: 'a', name: 'second' }] },
      'routes/1/path',
      /takes no request, because route 1/,
    ],
    [
      {
        ...good,
        routes: [
          { path: '/a', service: 'a' },
          { path: '/a', headers: { x: '1' }, service: 'a' },
        ],
      },
      'routes/1/name',
      /like route 1/,
    ],
  ])('%j', (options, path, message) => {
    let found: OptionsError | undefined;
    try {
      serviceRouter(options as ServiceRouterOptions);
    } catch (error) {
      found = error as OptionsError;
    }
    expect(found).toBeInstanceOf(OptionsError);
    expect(found?.details.map((one) => one.path.join('/'))).toEqual([path]);
    expect(found?.message).toMatch(message);
  });
});
