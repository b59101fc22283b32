import type { RequestListener } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import { type RouteOptions, roundRobinProxy, type ServiceOptions, serviceRouter } from '../../lib/index.ts';
import { ask } from '../support/ask.ts';
import { certificate } from '../support/certificate.ts';
import { listen, type RunningServer } from '../support/servers.ts';

const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function started(server: Promise<RunningServer>): Promise<RunningServer> {
  const one = await server;
  open.push(one);
  return one;
}

/** A backend that sends the URL and the cookie that the request asks for. `OWN` is its address, `HOST` the `Host` that it got. */
async function backend(isSecure = false): Promise<string> {
  const listener: RequestListener = (req, res) => {
    const { 'x-url': url = '/', 'x-cookie': cookie = '', host = '', 'x-forwarded-prefix': prefix = '' } = req.headers;
    const filled = (text: unknown) =>
      String(text).replace('OWN', `127.0.0.1:${server.port}`).replace('HOST', host).replace('PREFIX', String(prefix));
    res.writeHead(302, {
      Location: filled(url),
      'Content-Location': filled(url),
      Refresh: `0; url=${filled(url)}`,
      'Set-Cookie': `a=1; ${filled(cookie)}`,
    });
    res.end();
  };
  const server = await started(listen(listener, isSecure ? createSecureServer(certificate, listener) : undefined));
  return isSecure ? server.url.replace('http:', 'https:') : server.url;
}

interface Setup {
  readonly route?: Partial<RouteOptions>;
  readonly service?: Partial<ServiceOptions>;
  /** Path at which the app mounts the router. */
  readonly mount?: string;
  /** Gives a proxy alone, mounted at `/shop`. */
  readonly isProxy?: boolean;
  readonly isSecure?: boolean;
}

const moved: RouteOptions = { path: '/shop', service: 'shop', rewrite: { prefix: '/' } };

/** The peer is trusted, so that a test can be a gateway in front that terminates TLS. */
async function gateway({ route, service, mount = '/', isProxy = false, isSecure = false }: Setup): Promise<string> {
  const options = { backends: [await backend(isSecure)], tls: { ca: certificate.cert }, ...service };
  const app = express().set('trust proxy', true);
  if (isProxy) {
    const proxy = roundRobinProxy({ ...options, response: { rewriteUrls: true } });
    open.push(proxy);
    app.use('/shop', proxy);
  } else {
    const router = serviceRouter({ services: { shop: options }, routes: [{ ...moved, ...route }] });
    open.push(router);
    app.use(mount, router);
  }
  return (await started(listen(app))).url;
}

interface Asked {
  readonly url?: string;
  readonly cookie?: string;
  readonly scheme?: string;
  readonly host?: string;
  readonly path?: string;
  readonly headers?: Record<string, string>;
}

/** What the client gets: the URL, which must be the same in all headers with one, and the cookie. */
async function seen(gateway: string, { url = '/', cookie = '', scheme, host, path = '/shop/x', headers }: Asked) {
  const { headers: got } = await ask(gateway + path, {
    headers: {
      host: host ?? 'shop.example',
      ...(scheme && { 'x-forwarded-proto': scheme }),
      'x-url': url,
      'x-cookie': cookie,
      ...headers,
    },
  });
  expect(got['content-location']).toBe(got.location);
  expect(got.refresh).toBe(`0; url=${got.location}`);
  return { location: got.location, cookie: got['set-cookie']?.[0]?.slice('a=1; '.length) };
}

const proxy: Setup = { isProxy: true };
const renamed: Setup = { route: { rewrite: { prefix: '/', hostname: 'shop.internal' } } };
const ownHost: Setup = { service: { changeOrigin: true } };
const secure: Setup = { isSecure: true };
const secureOwnHost: Setup = { isSecure: true, service: { changeOrigin: true } };

