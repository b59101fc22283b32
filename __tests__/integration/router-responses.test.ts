import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import { Registry } from 'prom-client';
import {
  accessLog,
  GatewayEvents,
  hashPassword,
  observability,
  prometheusMetrics,
  type RouteOptions,
  type ServiceRouterOptions,
  serviceRouter,
} from '../../lib/index.ts';
import { rawRequest } from '../support/raw-client.ts';
import { eventually, listen, type RunningServer } from '../support/servers.ts';

const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  jest.restoreAllMocks();
  for (const one of open.splice(0).reverse()) await one.close();
});

async function started(server: Promise<RunningServer>): Promise<RunningServer> {
  const one = await server;
  open.push(one);
  return one;
}

async function gateway(options: Partial<ServiceRouterOptions>): Promise<string> {
  const backend = await started(
    listen((req, res) => {
      if (req.url === '/fails') res.statusCode = 500;
      res.setHeader('Access-Control-Allow-Origin', 'https://backend.example');
      res.setHeader('Vary', 'Accept-Encoding');
      res.end(`${req.method} of the backend`);
    }),
  );
  const router = serviceRouter({
    services: { a: { backends: [backend.url] } },
    routes: [{ path: '/a', service: 'a' }],
    ...options,
  });
  open.push(router);
  const app = express().disable('x-powered-by');
  app.use(observability({ requestId: true }));
  app.use(router);
  return (await started(listen(app))).url;
}

const BROWSER = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';

describe('errors', () => {
  const get = async (url: string, accept?: string) => {
    const response = await fetch(url, accept === undefined ? {} : { headers: { accept } });
    return { response, type: response.headers.get('content-type'), text: await response.text() };
  };

  test.each([
    [BROWSER, 'text/html; charset=utf-8'],
    ['text/html', 'text/html; charset=utf-8'],
    ['text/plain', 'text/plain; charset=utf-8'],
    ['*/*', 'application/problem+json'],
    ['application/json', 'application/problem+json'],
    ['application/problem+json, text/html;q=0.5', 'application/problem+json'],
    ['image/png', 'application/problem+json'],
    ['text/html;q=0', 'application/problem+json'],
    [`text/html${',a/a;q=0.1'.repeat(200)}`, 'application/problem+json'],
  ])('a client that accepts %s gets %s', async (accept, expected) => {
    const { response, type } = await get(`${await gateway({ errors: {} })}/none`, accept);
    expect([response.status, type, response.headers.get('vary')]).toEqual([404, expected, 'Accept']);
  });

  test('without the option every client gets a problem document', async () => {
    const { type, response } = await get(`${await gateway({})}/none`, BROWSER);
    expect([type, response.headers.get('vary')]).toEqual(['application/problem+json', null]);
  });

  test('the page and the text have the request id', async () => {
    const url = await gateway({ errors: {} });
    for (const accept of ['text/html', 'text/plain']) {
      const { response, text } = await get(`${url}/none`, accept);
      expect(text).toContain('404 Not found');
      expect(text).toContain(`Request id: ${response.headers.get('x-request-id')}`);
    }
  });

  test('a page of a file and a function, by cause, by status and for the rest; facts are escaped', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pages-'));
    const file = join(folder, 'page.html');
    writeFileSync(file, '<b>{{status}} {{title}} {{cause}} {{detail}} {{none}}</b>');
    const url = await gateway({
      routes: [
        { path: '/a', service: 'a', maxBodyBytes: 1, deny: [] },
        { path: '/denied', service: 'a', deny: ['127.0.0.1'] },
      ],
      errors: {
        html: file,
        pages: { no_route: ({ cause }) => `cause ${cause}`, 403: ({ status }) => `status ${status}` },
      },
    });
    expect((await get(`${url}/none`, 'text/html')).text).toBe('cause no_route');
    expect((await get(`${url}/denied`, 'text/html')).text).toBe('status 403');
    const response = await fetch(`${url}/a`, { method: 'POST', body: 'long', headers: { accept: 'text/html' } });
    expect(await response.text()).toBe(
      '<b>413 Content too large content_too_large Longest allowed: 1 bytes (maxBodyBytes, MAX_BODY_BYTES). {{none}}</b>',
    );
  });

  test('responses of backends stay as they are', async () => {
    const { response, text } = await get(
      `${await gateway({ routes: [{ path: '/', service: 'a' }], errors: {} })}/fails`,
      'text/html',
    );
    expect([response.status, text]).toEqual([500, 'GET of the backend']);
  });

  test('a page that throws gives a problem document and a warning', async () => {
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const html = () => {
      throw new Error('a bug');
    };
    const { type } = await get(`${await gateway({ errors: { html } })}/none`, 'text/html');
    expect(type).toBe('application/problem+json');
    expect(warned).toHaveBeenCalledWith(
      expect.stringContaining('a bug'),
      expect.objectContaining({ code: 'WARN_EXPRESSWAY_ERROR_PAGE' }),
    );
  });

  test.each([
    [{ html: '/no/such/file' }, /cannot be read: no such file/],
    [{ html: 5 }, /html must be a path or a function/],
    [{ pages: { 299: 'a' } }, /"299" must be a status or a cause/],
    [{ pages: { no_rout: 'a' } }, /"no_rout" must be/],
  ])('%j throws', (errors, message) => {
    const options = { services: {}, routes: [{ respond: {} }], errors } as ServiceRouterOptions;
    expect(() => serviceRouter(options)).toThrow(message);
  });
});

