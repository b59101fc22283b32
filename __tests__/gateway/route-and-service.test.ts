import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { stringify } from 'yaml';
import { ask } from '../support/ask.ts';
import { closedPort } from '../support/servers.ts';
import { closeAll, openBackend, openGateway, type TestGateway } from './gateways.ts';
import { until } from './until.ts';

let folder: string;
let gateway: TestGateway;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'expressway-names-'));
  const path = join(folder, 'gateway.yaml');
  const [users, shop] = [await openBackend('users'), await openBackend('shop')];
  writeFileSync(
    path,
    stringify({
      services: {
        users: { backends: [users.url] },
        shop: { backends: [shop.url] },
        gone: { backends: [`http://127.0.0.1:${await closedPort()}`] },
      },
      routes: [
        { name: 'people', path: '/users', service: 'users', rateLimit: '1/1m' },
        { name: 'login', path: '/login', service: 'users', authentication: { jwt: { secret: 'k'.repeat(32) } } },
        {
          name: 'split',
          path: '/split',
          service: [
            { name: 'shop', weight: 1 },
            { name: 'gone', weight: 0 },
          ],
        },
        { name: 'picky', path: '/picky', service: [{ name: 'shop', weight: 1 }], rateLimit: '1/1m' },
        { name: 'broken', path: '/gone', service: 'gone', circuit: { minimumRequests: 1 } },
        { name: 'moved', path: '/moved', redirect: { fullPath: '/users' } },
        { name: 'fixed', path: '/fixed', respond: { status: 200 } },
        { name: 'web', path: '/web', service: 'shop', cors: { origin: 'https://app.example' } },
        { name: 'hosted', hostnames: 'a.example', service: 'shop' },
      ],
    }),
  );
  const env = { GATEWAY_CONFIG: path, ACCESS_LOG: 'json', RATE_LIMIT_MAX: '2', TRUST_PROXY: 'loopback' };
  gateway = await openGateway([], env);
});

afterAll(async () => {
  await closeAll();
  rmSync(folder, { recursive: true });
});

const PREFLIGHT = { origin: 'https://app.example', 'access-control-request-method': 'GET' };

interface Case {
  readonly what: string;
  readonly path: string;
  readonly status: number;
  readonly route: string;
  readonly service?: string;
  readonly cause?: string;
  readonly method?: string;
  readonly headers?: Record<string, string>;
  /** Requests of the same client before it. */
  readonly after?: readonly string[];
}

const SPENT = ['/none', '/none'];

const CASES: readonly Case[] = [
  { what: 'a response of a backend', path: '/users', status: 200, route: 'people', service: 'users' },
  {
    what: 'a limit of the route',
    after: ['/users'],
    path: '/users',
    status: 429,
    cause: 'rate_limited',
    route: 'people',
    service: 'users',
  },
  { what: 'authentication', path: '/login', status: 401, cause: 'unauthenticated', route: 'login', service: 'users' },
  { what: 'one of several services', path: '/split', status: 200, route: 'split', service: 'shop' },
  {
    what: 'a limit before one of several services is chosen',
    after: ['/picky'],
    path: '/picky',
    status: 429,
    cause: 'rate_limited',
    route: 'picky',
  },
  { what: 'no connection', path: '/gone', status: 502, cause: 'connection_refused', route: 'broken', service: 'gone' },
  {
    what: 'an open circuit',
    after: ['/gone'],
    path: '/gone',
    status: 503,
    cause: 'circuit_open',
    route: 'broken',
    service: 'gone',
  },
  { what: 'a redirect', path: '/moved', status: 302, route: 'moved' },
  { what: 'a fixed response', path: '/fixed', status: 200, route: 'fixed' },
  { what: 'no route', path: '/other', status: 404, cause: 'no_route', route: 'default' },
  ...(
    [
      ['of a route with a service', '/users/1?a=b', { route: 'people', service: 'users' }],
      ['of another spelling of its path', '//%75sers', { route: 'people', service: 'users' }],
      ['of a route with several services', '/split', { route: 'split' }],
      ['of a redirect', '/moved', { route: 'moved' }],
      ['of no route', '/other', { route: 'default' }],
      ['of an ambiguous path', '/users/..%2fmoved', { route: 'default' }],
      ['of a hostname', '/any', { route: 'hosted', service: 'shop', headers: { host: 'a.example' } }],
      ['of a preflight request', '/web', { route: 'web', service: 'shop', method: 'OPTIONS', headers: PREFLIGHT }],
    ] as const
  ).map(([what, path, facts]) => {
    const limited = { after: SPENT, status: 429, cause: 'rate_limited' };
    return { what: `the limit of the gateway, ${what}`, path, ...limited, ...facts };
  }),
  {
    what: 'the request guard, with a path that can be matched',
    path: '/users',
    method: 'POST',
    headers: { 'transfer-encoding': 'gzip, chunked' },
    status: 501,
    cause: 'not_implemented',
    route: 'people',
    service: 'users',
  },
];

const counted = (text: string, name: string, { route, service = '' }: Case) =>
  text
    .split('\n')
    .filter((line) => line.startsWith(`expressway_${name}{route="${route}",service="${service}",`))
    .join('\n');

describe('route and service of a request', () => {
  test.each(CASES.map((one, index) => [one.what, one, index] as const))('after %s', async (_what, one, index) => {
    const { url, adminUrl, logged } = gateway;
    const client = `203.0.113.${index + 1}`;
    const send = (path: string, own: Pick<Case, 'method' | 'headers'> = {}) =>
      ask(url + path, { method: own.method ?? 'GET', headers: { ...own.headers, 'x-forwarded-for': client } });
    for (const path of one.after ?? []) await send(path);
    const { status, route, service, cause } = one;
    expect((await send(one.path, one)).status).toBe(status);
    const lines = () => logged.filter((line) => line.client === client && line.durationMs !== undefined);
    await until(() => lines().length === 1 + (one.after?.length ?? 0));
    const last = lines().at(-1);
    expect([last.status, last.route, last.service, last.cause]).toEqual([status, route, service, cause]);

    const { text } = await ask(`${adminUrl}/metrics`);
    const [method, kind] = [one.method ?? 'GET', `${Math.floor(status / 100)}xx`];
    const isDeclared = cause === undefined && (route === 'moved' || route === 'fixed');
    const source = isDeclared ? 'route' : cause === undefined && service !== undefined ? 'backend' : 'gateway';
    expect(counted(text, 'requests_total', one)).toContain(`method="${method}",status="${kind}",source="${source}"} `);
    expect(counted(text, 'request_duration_seconds_count', one)).toContain(`source="${source}"} `);
    if (cause !== undefined) expect(counted(text, 'request_failures_total', one)).toContain(`cause="${cause}"} `);
    for (const name of ['received', 'sent'])
      expect(text).toContain(`expressway_${name}_bytes_total{route="${route}",service="${service ?? ''}"} `);
  });

  test('the admin API and the status page add up the services of a route', async () => {
    const rowOf = async (name: string) => {
      const { routes } = (await ask(`${gateway.adminUrl}/api/status`)).json;
      return routes.find(({ route }: { route: string }) => route === name);
    };
    // One that was served, one that the limit of the gateway stopped.
    await until(async () => (await rowOf('split'))?.requests === 2);
    expect(await rowOf('split')).toMatchObject({ requests: 2, limited: 1 });
    expect(await rowOf('moved')).toMatchObject({ requests: 2, limited: 1 });
  });
});