describe('a URL of the origin of the backend becomes public, one of another origin stays', () => {
  test.each<[string, Setup, scheme: string, url: string, expected: string]>([
    // A backend that sends clients from http to https. Its `Host` is that of the client.
    ['upgrade', {}, 'http', 'https://shop.example/shop/cart', 'https://shop.example/shop/cart'],
    ['upgrade', proxy, 'http', 'https://shop.example/shop/cart', 'https://shop.example/shop/cart'],
    ['upgrade without the prefix', {}, 'http', 'https://HOST/cart', 'https://shop.example/shop/cart'],
    ['upgrade with a port', {}, 'http', 'https://shop.example:443/cart', 'https://shop.example:443/shop/cart'],
    ['upgrade behind TLS', secure, 'http', 'https://shop.example/cart', 'https://shop.example/shop/cart'],
    ['upgrade to another port', {}, 'http', 'https://shop.example:8443/cart', 'https://shop.example:8443/cart'],
    // The backend believes X-Forwarded-Proto, or the connection that it has.
    ['public URL', {}, 'https', 'https://shop.example/cart', 'https://shop.example/shop/cart'],
    ['TLS in front', {}, 'https', 'http://shop.example/cart', 'https://shop.example/shop/cart'],
    ['TLS in front', proxy, 'https', 'http://shop.example/shop/cart', 'https://shop.example/shop/cart'],
    ['plain', {}, 'http', 'http://shop.example/cart', 'http://shop.example/shop/cart'],
    ['no scheme', {}, 'https', '//shop.example/cart', 'https://shop.example/shop/cart'],
    ['downgrade behind TLS', secure, 'https', 'http://shop.example/cart', 'http://shop.example/shop/cart'],
    // The address that the gateway asked, and the `Host` that it sent.
    ['address', {}, 'https', 'http://OWN/cart', 'https://shop.example/shop/cart'],
    ['address', ownHost, 'https', 'http://HOST/cart', 'https://shop.example/shop/cart'],
    ['address by X-Forwarded-Proto', ownHost, 'https', 'https://HOST/cart', 'https://shop.example/shop/cart'],
    ['address of another scheme', {}, 'http', 'https://OWN/cart', 'https://OWN/cart'],
    ['address behind TLS', secureOwnHost, 'http', 'https://HOST/cart', 'http://shop.example/shop/cart'],
    ['hostname', renamed, 'https', 'http://shop.internal/cart', 'https://shop.example/shop/cart'],
    ['hostname by X-Forwarded-Proto', renamed, 'https', 'https://HOST/cart', 'https://shop.example/shop/cart'],
    ['hostname of another scheme', renamed, 'http', 'https://shop.internal/cart', 'https://shop.internal/cart'],
    ['public host beside a hostname', renamed, 'http', 'https://shop.example/a', 'https://shop.example/shop/a'],
    // Others.
    ['another host', {}, 'http', 'http://login.example/a', 'http://login.example/a'],
    ['another port', {}, 'http', 'http://shop.example:81/a', 'http://shop.example:81/a'],
    ['another scheme', {}, 'http', 'ftp://shop.example/a', 'ftp://shop.example/a'],
  ])('%s %j: for a client of %s, %s becomes %s', async (_what, setup, scheme, url, expected) => {
    const gw = await gateway(setup);
    const { location } = await seen(gw, { url, scheme });
    const sent = /127\.0\.0\.1:\d+/.exec(location ?? '')?.[0] ?? '';
    expect(location).toBe(expected.replace('OWN', sent));
  });

  test.each([
    ['http', 'shop.example:80', 'https://shop.example/a', 'https://shop.example/shop/a'],
    ['https', 'shop.example:443', 'https://shop.example/a', 'https://shop.example:443/shop/a'],
    ['http', 'SHOP.example', 'http://shop.EXAMPLE/a', 'http://SHOP.example/shop/a'],
    ['http', 'shop.example:8080', 'https://shop.example/a', 'https://shop.example/a'],
  ])('a client of %s://%s: %s becomes %s', async (scheme, host, url, expected) => {
    expect((await seen(await gateway({}), { url, scheme, host })).location).toBe(expected);
  });

  test('the host that a trusted gateway in front has asked is one of the backend too', async () => {
    const headers = { 'x-forwarded-host': 'shop.example' };
    for (const setup of [{}, proxy]) {
      const { location } = await seen(await gateway(setup), { url: 'http://HOST/a', host: 'gw.internal', headers });
      expect(location).toBe('http://shop.example/shop/a');
    }
  });
});

