import { AsyncLocalStorage } from 'node:async_hooks';
import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import { GatewayEvents, type RouteOptions, type ServiceRouterOptions, serviceRouter } from '../../lib/index.ts';
import { Cleanup } from '../support/gateway.ts';
import { describeWithRedis } from '../support/redis.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

async function gateway(options: ServiceRouterOptions) {
  const router = cleanup.add(serviceRouter(options));
  const { url } = cleanup.add(await listen(express().use(router)));
  const statuses = async (path: string, count: number): Promise<number[]> => {
    const seen: number[] = [];
    for (let request = 0; request < count; request += 1) seen.push((await fetch(url + path)).status);
    return seen;
  };
  return { router, statuses };
}

/** Many routes, each with a limit of its own. */
const routes = (count: number, limit = 1): RouteOptions[] =>
  Array.from({ length: count }, (_, index) => ({ path: `/${index}`, respond: {}, rateLimit: `${limit}/1m` }));

describe('limits of routes', () => {
  test('other numbers are in force from the next request, whether or not there was one before', async () => {
    const { router, statuses } = await gateway({ services: {}, routes: routes(2) });
    expect(await statuses('/0', 2)).toEqual([200, 429]);
    router.setDeclaration({ services: {}, routes: routes(2, 2) });
    router.setDeclaration({ services: {}, routes: routes(2, 3) });
    for (const path of ['/0', '/1']) expect(await statuses(path, 4)).toEqual([200, 200, 200, 429]);
    await router.resetKey('127.0.0.1');
    expect(await statuses('/0', 1)).toEqual([200]);
  });

  test('the name of a route may be long: two that begin alike count for themselves', async () => {
    const long = '/a-service/with-a-rather-long-path/that-has/many-segments';
    const { statuses } = await gateway({
      services: {},
      routes: ['/one', '/two'].map((end) => ({
        path: long + end,
        hostnames: ['127.0.0.1', 'api.customers.example.com'],
        methods: ['GET', 'HEAD'],
        respond: {},
        rateLimit: ['1/1m', '5/1h'],
      })),
    });
    expect(await statuses(`${long}/one`, 2)).toEqual([200, 429]);
    expect(await statuses(`${long}/two`, 2)).toEqual([200, 429]);
  });

  test.each([
    [{ keyPrefix: 'x'.repeat(30) }, /keyPrefix and name must not be longer than 39 together/],
    [{ trustProxy: true as never }, /trust proxy/],
    [{ redis: 'http://localhost' }, /must start with redis/],
  ])('%j is refused at construction, not at the first request', (limiter, problem) => {
    expect(() => serviceRouter({ services: {}, routes: routes(1), limiter })).toThrow(problem);
  });

  test('a limit that is too large to be counted is refused at construction', () => {
    const rateLimit = { limit: '999999999999/30d', algorithm: 'token-bucket' as const };
    expect(() => serviceRouter({ services: {}, routes: [{ respond: {}, rateLimit }] })).toThrow(/below 2\^53/);
  });
});

describeWithRedis('limits of routes in Redis', (redis) => {
  const lines = async (...command: [string, ...string[]]) => String(await redis.command(...command)).trim();
  /** Connections of others than the one that asks. */
  const connections = async (): Promise<string[]> => {
    const all = (await lines('CLIENT', 'LIST')).split('\n');
    return all.filter((one) => !/cmd=client/.test(one)).map((one) => /\bid=(\d+)/.exec(one)?.[1] ?? '');
  };
  const limiter = (keyPrefix: string) => ({ redis: redis.url, keyPrefix, onStoreError: 'closed' as const });

  test('share one connection, which a new declaration keeps and close() ends', async () => {
    const { router, statuses } = await gateway({ services: {}, routes: routes(20), limiter: limiter('one:') });
    await router.ready();
    for (let index = 0; index < 20; index += 1) expect(await statuses(`/${index}`, 2)).toEqual([200, 429]);
    const before = await connections();
    expect(before).toHaveLength(1);
    router.setDeclaration({ services: {}, routes: [...routes(20, 2), { path: '/x', respond: {}, rateLimit: '1/1h' }] });
    expect(await statuses('/x', 2)).toEqual([200, 429]);
    await eventually('the other numbers are in force', async () => (await statuses('/0', 1))[0] === 200);
    // The request before the declaration counts as well.
    expect(await statuses('/0', 1)).toEqual([429]);
    router.setDeclaration({ services: {}, routes: [{ path: '/y', respond: {}, rateLimit: '1/1h' }] });
    expect(await statuses('/y', 2)).toEqual([200, 429]);
    expect(await connections()).toEqual(before);
    await router.close();
    await eventually('it is closed', async () => (await connections()).length === 0);
  });

  test('a limiter is made at its first request, the first one before', async () => {
    const { router, statuses } = await gateway({ services: {}, routes: routes(20), limiter: limiter('two:') });
    await router.ready();
    const gateways = async () => (await lines('KEYS', 'two:*gateways*')).split(/[\n,]/).filter((key) => key !== '');
    expect(await gateways()).toEqual(['two:route /0:{gateways}']);
    expect(await statuses('/7', 1)).toEqual([200]);
    await eventually('it beats', async () => (await gateways()).length === 2);
  });

  test('no connection is made without limits', async () => {
    const { router } = await gateway({ services: {}, routes: [{ respond: {} }], limiter: limiter('three:') });
    await router.ready();
    expect(await connections()).toEqual([]);
  });

  test('work that a limiter starts at a request is not in the async context of that request', async () => {
    const events = new GatewayEvents();
    const requests = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    events.on('limiterModeChange', () => seen.push(requests.getStore()));
    const options = { ...limiter('four:'), onStoreError: 'local' as const };
    const router = cleanup.add(serviceRouter({ services: {}, routes: routes(2), limiter: options, events }));
    const app = express().use((_req, _res, next) => requests.run('a request', next), router);
    const { url } = cleanup.add(await listen(app));
    await router.ready();
    expect((await fetch(`${url}/1`)).status).toBe(200);
    redis.pause();
    try {
      // Heartbeats notice it: no request comes.
      await eventually('both limiters notice', () => seen.length === 2);
    } finally {
      redis.resume();
    }
    expect(seen).toEqual([undefined, undefined]);
  });
});
