import { createServer, type OutgoingHttpHeaders } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import { GatewayEvents, type ServiceRouterOptions, serviceRouter } from '../../lib/index.ts';
import { RawClient, type RawMessage } from '../support/raw-client.ts';
import { listen } from '../support/servers.ts';

const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

/** A backend that responds with the request that it got. */
async function backend(headers: OutgoingHttpHeaders = {}): Promise<string> {
  const server = await listen((req, res) =>
    res.writeHead(200, headers).end(JSON.stringify({ url: req.url, headers: req.headers })),
  );
  open.push(server);
  return server.url;
}

interface Setup {
  trustProxy?: boolean;
  mount?: string;
}

/** Starts a gateway, and gives a function that sends it a request as it stands. */
async function gateway(options: ServiceRouterOptions, { trustProxy = false, mount = '/' }: Setup = {}) {
  const router = serviceRouter(options);
  open.push(router);
  const app = express();
  app.set('trust proxy', trustProxy);
  app.use(mount, router);
  const server = await listen(app);
  open.push(server);
  return async (line: string, ...headers: string[]): Promise<RawMessage> => {
    const client = await RawClient.connect(server.port);
    client.send(`${[line, ...headers, 'Connection: close'].join('\r\n')}\r\n\r\n`);
    const response = await client.response();
    client.close();
    return response;
  };
}

const seenBy = ({ content }: RawMessage): { url: string; headers: Record<string, string>; cause?: string } =>
  JSON.parse(content.toString());

describe('the spelling of a target', () => {
  test.each([
    ['/admin', 403],
    ['/admin/x', 403],
    ['//admin', 403],
    ['/%61dmin', 403],
    ['/admin?a=/../', 403],
    ['http://gw/admin', 403],
    ['HTTP://gw//%61dmin', 403],
    ['/./admin', 400],
    ['/x/../admin', 400],
    ['/x/..;/admin', 400],
    ['/\\admin', 400],
    ['/admin%00', 400],
    ['/admin#x', 400],
    ['/x%2f..%2fadmin', 400],
  ])('%s does not reach the service behind a denied path', async (target, status) => {
    const backends = [await backend()];
    const ask = await gateway({
      services: { a: { backends } },
      routes: [{ path: '/admin', deny: ['127.0.0.1'], service: 'a' }, { service: 'a' }],
    });
    expect((await ask(`GET ${target} HTTP/1.1`, 'Host: gw')).status).toBe(status);
  });

  test('`OPTIONS *` has no path that a prefix could be put before', async () => {
    const backends = [await backend()];
    const ask = await gateway({
      services: { a: { backends } },
      routes: [{ service: 'a', rewrite: { prefix: '/base' } }],
    });
    expect((await ask('OPTIONS * HTTP/1.1', 'Host: gw')).status).toBe(204);
    expect(seenBy(await ask('OPTIONS / HTTP/1.1', 'Host: gw')).url).toBe('/base/');
  });
});