test('the access log and the metrics name the route, the service and the consumer', async () => {
  const lines: string[] = [];
  const register = new Registry();
  const events = new GatewayEvents();
  const metrics = prometheusMetrics({ register, events });
  const log = accessLog({ to: { write: (line: string) => lines.push(line) }, format: 'json' });
  const backend = await started(listen((_req, res) => res.end('ok')));
  const router = serviceRouter({
    services: { shop: { backends: [backend.url] } },
    routes: [
      {
        path: '/shop',
        name: 'the shop',
        service: 'shop',
        authentication: { basic: { users: { alice: hashPassword('a') } } },
      },
    ],
  });
  open.push(router);
  const app = express().use(observability({ accessLog: log, metrics }), router);
  const { url } = await started(listen(app));
  await (await fetch(`${url}/shop/a`, { headers: { authorization: `Basic ${btoa('alice:a')}` } })).text();
  await (await fetch(`${url}/none`)).text();
  await eventually('two requests are logged', () => lines.join('').split('\n').length === 3);
  const records = lines
    .join('')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(records).toMatchObject([
    { route: 'the shop', service: 'shop', consumer: 'alice', status: 200 },
    { route: 'default', status: 404, cause: 'no_route' },
  ]);
  expect(await register.metrics()).toMatch(/expressway_requests_total\{.*route="the shop".*\} 1/);
  metrics.close();
  log.close();
});