describe('X-Forwarded-Prefix', () => {
  const v2: Setup = { route: { rewrite: { prefix: '/v2' } } };
  const mounted: Setup = { mount: '/api' };
  test.each<[string, Setup, outer: string, url: string, expected: string]>([
    ['honoured', {}, '', 'PREFIX/login', '/shop/login'],
    ['honoured', {}, '/outer', 'PREFIX/login', '/outer/shop/login'],
    ['honoured', {}, '/outer/', 'PREFIX/login', '/outer/shop/login'],
    ['honoured with the root', {}, '/outer', 'PREFIX', '/outer/shop'],
    ['honoured with a query', {}, '/outer', 'PREFIX?a=1', '/outer/shop?a=1'],
    ['honoured in a URL', {}, '/outer', 'http://HOSTPREFIX/login', 'http://shop.example/outer/shop/login'],
    ['honoured in an upgrade', {}, '/outer', 'https://HOSTPREFIX/login', 'https://shop.example/outer/shop/login'],
    ['honoured below a mount', mounted, '/outer', 'PREFIX/login', '/outer/api/shop/login'],
    // The gateway in front adds its own part.
    ['ignored', {}, '/outer', '/login', '/shop/login'],
    ['ignored', {}, '/outer', '/shop/login', '/shop/login'],
    ['ignored, a similar path', {}, '/outer', '/outer/shopping', '/shop/outer/shopping'],
    // The gateway has told only what the gateway in front has told.
    ['honoured for a new prefix', v2, '/outer', 'PREFIX/v2/login', '/outer/shop/login'],
    ['ignored for a new prefix', v2, '/outer', '/v2/login', '/shop/login'],
    ['honoured by a mounted proxy', proxy, '/outer', 'PREFIX/login', '/outer/shop/login'],
    ['honoured by a mounted proxy, root', proxy, '/outer', 'PREFIX', '/outer/shop'],
    ['ignored by a mounted proxy', proxy, '/outer', '/login', '/shop/login'],
  ])('%s %j behind %j: %s becomes %s', async (_what, setup, outer, url, expected) => {
    const path = setup.mount === undefined ? '/shop/x' : `${setup.mount}/shop/x`;
    const headers: Record<string, string> = outer === '' ? {} : { 'x-forwarded-prefix': outer };
    const got = await seen(await gateway(setup), { url, path, headers, cookie: `Path=${url}` });
    expect(got.location).toBe(expected);
    if (url.startsWith('http')) return;
    expect(got.cookie).toBe(`Path=${expected}`);
  });

  test('two gateways in a row give the same URL, whether the backend honours the header or not', async () => {
    const inner = await gateway({});
    const outer = serviceRouter({
      services: { inner: { backends: [inner] } },
      routes: [{ path: '/outer', service: 'inner', rewrite: { prefix: '/' } }],
    });
    open.push(outer);
    const gw = (await started(listen(express().use(outer)))).url;
    for (const url of ['/login', 'PREFIX/login', '/outer/shop/login']) {
      const got = await seen(gw, { url, cookie: `Path=${url}`, path: '/outer/shop/x' });
      expect(got).toEqual({ location: '/outer/shop/login', cookie: 'Path=/outer/shop/login' });
    }
  });

  test('what an operator sets counts, and what an untrusted client sends does not', async () => {
    const told = { 'x-forwarded-prefix': '/outer/shop' };
    const services = { shop: { backends: [await backend()] } };
    const routes: RouteOptions[] = [
      { ...moved, requestHeaders: { set: told } },
      { ...moved, path: '/plain' },
    ];
    const router = serviceRouter({ services, routes });
    open.push(router);
    const gw = (await started(listen(express().use(router)))).url;
    expect((await seen(gw, { url: 'PREFIX/login' })).location).toBe('/outer/shop/login');
    const same = { url: 'PREFIX/login', path: '/plain/x', headers: { 'x-forwarded-prefix': '/plain' } };
    expect((await seen(gw, { ...same, cookie: 'Comment=PREFIX' })).cookie).toBe('Comment=/plain');
    const attack = { url: '/login', path: '/plain/x', headers: { 'x-forwarded-prefix': '/login' } };
    expect((await seen(gw, attack)).location).toBe('/plain/login');
    const mounted = roundRobinProxy({ ...services.shop, response: { rewriteUrls: true } });
    open.push(mounted);
    const alone = (await started(listen(express().use('/plain', mounted)))).url;
    expect((await seen(alone, attack)).location).toBe('/plain/login');
  });
});

describe('Domain of a cookie', () => {
  const internal: Setup = { route: { rewrite: { prefix: '/', hostname: 'shop.internal' } } };
  test.each<[string, Setup, host: string, given: string, expected: string]>([
    ['public host', {}, 'example.com', 'Domain=example.com', 'Domain=example.com'],
    ['public host, with a dot', {}, 'example.com', 'Domain=.example.com', 'Domain=.example.com'],
    ['public host, with a port', {}, 'example.com:8080', 'Domain=EXAMPLE.com', 'Domain=EXAMPLE.com'],
    ['above the public host', {}, 'www.example.com', 'Domain=example.com', 'Domain=example.com'],
    ['public host beside a hostname', internal, 'example.com', 'Domain=example.com', 'Domain=example.com'],
    ['public host for a mounted proxy', proxy, 'example.com', 'Domain=example.com', 'Domain=example.com'],
    ['address of the backend', {}, 'example.com', 'Domain=127.0.0.1; Secure', ' Secure'],
    ['address that is the public host', {}, '127.0.0.1', 'Domain=127.0.0.1', 'Domain=127.0.0.1'],
    ['hostname of the backend', internal, 'example.com', 'Domain=shop.internal; Secure', ' Secure'],
    [
      'above the hostname that both have',
      internal,
      'www.shop.internal',
      'Domain=shop.internal',
      'Domain=shop.internal',
    ],
    ['another host', {}, 'example.com', 'Domain=other.example', 'Domain=other.example'],
    ['similar host', {}, 'myexample.com', 'Domain=example.com', 'Domain=example.com'],
  ])('%s %j: for a client of %s, %s becomes %s', async (_what, setup, host, cookie, expected) => {
    expect((await seen(await gateway(setup), { host, cookie })).cookie?.trim()).toBe(expected.trim());
  });
});