describe('the host of a request', () => {
  test.each([
    ['Host: api.example.com', 'X-Forwarded-Host: '],
    ['Host: inner', 'X-Forwarded-Host: api.example.com'],
    ['Host: inner', 'X-Forwarded-Host: API.example.com.:443, inner'],
  ])('%s with %s of a trusted proxy is api.example.com', async (...headers) => {
    const ask = await gateway(
      {
        services: {},
        routes: [{ hostnames: 'api.example.com', respond: { body: 'api' } }, { respond: { body: 'other' } }],
      },
      { trustProxy: true },
    );
    expect((await ask('GET / HTTP/1.1', ...headers)).content.toString()).toBe('api');
  });

  test.each([
    ['[::1]', '[0:0::1]'],
    ['[::1]', '[0000:0000:0000:0000:0000:0000:0000:0001]:8080'],
    ['[2001:DB8:0::A]', '[2001:db8::a]:443'],
    ['[2001:db8:0:0:1:0:0:1]', '[2001:DB8::1:0:0:1]'],
    ['[::ffff:192.0.2.1]', '[::FFFF:c000:201]'],
  ])('an IPv6 address matches in any spelling: %s takes %s', async (hostnames, host) => {
    const ask = await gateway({
      services: {},
      routes: [{ hostnames, respond: { body: 'address' } }, { respond: { body: 'other' } }],
    });
    expect((await ask('GET / HTTP/1.1', `Host: ${host}`)).content.toString()).toBe('address');
    expect((await ask('GET / HTTP/1.1', 'Host: [2001:db8::b]')).content.toString()).toBe('other');
  });

  test('the backend learns the hostname that a route replaces', async () => {
    const backends = [await backend()];
    const ask = await gateway({
      services: { a: { backends } },
      routes: [{ service: 'a', rewrite: { hostname: 'inner.example' } }],
    });
    expect(seenBy(await ask('GET / HTTP/1.1', 'Host: www.example.com')).headers).toMatchObject({
      host: 'inner.example',
      'x-forwarded-host': 'www.example.com',
    });
  });
});

describe('redirects', () => {
  const routes = [
    { path: '/', redirect: { port: 8443 } },
    { path: '/secure', redirect: { scheme: 'https' as const } },
    { path: '/here', redirect: { prefix: '/there' } },
  ];
  test.each([
    [
      'GET /secure HTTP/1.1',
      ['Host: inner:3000', 'X-Forwarded-Host: www.example.com'],
      'https://www.example.com/secure',
    ],
    ['GET /here HTTP/1.1', ['Host: a.example:3000'], 'http://a.example:3000/there'],
    ['GET /here HTTP/1.1', ['Host: a.example:'], 'http://a.example/there'],
    ['GET /here HTTP/1.1', ['Host: [::1]:80'], 'http://[::1]/there'],
    ['GET /here HTTP/1.1', ['Host: a.example', 'X-Forwarded-Proto: wss'], 'wss://a.example/there'],
    ['GET http://a.example/here/x HTTP/1.1', ['Host: b.example'], 'http://a.example/there/x'],
    ['GET //evil.example/ HTTP/1.0', [], '/evil.example/'],
    ['GET /here HTTP/1.0', [], '/there'],
    ['OPTIONS * HTTP/1.1', ['Host: a.example'], 'http://a.example:8443/'],
  ])('%s %j goes to %s', async (line, headers, location) => {
    const ask = await gateway({ services: {}, routes, mergeSlashes: false }, { trustProxy: true });
    expect((await ask(line, ...headers)).field('location')).toBe(location);
  });
});

describe('behind a path prefix', () => {
  test('a router that the app mounts tells the backend the whole prefix', async () => {
    const backends = [await backend({ Location: '/login' })];
    const ask = await gateway(
      { services: { a: { backends } }, routes: [{ path: '/shop', service: 'a', rewrite: { prefix: '/' } }] },
      { mount: '/api' },
    );
    const response = await ask('GET /api/shop/cart HTTP/1.1', 'Host: gw');
    expect(seenBy(response)).toMatchObject({ url: '/cart', headers: { 'x-forwarded-prefix': '/api/shop' } });
    expect(response.field('location')).toBe('/api/shop/login');
  });

  test('a redirect of the backend to its own path does not become one to another host', async () => {
    const backends = [await backend({ Location: '/app//evil.example/' })];
    const ask = await gateway({
      services: { a: { backends } },
      routes: [{ service: 'a', rewrite: { prefix: '/app' } }],
    });
    expect((await ask('GET / HTTP/1.1', 'Host: gw')).field('location')).toBe('/evil.example/');
  });
});

