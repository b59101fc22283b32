import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import { type RouteOptions, serviceRouter } from '../../lib/index.ts';
import { ask } from '../support/ask.ts';
import { eventually, listen, type RunningServer } from '../support/servers.ts';

const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function started(server: Promise<RunningServer>): Promise<RunningServer> {
  const one = await server;
  open.push(one);
  return one;
}

/** The paths that services have seen. */
const paths: (string | undefined)[] = [];

async function gateway(routes: readonly RouteOptions[], mount: string): Promise<string> {
  paths.length = 0;
  const backend = await started(
    listen((req, res) => {
      paths.push(`${req.headers['x-mirrored'] ?? ''}${req.headers['x-forwarded-prefix'] ?? ''} ${req.url}`);
      res.writeHead(302, { Location: '/login' }).end();
    }),
  );
  const router = serviceRouter({ services: { a: { backends: [backend.url] } }, routes, errors: {} });
  open.push(router);
  return (await started(listen(express().use(mount, router)))).url;
}

const headers = { host: 'gw.example' };

describe('a router that the app mounts under a path', () => {
  test.each<[what: string, path: string, redirect: NonNullable<RouteOptions['redirect']>, expected: string]>([
    ['another scheme', '/secure', { scheme: 'https' }, 'https://gw.example/api/secure/x?a=1'],
    ['another hostname', '/other', { hostname: 'b.example' }, 'http://b.example/api/other/x?a=1'],
    ['another port', '/port', { port: 8443 }, 'http://gw.example:8443/api/port/x?a=1'],
    ['another prefix', '/old', { prefix: '/new' }, 'http://gw.example/api/new/x?a=1'],
    ['no prefix', '/old', { prefix: '/' }, 'http://gw.example/api/x?a=1'],
    // The whole path is that which the client sees.
    ['another path', '/whole', { fullPath: '/new' }, 'http://gw.example/new?a=1'],
  ])('redirects to %s below that path', async (_what, path, redirect, expected) => {
    const routes = [{ path, redirect }];
    const mounted = await ask(`${await gateway(routes, '/api')}/api${path}/x?a=1`, { headers });
    expect(mounted.headers.location).toBe(expected);
    const atRoot = await ask(`${await gateway(routes, '/')}${path}/x?a=1`, { headers });
    expect(atRoot.headers.location).toBe(expected.replace('/api', ''));
  });

  test('whose parts come from the request, or that is another router', async () => {
    const router = serviceRouter({ services: {}, routes: [{ path: '/old', redirect: { prefix: '/new' } }] });
    open.push(router);
    const app = express().use('/tenants/:tenant', express.Router().use('/api', router));
    const { url } = await started(listen(app));
    const { location } = (await ask(`${url}/tenants/one/api/old/x`, { headers })).headers;
    expect(location).toBe('http://gw.example/tenants/one/api/new/x');
  });

  test('a client that follows a redirect gets there', async () => {
    const routes = [
      { path: '/old', redirect: { prefix: '/new' } },
      { path: '/new', respond: { body: 'the new place' } },
    ];
    expect(await (await fetch(`${await gateway(routes, '/api')}/api/old/x`)).text()).toBe('the new place');
  });

  test.each<[what: string, RouteOptions, status: number, location: string | undefined, seen: string[]]>([
    ['responds', { respond: { headers: { location: '/as-given' } } }, 200, '/as-given', []],
    ['forwards the path below it', { service: 'a' }, 302, '/login', [' /shop/x']],
    ['rewrites', { service: 'a', rewrite: { prefix: '/' } }, 302, '/api/shop/login', ['/api/shop /x']],
    ['rewrites', { service: 'a', rewrite: { prefix: '/v2' } }, 302, '/login', [' /v2/x']],
    ['rejects', { service: 'a', deny: ['127.0.0.1'] }, 403, undefined, []],
    ['mirrors', { service: 'a', mirror: { service: 'a' } }, 302, '/login', [' /shop/x', 'true /shop/x']],
  ])('%s', async (_what, route, status, location, seen) => {
    const gw = await gateway([{ path: '/shop', ...route }], '/api');
    const got = await ask(`${gw}/api/shop/x`, { headers });
    expect([got.status, got.headers.location]).toEqual([status, location]);
    await eventually('all requests have come', () => paths.length === seen.length);
    expect(paths.sort()).toEqual(seen);
  });

  test('responds to CORS preflight requests, and with error pages', async () => {
    const gw = await gateway([{ path: '/shop', service: 'a', cors: { origin: 'https://app.example' } }], '/api');
    const origin = 'https://app.example';
    const preflight = { origin, 'access-control-request-method': 'GET' };
    const asked = await ask(`${gw}/api/shop/x`, { method: 'OPTIONS', headers: preflight });
    expect([asked.status, asked.headers['access-control-allow-origin']]).toEqual([204, origin]);
    const none = await ask(`${gw}/api/none`, { headers: { accept: 'text/plain' } });
    expect([none.status, none.text]).toEqual([404, '404 Not found\n']);
  });
});
