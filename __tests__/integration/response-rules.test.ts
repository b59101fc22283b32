import type { RequestListener } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import { Agent, fetch, type RequestInit } from 'undici';
import {
  type ResponseOptions,
  type RoundRobinProxyOptions,
  type RouteOptions,
  roundRobinProxy,
  serviceRouter,
} from '../../lib/index.ts';
import { certificate } from '../support/certificate.ts';
import { PROTOCOLS } from '../support/protocols.ts';
import { listen, type RunningServer } from '../support/servers.ts';

const open: { close(): Promise<void> }[] = [];

beforeEach(() => {
  jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
});

afterEach(async () => {
  jest.restoreAllMocks();
  for (const one of open.splice(0).reverse()) await one.close();
});

async function started(server: Promise<RunningServer>): Promise<RunningServer> {
  const one = await server;
  open.push(one);
  return one;
}

/** Speaks HTTP/2 with servers that do. */
let dispatcher: Agent;
beforeAll(() => {
  dispatcher = new Agent({ allowH2: true, connect: { ca: certificate.cert } });
});
afterAll(() => dispatcher.close());

const get = (url: string, init: RequestInit = {}) => fetch(url, { redirect: 'manual', dispatcher, ...init });

describe.each(PROTOCOLS)('over $name', ({ name, serverOf }) => {
  /** @returns its URL for clients. */
  async function served(app: RequestListener): Promise<string> {
    const { url } = await started(listen(app, serverOf(app)));
    return name === 'HTTP/2' ? url.replace('http:', 'https:') : url;
  }

  async function proxied(
    listener: RequestListener,
    response: ResponseOptions,
    more: Partial<RoundRobinProxyOptions> = {},
    mount = '/',
  ): Promise<string> {
    const backend = await started(listen(listener));
    const proxy = roundRobinProxy({ backends: [backend.url], response, ...more });
    open.push(proxy);
    const app = express().disable('x-powered-by').use(mount, proxy);
    app.use((_error: Error, _req: express.Request, res: express.Response, _next: express.NextFunction) => {
      res.status(500).send('handled');
    });
    return served(app);
  }

  describe('response', () => {
    test('sets, adds and removes headers, with facts of the request', async () => {
      const url = await proxied(
        (_req, res) => {
          res.writeHead(200, {
            'X-Old': 'a',
            'X-List': 'a',
            'Set-Cookie': 'a=1',
            Server: 'secret/1',
            'X-Powered-By': 'secret',
          });
          res.end('ok');
        },
        {
          headers: {
            set: { 'X-Old': 'b', 'X-Client': '{clientAddress} {service}' },
            add: { 'x-list': 'b', 'set-cookie': 'b=2', 'x-new': 'b', 'www-authenticate': 'Basic' },
            remove: ['X-None'],
          },
          hideServer: true,
        },
        { name: 'shop' },
      );
      const { headers } = await get(url);
      expect(Object.fromEntries(headers)).toMatchObject({
        'x-old': 'b',
        'x-client': '127.0.0.1 shop',
        'x-list': 'a, b',
        'x-new': 'b',
        'www-authenticate': 'Basic',
      });
      expect(headers.getSetCookie()).toEqual(['a=1', 'b=2']);
      expect([headers.get('server'), headers.get('x-powered-by')]).toEqual([null, null]);
    });

    test('leaves the responses of the gateway itself as they are', async () => {
      const proxy = roundRobinProxy({
        backends: ['http://127.0.0.1:1'],
        response: { headers: { set: { 'x-a': '1' } } },
        retry: { attempts: 1 },
      });
      open.push(proxy);
      const url = await served(express().use(proxy));
      const response = await get(url);
      expect([response.status, response.headers.get('x-a')]).toEqual([502, null]);
    });

    test('rewriteUrls makes the URLs of a mounted service public', async () => {
      const url = await proxied(
        (req, res) => {
          const own = `http://${req.headers.host}`;
          res.writeHead(302, {
            Location: req.url === '/absolute' ? `${own}/cart` : '/cart',
            'Content-Location': '/item/1',
            Refresh: '1; url=/later',
            'Set-Cookie': ['a=1; Path=/', 'b=2; Path=/cart'],
          });
          res.end();
        },
        { rewriteUrls: true },
        { changeOrigin: true },
        '/shop',
      );
      const { headers } = await get(`${url}/shop/x`);
      expect(headers.get('location')).toBe('/shop/cart');
      expect(headers.get('content-location')).toBe('/shop/item/1');
      expect(headers.get('refresh')).toBe('1; url=/shop/later');
      expect(headers.getSetCookie()).toEqual(['a=1; Path=/shop', 'b=2; Path=/shop/cart']);
      expect((await get(`${url}/shop/absolute`)).headers.get('location')).toBe(`${url}/shop/cart`);
    });

    test('changeOrigin makes the URLs that name the backend public, unless rewriteUrls is false', async () => {
      const toOwnHost: RequestListener = (req, res) => {
        res.writeHead(302, { Location: `http://${req.headers.host}/login`, 'X-A': '1' }).end();
      };
      const seen = async (response: object | undefined) => {
        const url = await proxied(toOwnHost, {}, { changeOrigin: true, response } as Partial<RoundRobinProxyOptions>);
        const { headers } = await get(url);
        return [headers.get('location') === `${url}/login`, headers.get('x-a')];
      };
      expect(await seen(undefined)).toEqual([true, '1']);
      expect(await seen({ headers: { remove: ['x-a'] } })).toEqual([true, null]);
      expect(await seen({ rewriteUrls: undefined })).toEqual([true, '1']);
      expect(await seen({ rewriteUrls: false })).toEqual([false, '1']);
    });

    test('change() may change everything else; when it throws, the backend is not blamed', async () => {
      let fails = false;
      const url = await proxied((_req, res) => res.setHeader('X-Gone', '1').end('ok'), {
        change: ({ status, headers }, req) => {
          if (fails) throw new Error('a bug');
          headers['x-seen'] = `${status} ${req.url}`;
          headers['x-gone'] = undefined;
        },
      });
      const changed = await get(`${url}/a`);
      expect([changed.headers.get('x-seen'), changed.headers.get('x-gone')]).toEqual(['200 /a', null]);
      fails = true;
      for (let count = 0; count < 10; count += 1) {
        const response = await get(url);
        expect([response.status, await response.text()]).toEqual([500, 'handled']);
      }
      fails = false;
      expect((await get(url)).status).toBe(200);
    });

    test.each<[string, unknown]>([
      ['x-bad', 'a\nb'],
      ['x bad', 'a'],
      ['x-bad', null],
      ['x-bad', {}],
      ['x-bad', ['a', null]],
      ['x-bad', new Date(0)],
      // With these, the next response on the connection would not be read as one.
      ['content-length', '1'],
      ['Content-Length', '1'],
      ['content-length', '20'],
      ['transfer-encoding', 'chunked'],
      ['Transfer-Encoding', 'chunked'],
      ['Connection', 'close'],
      ['Keep-Alive', 'timeout=1'],
      ['Upgrade', 'websocket'],
      ['Trailer', 'X-A'],
    ])('a header that change() makes unsendable is an error of the app: %s: %j', async (name, value) => {
      const url = await proxied((_req, res) => res.end('ok'), {
        change: ({ headers }) => {
          headers[name] = value as string;
        },
      });
      for (let count = 0; count < 10; count += 1) expect((await get(url)).status).toBe(500);
    });

    test('change() may remove the length, and write numbers and booleans', async () => {
      const url = await proxied((_req, res) => res.setHeader('Trailer', 'X-A').end('ok'), {
        change: ({ headers }) => {
          delete headers['content-length'];
          Object.assign(headers, { 'x-a': 1, 'x-b': [true, 2], 'x-none': [] });
        },
      });
      const { status, headers } = await get(url);
      expect([status, headers.get('content-length')]).toEqual([200, null]);
      expect([headers.get('x-a'), headers.get('x-b'), headers.get('x-none')]).toEqual(['1', 'true, 2', null]);
    });

    test.each<[string, (response: Record<string, unknown>) => unknown]>([
      ['another status', (response) => Object.assign(response, { status: 201 })],
      ['another object of headers', (response) => Object.assign(response, { headers: {} })],
    ])('%s in change(), which would have no effect, is an error of the app', async (_what, change) => {
      const url = await proxied((_req, res) => res.end('ok'), { change: (response) => void change(response as never) });
      expect((await get(url)).status).toBe(500);
    });

    test('requestHeaders changes what the backend sees', async () => {
      const url = await proxied(
        (req, res) => res.end(JSON.stringify(req.headers)),
        {},
        { requestHeaders: { set: { 'x-gateway': 'yes' }, remove: ['cookie'] } },
      );
      const headers = (await (await get(url, { headers: { cookie: 'a=1', 'x-gateway': 'no' } })).json()) as Record<
        string,
        string
      >;
      expect(headers['x-gateway']).toBe('yes');
      expect(headers).not.toHaveProperty('cookie');
    });
  });

  describe('response of a route', () => {
    async function routed(route: RouteOptions, listener: RequestListener, mount = '/'): Promise<string> {
      const backend = await started(listen(listener));
      const router = serviceRouter({
        services: { shop: { backends: [backend.url] } },
        routes: [{ service: 'shop', ...route }],
      });
      open.push(router);
      return served(express().use(mount, router));
    }

    const redirecting: RequestListener = (req, res) => {
      res.writeHead(302, { Location: `http://${req.headers.host}/login`, 'Set-Cookie': 'a=1; Path=/' }).end();
    };

    test('a rewritten prefix makes redirects and cookies public', async () => {
      const url = await routed({ path: '/shop', rewrite: { prefix: '/' } }, redirecting);
      const { headers } = await get(`${url}/shop/cart`);
      expect([headers.get('location'), headers.getSetCookie()]).toEqual([`${url}/shop/login`, ['a=1; Path=/shop']]);
    });

    test('so does a router that is mounted under a path, and a rewritten hostname', async () => {
      const url = await routed(
        { path: '/shop', rewrite: { prefix: '/', hostname: 'shop.internal' } },
        redirecting,
        '/api',
      );
      expect((await get(`${url}/api/shop/cart`)).headers.get('location')).toBe(`${url}/api/shop/login`);
    });

    test('so does changeOrigin of the service, also beside a response of the route', async () => {
      const backend = await started(listen(redirecting));
      const router = serviceRouter({
        services: { shop: { backends: [backend.url], changeOrigin: true } },
        routes: [
          { path: '/', service: 'shop' },
          { path: '/own', service: 'shop', response: { hideServer: true } },
          { path: '/off', service: 'shop', response: { rewriteUrls: false } },
        ],
      });
      open.push(router);
      const url = await served(express().use(router));
      const seen = async (path: string) => (await get(url + path)).headers.get('location');
      expect(await seen('/cart')).toBe(`${url}/login`);
      expect(await seen('/own')).toBe(`${url}/login`);
      expect(await seen('/off')).toBe(`${backend.url}/login`);
    });

    test('keeps the options of the service, except for those that the route has itself', async () => {
      const backend = await started(
        listen((_req, res) => {
          res.writeHead(200, {
            Server: 'secret/1',
            'X-A': '1',
            'X-B': '1',
            Location: '/login',
            'Access-Control-Allow-Origin': '*',
          });
          res.end('ok');
        }),
      );
      const headers = { remove: ['x-a'], set: { 'x-set': 'shop' } };
      const service = { backends: [backend.url], response: { hideServer: true, headers } };
      const router = serviceRouter({
        services: { shop: service },
        routes: [
          { path: '/moved', service: 'shop', rewrite: { prefix: '/' } },
          { path: '/own', service: 'shop', response: { headers: { remove: ['x-b'] } } },
          { path: '/cors', service: 'shop', cors: { origin: 'https://app.example' } },
        ],
      });
      open.push(router);
      const url = await served(express().use(router));
      const seen = async (path: string) => {
        const { headers } = await get(url + path);
        const names = ['server', 'x-a', 'x-b', 'location', 'access-control-allow-origin', 'x-set'];
        return names.map((name) => headers.get(name));
      };
      expect(await seen('/moved')).toEqual([null, null, '1', '/moved/login', '*', 'shop']);
      expect(await seen('/own')).toEqual([null, '1', null, '/login', '*', null]);
      expect(await seen('/cors')).toEqual([null, null, '1', '/login', null, 'shop']);
    });

    test('without a rewrite, and with rewriteUrls: false, they stay as they are', async () => {
      const plain = await routed({ path: '/shop' }, redirecting);
      expect((await get(`${plain}/shop/cart`)).headers.get('location')).toBe(`http://${new URL(plain).host}/login`);
      const off = await routed(
        { path: '/shop', rewrite: { prefix: '/' }, response: { rewriteUrls: false } },
        redirecting,
      );
      expect((await get(`${off}/shop/cart`)).headers.getSetCookie()).toEqual(['a=1; Path=/']);
    });
  });
});