describe('requestTimeoutMs', () => {
  const never = () => new Promise<undefined>(() => {});

  test.each([
    ['a backend', {}],
    ['authentication', { authentication: { apiKey: { keys: never } } }],
    ['an upload', {}, 'POST'],
  ])('ends a request that waits for %s once, and keeps the connection', async (_what, own, method = 'GET') => {
    const server = await listen((req, res) => {
      if (req.url === '/quick') res.end('quick');
    });
    const events = new GatewayEvents();
    const rejected: unknown[] = [];
    events.on('rejected', ({ outcome }) => rejected.push(outcome));
    const router = serviceRouter({
      services: { a: { backends: [server.url] } },
      routes: [
        { path: '/late', service: 'a', requestTimeoutMs: 300, ...own },
        { path: '/', service: 'a' },
      ],
      events,
    });
    const front = await listen(express().use(router));
    open.push(server, router, front);
    const client = await RawClient.connect(front.port);
    const body = method === 'POST' ? 'Content-Length: 2\r\n\r\nab' : '\r\n';
    client.send(`${method} /late HTTP/1.1\r\nHost: gw\r\nX-API-Key: key\r\n${body}`);
    const late = await client.response();
    expect([late.status, late.field('connection')]).toEqual([504, 'keep-alive']);
    client.send('GET /quick HTTP/1.1\r\nHost: gw\r\n\r\n');
    expect((await client.response()).content.toString()).toBe('quick');
    client.close();
    expect(rejected).toMatchObject([{ cause: 'handler_timeout' }]);
  });
});

test('a cookie is added to those of the client in the form of RFC 6265', async () => {
  const ask = await gateway({
    services: { a: { backends: [await backend()] } },
    routes: [{ service: 'a', requestHeaders: { add: { cookie: 'b=2', 'x-list': 'b' } } }],
  });
  const both = seenBy(await ask('GET / HTTP/1.1', 'Host: gw', 'Cookie: a=1', 'X-List: a')).headers;
  expect(both).toMatchObject({ cookie: 'a=1; b=2', 'x-list': 'a, b' });
  expect(seenBy(await ask('GET / HTTP/1.1', 'Host: gw')).headers).toMatchObject({ cookie: 'b=2', 'x-list': 'b' });
});

test('the names of consumers and routes may have characters beyond the first plane of Unicode', async () => {
  const sha256 = '2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683'; // of "key"
  const backends = [await backend()];
  const ask = await gateway({
    services: { a: { backends } },
    authentication: { keys: { apiKey: { keys: [{ sha256, consumer: 'acme', plan: '😀' }] } } },
    routes: [
      {
        name: '😀',
        service: 'a',
        authentication: 'keys',
        rateLimit: '10/1m',
        requestHeaders: { set: { 'x-plan': '{plan}' } },
      },
    ],
  });
  const { headers } = seenBy(await ask('GET / HTTP/1.1', 'Host: gw', 'X-API-Key: key'));
  expect(headers['x-plan']).toBe('%F0%9F%98%80');
});

test('limits of routes whose names look like those of other limits count for themselves', async () => {
  const respond = { status: 200 };
  const ask = await gateway({
    services: {},
    routes: [
      { name: 'a', path: '/a', respond, rateLimit: ['5/1m', '1/1m'] },
      { name: 'a 2', path: '/b', respond, rateLimit: '2/1m' },
    ],
  });
  const statuses: number[] = [];
  for (const path of ['/a', '/a', '/b', '/b', '/b'])
    statuses.push((await ask(`GET ${path} HTTP/1.1`, 'Host: gw')).status);
  expect(statuses).toEqual([200, 429, 200, 200, 429]);
});

test('a plain server, which gives no `next`, responds 500 when a header cannot be sent', async () => {
  const router = serviceRouter({
    services: { a: { backends: [await backend()] } },
    routes: [{ service: 'a', rewrite: { prefix: '/a' } }],
  });
  open.push(router);
  const server = await listen(
    () => undefined,
    createServer((req, res) => {
      req.headers['x-bad'] = 'line\nbreak';
      Reflect.apply(router, undefined, [req, res]);
    }),
  );
  open.push(server);
  expect((await fetch(server.url)).status).toBe(500);
});
