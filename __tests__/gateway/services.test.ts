import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, get, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import { stringify } from 'yaml';
import { ask } from '../support/ask.ts';
import { describeWithRedis } from '../support/redis.ts';
import { SteadyLoad } from './clusters.ts';
import { closeAll, openBackend, openGateway } from './gateways.ts';
import { endAll, Proc } from './proc.ts';
import { until } from './until.ts';

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'expressway-services-'));
  path = join(folder, 'gateway.yaml');
});

afterEach(async () => {
  await endAll();
  await closeAll();
  rmSync(folder, { recursive: true });
});

/** As careful programs do it: whole, or not at all. */
function write(content: object | string): void {
  writeFileSync(`${path}.new`, typeof content === 'string' ? content : stringify(content));
  renameSync(`${path}.new`, path);
}

const open = (env: Readonly<Record<string, string>> = {}) => openGateway([], { GATEWAY_CONFIG: path, ...env });

const backendOf = async (url: string): Promise<string> => (await ask(url)).json?.backend;

async function twoServices() {
  const [users, shop] = [await openBackend('users'), await openBackend('shop')];
  const declared = {
    services: { users: { backends: [users.url] }, shop: { backends: [shop.url] } },
    routes: [
      { path: '/users', service: 'users' },
      { path: '/shop', service: 'shop', rewrite: { prefix: '/' } },
    ],
  };
  return { users, shop, declared };
}

