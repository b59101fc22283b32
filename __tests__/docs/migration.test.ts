import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import { serviceRouter } from 'expressway';
import { parse } from 'yaml';
import { answer, fail, startBackend } from '../../lib/testing/index.ts';
import { Cleanup } from '../support/gateway.ts';
import { listen } from '../support/servers.ts';
import { backendsAt, runExample } from './example.ts';
import { arePeersInstalled } from './example-project.ts';
import { blocksOf } from './pages.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const backend = async (content: string) => cleanup.add(await startBackend({ otherwise: answer({ content }) }));

/** What clients get for some paths, and what the backends were asked for. */
async function exchanges(name: string, backends: number, paths: readonly string[]) {
  const servers = await Promise.all(['one', 'two'].slice(0, backends).map(backend));
  const example = cleanup.add(runExample(name, backendsAt(...servers.map(({ url }) => url))));
  const answers: [number, string][] = [];
  for (const path of paths) {
    const response = await example.get(path);
    answers.push([response.status, response.ok ? await response.text() : '']);
  }
  return { answers, asked: servers.map(({ requests }) => requests.map(({ url }) => url)), servers };
}

describe('docs/http-proxy-middleware.md', () => {
  const paths = ['/api/old/1?a=b', '/api/2', '/elsewhere'];

  test('responses are the same before and after, with one header more', async () => {
    const before = await exchanges('hpm-before', 1, paths);
    const after = await exchanges('hpm-plugin', 1, paths);
    expect(before.asked).toEqual([['/new/1?a=b', '/2']]);
    expect([after.answers, after.asked]).toEqual([before.answers, before.asked]);
  });

  test('replaced: the same paths at several backends', async () => {
    const { answers, asked, servers } = await exchanges('hpm-proxy', 2, paths);
    expect(answers.map(([status]) => status)).toEqual([200, 200, 404]);
    expect(asked).toEqual([['/new/1?a=b'], ['/2']]);
    // `changeOrigin`.
    expect(servers[0]?.requests[0]?.headers.host).toBe(`127.0.0.1:${servers[0]?.port}`);
  });
});

test('docs/http-proxy-middleware.md, hooks: headers, redirects, cookies and errors', async () => {
  const asked: unknown[] = [];
  const users = await listen((req, res) => {
    asked.push(req.url, req.headers['x-user']);
    res.writeHead(302, { location: '/login', 'set-cookie': 'a=1; Path=/; Domain=internal.example; Secure' }).end();
  });
  const example = cleanup.add(runExample('hpm-hooks', backendsAt(users.url)));
  const { headers } = await fetch(await example.url('/api/me?user=ann'), { redirect: 'manual' });
  expect(asked).toEqual(['/me?user=ann', 'ann']);
  expect(Object.fromEntries(headers)).toMatchObject({
    location: '/api/login',
    'set-cookie': 'a=1; Path=/api; Secure',
    'x-proxied': 'yes',
  });
  await users.close();
  const failed = await example.get('/api/me');
  expect([failed.status, await failed.json()]).toEqual([502, { error: 'connection_refused' }]);
});

test('docs/http-proxy-middleware.md, mounted together: the backend gets the path as it came, and nothing beside the path', async () => {
  const { answers, asked } = await exchanges('hpm-mounted', 1, [
    '/orders',
    '/orders/1?a=b',
    '/ordersX',
    '/orders.json',
  ]);
  expect(answers.map(([status]) => status)).toEqual([200, 200, 404, 404]);
  expect(asked).toEqual([['/orders', '/orders/1?a=b']]);
});

const isSkipped = !arePeersInstalled && process.env.CI !== 'true';
if (isSkipped)
  process.stderr.write('\n*** SKIPPED, docs/fast-gateway.md: bench is not installed: npm ci --prefix bench ***\n\n');

(isSkipped ? describe.skip : describe)('docs/fast-gateway.md', () => {
  test('the same before and after, but for an empty query', async () => {
    const paths = ['/orders/1?a=b', '/orders/', '/users/7', '/elsewhere'];
    const before = await exchanges('fast-gateway-before', 2, paths);
    const after = await exchanges('fast-gateway-after', 2, paths);
    expect(before.asked).toEqual([['/1?a=b', '/?'], ['/v2/7?']]);
    expect(after.asked).toEqual([['/1?a=b', '/'], ['/v2/7']]);
    expect(after.answers).toEqual([...before.answers]);
    const hosts = ({ servers }: typeof before) =>
      servers.map(({ port, requests }) => requests.every(({ headers }) => headers.host === `127.0.0.1:${port}`));
    expect([hosts(before), hosts(after)]).toEqual(Array(2).fill([true, true]));
  });

  test('a prefix by itself is asked for at the backend, and was not before', async () => {
    expect((await exchanges('fast-gateway-before', 2, ['/orders'])).answers).toEqual([[404, '']]);
    expect((await exchanges('fast-gateway-after', 2, ['/orders'])).asked).toEqual([['/'], []]);
  });
});