describe('cors', () => {
  const route: RouteOptions = {
    path: '/a',
    methods: ['GET', 'PUT'],
    service: 'a',
    rateLimit: '1/1m',
    cors: { origin: ['https://app.example'], credentials: true, maxAgeMs: 600_000 },
  };
  const preflight = (url: string, origin: string, method: string) =>
    fetch(url, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': method, 'access-control-request-headers': 'x-custom' },
    });

  test('responds to preflight requests itself, without counting them', async () => {
    const url = `${await gateway({ routes: [route] })}/a`;
    for (let count = 0; count < 3; count += 1) {
      const { status, headers } = await preflight(url, 'https://app.example', 'PUT');
      expect(status).toBe(204);
      expect(Object.fromEntries(headers)).toMatchObject({
        'access-control-allow-origin': 'https://app.example',
        'access-control-allow-methods': 'GET,PUT',
        'access-control-allow-headers': 'x-custom',
        'access-control-allow-credentials': 'true',
        'access-control-max-age': '600',
      });
    }
  });

  test('replaces the headers of the backend and joins Vary', async () => {
    const url = `${await gateway({ routes: [route] })}/a`;
    const { status, headers } = await fetch(url, { headers: { origin: 'https://app.example' } });
    expect([status, headers.get('access-control-allow-origin')]).toEqual([200, 'https://app.example']);
    expect(headers.get('vary')?.split(', ').sort()).toEqual(['Accept-Encoding', 'Origin']);
    const limited = await fetch(url, { headers: { origin: 'https://app.example' } });
    expect([limited.status, limited.headers.get('access-control-allow-origin')]).toEqual([429, 'https://app.example']);
  });

  test('another origin gets no permission', async () => {
    const url = `${await gateway({ routes: [route] })}/a`;
    expect((await preflight(url, 'https://evil.example', 'PUT')).headers.get('access-control-allow-origin')).toBeNull();
    const response = await fetch(url, { headers: { origin: 'https://evil.example' } });
    expect([response.status, response.headers.get('access-control-allow-origin')]).toEqual([200, null]);
  });

  test('a preflight request for a route without the option goes to the backend', async () => {
    const url = await gateway({ routes: [route, { path: '/a/open', service: 'a' }] });
    const response = await preflight(`${url}/a/open`, 'https://app.example', 'GET');
    expect([response.status, await response.text()]).toEqual([200, 'OPTIONS of the backend']);
    expect((await preflight(`${url}/a`, 'https://app.example', 'DELETE')).status).toBe(404);
  });

  /** The route with any method. */
  const { methods: _methods, ...anyMethod } = route;

  test('a preflight request gets a response only for the method that it asks about', async () => {
    const routes = [anyMethod, { path: '/a', methods: ['PUT'], service: 'a' }];
    const url = `${await gateway({ routes })}/a`;
    const put = await preflight(url, 'https://app.example', 'PUT');
    expect([put.status, put.headers.get('access-control-allow-methods')]).toEqual([200, null]);
    const post = await preflight(url, 'https://app.example', 'POST');
    expect([post.status, post.headers.get('access-control-allow-methods')]).toEqual([
      204,
      'GET,HEAD,PUT,PATCH,POST,DELETE',
    ]);
  });

  test.each([
    ['of no web page', {}, null],
    ['of a web page', { origin: 'https://app.example' }, 'https://app.example'],
  ])(
    'an OPTIONS request %s that is no preflight request goes to the backend, and counts',
    async (_what, headers, allowed) => {
      const url = `${await gateway({ routes: [anyMethod] })}/a`;
      const response = await fetch(url, { method: 'OPTIONS', headers });
      expect([response.status, await response.text()]).toEqual([200, 'OPTIONS of the backend']);
      expect(response.headers.get('access-control-allow-origin')).toBe(allowed);
      expect((await fetch(url, { method: 'OPTIONS', headers })).status).toBe(429);
    },
  );

  test('replaces the headers of a service that refuses the request, and joins Vary', async () => {
    const service = await started(
      listen((_req, res) =>
        res
          .writeHead(401, {
            'Access-Control-Allow-Origin': 'https://other.example',
            'Access-Control-Allow-Credentials': 'true',
            Vary: 'Cookie',
          })
          .end(),
      ),
    );
    const { rateLimit: _limit, ...open } = route;
    const url = await gateway({ routes: [{ ...open, authentication: { forwardAuth: { url: service.url } } }] });
    const answers = await Promise.all(
      ['https://app.example', 'https://other.example'].map(async (origin) => {
        const { status, headers } = await fetch(`${url}/a`, { headers: { origin } });
        return [status, headers.get('access-control-allow-origin'), headers.get('vary')];
      }),
    );
    expect(answers).toEqual([
      [401, 'https://app.example', 'Origin, Cookie'],
      [401, null, 'Origin, Cookie'],
    ]);
  });

  test.each([
    [{ origin: '*', credentials: true }, /credentials must not be true for the origin \*/],
    [{ origin: 'app.example' }, /origin must be \*, or a scheme and a host/],
    [{ origin: 'https://app.example/' }, /origin must be/],
    [{ origin: [] }, /at least 1 origin/],
    [{ origin: '*', maxAge: 5 }, /use maxAgeMs/],
  ])('%j throws', (cors, message) => {
    const options = { services: {}, routes: [{ respond: {}, cors }] } as ServiceRouterOptions;
    expect(() => serviceRouter(options)).toThrow(message);
  });
});

test.each([
  ['POST /moved', 302],
  ['POST /fixed', 200],
  ['POST /none', 404],
  ['POST /forward', 403],
  ['POST /basic', 401],
  ['OPTIONS /a', 204],
])(
  '%s with a long body: the response %i closes the connection, so that the rest of the body is not read',
  async (line, status) => {
    const service = await started(listen((_req, res) => void res.writeHead(403).end('no')));
    const url = await gateway({
      routes: [
        { path: '/a', service: 'a', cors: { origin: '*' } },
        { path: '/moved', redirect: { fullPath: '/a' } },
        { path: '/fixed', respond: { body: 'fixed' } },
        { path: '/forward', service: 'a', authentication: { forwardAuth: { url: service.url } } },
        { path: '/basic', service: 'a', authentication: { basic: { users: {} } } },
      ],
    });
    const ask = (length: number) =>
      rawRequest(
        Number(new URL(url).port),
        `${line} HTTP/1.1\r\nHost: a\r\nOrigin: https://b.example\r\nAccess-Control-Request-Method: GET\r\nContent-Length: ${length}\r\n\r\n`,
      );
    const [long, none] = [await ask(1_000_000), await ask(0)];
    expect([long.status, long.field('connection')]).toEqual([status, 'close']);
    expect([none.status, none.field('connection')]).toEqual([status, 'keep-alive']);
  },
);