describe('a gateway with GATEWAY_CONFIG', () => {
  test('serves several services, and shows them to the operator', async () => {
    const { declared } = await twoServices();
    write(declared);
    const { url, adminUrl, logged } = await open();
    expect(await backendOf(`${url}/users/1`)).toBe('users');
    expect((await ask(`${url}/shop/cart`)).json).toMatchObject({ backend: 'shop', url: '/cart' });
    expect(await ask(`${url}/other`)).toMatchObject({ status: 404, json: { cause: 'no_route' } });
    expect((await ask(`${adminUrl}/status`)).json.backends).toMatchObject([{ service: 'users' }, { service: 'shop' }]);
    const { text } = await ask(`${adminUrl}/metrics`);
    const counted = text.split('\n').filter((line) => line.startsWith('expressway_requests_total{'));
    expect(counted).toContain(
      'expressway_requests_total{route="/users",service="users",method="GET",status="2xx",source="backend"} 1',
    );
    expect(logged).toContainEqual(
      expect.objectContaining({ msg: 'listening', services: ['users', 'shop'], routes: 2 }),
    );
  });

  test('limits every request by RATE_LIMIT_*, and one that no route takes as well', async () => {
    const { declared } = await twoServices();
    write(declared);
    const { url } = await open({ RATE_LIMIT_MAX: '3' });
    const statuses = [];
    for (const at of ['/users', '/none', '/none', '/none', '/users']) statuses.push((await ask(url + at)).status);
    expect(statuses).toEqual([200, 404, 404, 429, 429]);
  });

  test('with RATE_LIMIT=off, only routes have limits', async () => {
    const { declared } = await twoServices();
    const [first, second] = declared.routes;
    write({ ...declared, routes: [{ ...first, rateLimit: '2/1m' }, second] });
    const { gateway, url } = await open({ RATE_LIMIT: 'off', RATE_LIMIT_MAX: '1' });
    const statuses = [];
    for (const at of ['/users', '/users', '/users', '/shop', '/shop']) statuses.push((await ask(url + at)).status);
    expect(statuses).toEqual([200, 200, 429, 200, 200]);
    // An operator resets the limits of routes as well.
    await gateway.operator.site?.control.resetLimit('127.0.0.1');
    expect((await ask(`${url}/users`)).status).toBe(200);
  });

  test('applies the path rules of the file, also after a reload', async () => {
    const { declared } = await twoServices();
    write({ ...declared, ambiguousPaths: 'pass', mergeSlashes: false });
    const { url, logged } = await open();
    expect((await ask(`${url}/users/a%2f..%2fb`)).status).toBe(200);
    expect((await ask(`${url}/users//b`)).json.url).toBe('/users//b');
    write(declared);
    await until(() => logged.some(({ msg }) => msg === 'configuration reloaded'));
    expect((await ask(`${url}/users/a%2f..%2fb`)).status).toBe(400);
    expect((await ask(`${url}/users//b`)).json.url).toBe('/users/b');
  });

  test('bounds the bodies of requests by MAX_BODY_BYTES, where neither service nor route says more, also after a reload', async () => {
    const { declared } = await twoServices();
    const { users, shop } = declared.services;
    const routes = [...declared.routes, { path: '/shop/files', service: 'shop', maxBodyBytes: 0 }];
    write({ services: { users, shop: { ...shop, maxBodyBytes: 20 } }, routes });
    const { url, logged } = await open({ MAX_BODY_BYTES: '10' });
    const posted = async (path: string, bytes: number) =>
      (await ask(url + path, { method: 'POST', content: 'x'.repeat(bytes) })).status;
    const found = async () => [
      await posted('/users', 10),
      await posted('/users', 11),
      await posted('/shop', 20),
      await posted('/shop', 21),
      await posted('/shop/files', 30),
    ];
    expect(await found()).toEqual([200, 413, 200, 413, 200]);
    write({ services: { users: { ...users, slowStartMs: 1 }, shop: { ...shop, maxBodyBytes: 20 } }, routes });
    await until(() => logged.some(({ msg }) => msg === 'configuration reloaded'));
    expect(await found()).toEqual([200, 413, 200, 413, 200]);
  });

  test('a change takes effect: services, routes, metrics and status', async () => {
    const { declared } = await twoServices();
    const cart = await openBackend('cart');
    write(declared);
    const { url, adminUrl, logged } = await open();
    write({
      services: { users: declared.services.users, cart: { backends: [cart.url] } },
      routes: [declared.routes[0], { path: '/cart', service: 'cart' }],
    });
    await until(async () => (await ask(`${url}/cart`)).status === 200);
    expect((await ask(`${url}/shop`)).status).toBe(404);
    expect((await ask(`${adminUrl}/status`)).json.backends).toMatchObject([{ service: 'users' }, { service: 'cart' }]);
    const { text } = await ask(`${adminUrl}/metrics`);
    expect(text).toContain(`service="cart"`);
    expect(text).not.toMatch(/expressway_backend_up\{service="shop"/);
    expect(logged).toContainEqual(
      expect.objectContaining({ msg: 'configuration reloaded', services: ['users', 'cart'], routes: 2 }),
    );
  });

  test('a bad change is refused as a whole, with every problem and its place', async () => {
    const { declared } = await twoServices();
    write(declared);
    const { url, logged } = await open();
    write(
      `services:\n  users: { backends: [${declared.services.users.backends[0]}] }\nroutes:\n  - { path: /new, service: usres }\n  - { pth: /b, service: users }\n`,
    );
    await until(() => logged.some(({ level }) => level === 'error'));
    expect(logged.filter(({ level }) => level === 'error')).toMatchObject([
      {
        msg: 'reload refused: nothing changed',
        problems: [
          'gateway.yaml:4:19 routes[0]: service must name one of services: there is no service "usres": did you mean "users"?',
          'gateway.yaml:5:7 routes[1]: unknown option "pth": did you mean "path"?',
        ],
      },
    ]);
    expect(await backendOf(`${url}/users`)).toBe('users');
    expect(await backendOf(`${url}/shop`)).toBe('shop');
    expect((await ask(`${url}/new`)).status).toBe(404);
  });

  test('a problem that only the use of a declaration shows changes nothing either, and leaves nothing running', async () => {
    const { declared } = await twoServices();
    write(declared);
    const { gateway, url, logged } = await open();
    const missing = join(folder, 'no-keys.json');
    write({
      services: { ...declared.services, more: { backends: ['http://127.0.0.1:9'] } },
      routes: [...declared.routes, { path: '/more', service: 'more', authentication: { apiKey: { keys: missing } } }],
    });
    await until(() => logged.some(({ level }) => level === 'error'));
    expect((await ask(`${url}/more`)).status).toBe(404);
    expect(await backendOf(`${url}/users`)).toBe('users');
    write(declared);
    await gateway.reload('test');
    expect(logged.at(-1)).toMatchObject({ msg: 'configuration reloaded' });
  });

  test('a reload without a change logs what is in force, and reads the pages of errors again', async () => {
    const { declared } = await twoServices();
    const page = join(folder, 'page.html');
    writeFileSync(page, '<p>before</p>');
    write({ ...declared, errors: { html: page } });
    const { gateway, url, logged } = await open();
    const missing = async () => (await ask(`${url}/other`, { headers: { accept: 'text/html' } })).text;
    expect(await missing()).toContain('before');
    writeFileSync(page, '<p>after</p>');
    await gateway.reload('SIGHUP');
    expect(await missing()).toContain('after');
    write(declared);
    await gateway.reload('SIGHUP');
    await gateway.reload('SIGHUP');
    expect(logged.filter(({ msg }) => msg === 'configuration reloaded').at(-1)).toMatchObject({ routes: 2 });
    expect(await missing()).not.toContain('after');
    expect(await backendOf(`${url}/users`)).toBe('users');
  });

  test('secrets are in no log line, and not on the page', async () => {
    const secret = 'a-secret-of-more-than-32-characters!';
    const { declared } = await twoServices();
    const authentication = { jwt: { secret } };
    write({ ...declared, routes: [{ ...declared.routes[0], authentication }] });
    const { adminUrl, gateway, logged } = await open();
    await gateway.reload('test');
    const page = await ask(`${adminUrl}/api/config`);
    expect(JSON.stringify([logged, gateway.operator.site?.config(), page.text])).not.toContain(secret);
  });

  test('an app without a router cannot have GATEWAY_CONFIG', async () => {
    write((await twoServices()).declared);
    const opening = openGateway([], { GATEWAY_CONFIG: path }, () => ({ app: express() }));
    await expect(opening).rejects.toThrow(/GATEWAY_CONFIG: this app has no service router/);
  });
});

describeWithRedis('limits of routes with REDIS_URL', (redis) => {
  test('are counted together by all gateways', async () => {
    const { declared } = await twoServices();
    const [first, second] = declared.routes;
    write({ ...declared, routes: [{ ...first, rateLimit: '5/1h' }, second] });
    const env = { RATE_LIMIT: 'off', REDIS_URL: redis.url, RATE_LIMIT_STORE_TIMEOUT_MS: '5000' };
    const [one, two] = [await open(env), await open(env)];
    const statuses: number[] = [];
    for (let i = 0; i < 4; i += 1) for (const { url } of [one, two]) statuses.push((await ask(`${url}/users`)).status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(5);
    expect((await ask(`${two.url}/shop`)).status).toBe(200);
  });
});

describe('200 reloads under load', () => {
  /** Sockets and timers of this process that outlive a moment. */
  const handles = () =>
    process.getActiveResourcesInfo().filter((one) => /^(?:TCPSocketWrap|TCPServerWrap|Timeout)$/.test(one)).length;

  test('no request fails, nothing is left over, and unchanged parts keep running', async () => {
    const { users, shop, declared } = await twoServices();
    const more = await openBackend('more');
    const variants = [
      declared,
      // Another service, a changed limit, other backends, a changed service.
      {
        services: {
          ...declared.services,
          more: { backends: [more.url], healthCheck: { path: '/', intervalMs: 1_000 } },
        },
        routes: [...declared.routes, { path: '/more', service: 'more', rateLimit: '1000/1m' }],
      },
      {
        services: {
          users: { backends: [users.url, more.url] },
          shop: { backends: [shop.url], connectTimeoutMs: 1_500 },
        },
        routes: declared.routes,
      },
    ];
    write(declared);
    const { gateway, url, logged } = await open({ RATE_LIMIT: 'off' });
    // A stream of the service whose options stay runs through all of it.
    const events = express();
    events.get('/', (_req, res) => void res.flushHeaders());
    const streaming = events.listen(0, '127.0.0.1');
    await once(streaming, 'listening');
    const { port } = streaming.address() as { port: number };
    // Nothing comes over it, for longer than a minute where the machine is slow.
    const stays = { backends: [`http://127.0.0.1:${port}`], idleTimeoutMs: 600_000 };
    const withStream = (one: (typeof variants)[number]) => ({
      services: { ...one.services, stays },
      routes: [...one.routes, { path: '/stays', service: 'stays', rewrite: { prefix: '/' }, rateLimit: '5/1h' }],
    });
    write(withStream(declared));
    await gateway.reload('test');
    const agent = new Agent();
    const [stream] = (await once(get(`${url}/stays`, { agent }), 'response')) as [IncomingMessage];
    let isCut = false;
    stream.on('close', () => {
      isCut = true;
    });
    stream.resume();
    await ask(`${url}/stays/x`);
    const before = handles();
    const load = new SteadyLoad(`${url}/users/1`, 3, 1);
    const other = new SteadyLoad(`${url}/shop/1`, 3, 1);
    for (let i = 1; i <= 200; i += 1) {
      write(withStream(variants[i % variants.length] as (typeof variants)[number]));
      await gateway.reload('test');
    }
    write(withStream(declared));
    await gateway.reload('test');
    await Promise.all([load.stop(), other.stop()]);
    expect([...load.failures, ...other.failures]).toEqual([]);
    expect([...load.statuses.keys(), ...other.statuses.keys()]).toEqual([200, 200]);
    expect(load.answered + other.answered).toBeGreaterThan(200);
    expect(logged.filter(({ msg }) => msg === 'configuration reloaded').length).toBeGreaterThanOrEqual(202);
    expect(logged.filter(({ level }) => level === 'error')).toEqual([]);
    // The stream is open, and its route has counted on: two of five are used.
    expect(isCut).toBe(false);
    const left = [];
    for (let i = 0; i < 4; i += 1) left.push((await ask(`${url}/stays/x`)).status);
    expect(left).toEqual([404, 404, 404, 429]);
    // Connections to backends, kept for a while, and drained proxies end; a leak would be one or more for each reload.
    await until(() => handles() <= before + 20);
    stream.destroy();
    agent.destroy();
    streaming.closeAllConnections();
    streaming.close();
  });
});

describe('a start with a bad file', () => {
  test('ends with 1 and a line for each problem', async () => {
    write('services:\n  users: { backends: [http://localhost:1], retires: 2 }\nroutes:\n  - service: user\n');
    const proc = new Proc('server.ts', { GATEWAY_CONFIG: path, PORT: '0', ADMIN_PORT: '' });
    expect(await proc.exit()).toBe(1);
    expect(proc.stderr.trim().split('\n')).toEqual([
      'gateway.yaml:2:44 services.users: unknown option "retires": did you mean "retry"?',
      'gateway.yaml:4:5 routes[0]: service must name one of services: there is no service "user": did you mean "users"?',
    ]);
  });
});