describe('docs/express-packages.md', () => {
  test('wrong passwords are limited for a name, and the right one forgets them', async () => {
    const example = cleanup.add(runExample('logins'));
    const url = await example.url('/login');
    const login = async (name: string, password: string) => {
      const headers = { 'content-type': 'application/json' };
      return (await fetch(url, { method: 'POST', headers, body: JSON.stringify({ name, password }) })).status;
    };
    const tries = async (passwords: readonly string[]) => {
      const statuses = [];
      for (const password of passwords) statuses.push(await login('ann', password));
      return statuses;
    };
    const four = ['a', 'b', 'c', 'd'];
    expect(await tries([...four, 'correct horse'])).toEqual([401, 401, 401, 401, 200]);
    expect(await tries([...four, 'e', 'correct horse'])).toEqual([401, 401, 401, 401, 401, 429]);
    expect(await login('bob', 'a')).toBe(401);
  });

  test('while the circuit is open, clients get the last news', async () => {
    const news = cleanup.add(
      await startBackend({ plan: [answer({ content: 'rain' }), fail(500)], otherwise: answer({ content: 'sun' }) }),
    );
    const example = cleanup.add(runExample('fallback', backendsAt(news.url)));
    const answers: [number, string][] = [];
    for (let i = 0; i < 4; i++) {
      const response = await example.get('/news');
      answers.push([response.status, await response.text()]);
    }
    expect(answers).toEqual([
      [200, 'rain'],
      [500, 'rain'],
      [200, 'rain'],
      [200, 'rain'],
    ]);
    expect(news.requests).toHaveLength(2);
  });
});

test('docs/express-gateway.md, in a file: what Express Gateway did by hand', async () => {
  const code = blocksOf('docs/express-gateway.md').find((block) => block.code.startsWith('services:'))?.code ?? '';
  const backends = await Promise.all(['users 1', 'users 2', 'shop'].map(backend));
  const declared = Object.entries(backendsAt(...backends.map(({ url }) => url))).reduce(
    (text, [from, to]) => text.replaceAll(from, to),
    code,
  );
  const router = cleanup.add(serviceRouter(parse(declared)));
  const { port } = new URL(cleanup.add(await listen(express().use(router))).url);
  const statuses: (number | undefined)[] = [];
  for (const [path, method = 'GET', host = 'shop.example'] of [
    ['/users'],
    ['/users/1?a=b'],
    ['/usersX'],
    ['/users/2', 'POST'],
    ['/users/3'],
    ['/shop/cart?x=%2F'],
    ['/shop/'],
    ['/shop/x', 'DELETE'],
    ['/shop/x', 'GET', 'other.example'],
    ['/legacy'],
    ['/none'],
  ] as const) {
    const sent = request({ port, path, method, agent: false, headers: { host, origin: 'https://app.example' } }).end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    response.resume();
    statuses.push(response.statusCode);
    if (path === '/users') expect(response.headers).toMatchObject({ 'access-control-allow-credentials': 'true' });
  }
  expect(statuses).toEqual([200, 200, 404, 200, 429, 200, 200, 404, 404, 410, 404]);
  expect(backends.map(({ requests }) => requests.map(({ url }) => url))).toEqual([
    ['/users', '/users/2'],
    ['/users/1?a=b'],
    ['/cart?x=%2F', '/'],
  ]);
  const [users, , shop] = backends;
  expect(users?.requests[0]?.headers).toMatchObject({
    host: `127.0.0.1:${users?.port}`,
    'x-asked-host': 'shop.example',
  });
  expect(shop?.requests[0]?.headers.host).toBe('shop.example');
});

test('docs/express-gateway.md: whole paths, both backends, five requests', async () => {
  const paths = Array.from({ length: 6 }, (_, index) => `/orders/${index}`);
  const { answers, asked } = await exchanges('express-gateway-after', 2, [...paths, '/elsewhere', '/ordersX']);
  expect(answers.map(([status]) => status)).toEqual([200, 200, 200, 200, 200, 429, 404, 404]);
  expect(asked).toEqual([
    ['/orders/0', '/orders/2', '/orders/4'],
    ['/orders/1', '/orders/3'],
  ]);
});
