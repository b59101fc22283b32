import { afterEach, expect, test } from '@jest/globals';
import express from 'express';
import { Redis as IoRedis } from 'ioredis';
import { createClient, RESP_TYPES } from 'redis';
import { rateLimitAlgorithms } from '../../lib/rate-limit/algorithms/registry.ts';
import { ipRateLimit } from '../../lib/rate-limit/ip-rate-limit.ts';
import type { IpRateLimitOptions } from '../../lib/rate-limit/ip-rate-limit-options.ts';
import { Cleanup } from '../support/gateway.ts';
import { type LimiterGateway, limiterGateway } from '../support/limiter-gateway.ts';
import { pause } from '../support/pause.ts';
import { describeWithAnyRedis, describeWithRedis } from '../support/redis.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

type Gateway = LimiterGateway;

// The deadline has its own tests; here, a busy machine must not decide what is counted where.
const gateway = (options: IpRateLimitOptions): Promise<Gateway> =>
  limiterGateway({ storeTimeoutMs: 5_000, ...options }, cleanup);

let lastClient = 0;
const freshAddress = () => `198.51.100.${++lastClient}`;

/** Waits for the connection, by counting clients that no test looks at. */
async function connected(...gateways: Gateway[]): Promise<void> {
  for (const { limiter, status } of gateways) {
    await eventually('the counts are shared', async () => {
      await status('203.0.113.1');
      return limiter.mode === 'redis';
    });
  }
}

const passed = (statuses: number[]) => statuses.filter((status) => status === 200).length;

describeWithAnyRedis('limits shared through Redis', (redis) => {
  const options = (more: IpRateLimitOptions = {}) => ({ redis: redis.url, keyPrefix: redis.keyPrefix, ...more });

  async function openClient(settings: { connect?: boolean } = {}) {
    const client = createClient({ url: redis.url });
    client.on('error', () => {});
    if (settings.connect !== false) await client.connect();
    cleanup.add({ close: () => client.isOpen && client.destroy() });
    return client;
  }

  test('two gateways let exactly the limit pass', async () => {
    const gateways = [await gateway(options({ limit: 50 })), await gateway(options({ limit: 50 }))];
    await connected(...gateways);
    const from = freshAddress();
    const statuses = await Promise.all(Array.from({ length: 200 }, (_, i) => gateways[i % 2]!.status(from)));
    expect(passed(statuses)).toBe(50);
    expect(statuses.filter((status) => status === 429)).toHaveLength(150);
  });

  test('every key has an expiry, and consists of prefix, limiter name and client', async () => {
    const { status, ...one } = await gateway(options({ limit: 5, name: 'keys', windowMs: 30_000 }));
    await connected({ status, ...one });
    await Promise.all(['198.51.100.200', '2001:db8::1', '2001:db8::2'].map((from) => status(from)));
    const client = await openClient();
    const keys = await client.keys(`${redis.keyPrefix}keys:*`);
    expect(keys.filter((key) => !key.includes('203.0.113.1')).sort()).toEqual([
      `${redis.keyPrefix}keys:{198.51.100.200}s30000`,
      `${redis.keyPrefix}keys:{2001:db8::/56}s30000`,
      // The gateways that share the limit.
      `${redis.keyPrefix}keys:{gateways}`,
    ]);
    for (const key of keys) {
      const ttl = await client.pTTL(key);
      expect(ttl).toBeGreaterThan(0);
      expect(ttl).toBeLessThanOrEqual(60_000);
    }
  });

  test('two gateways with a token bucket let exactly the burst pass, and then the refilled tokens', async () => {
    const bucket = options({ algorithm: 'token-bucket', limit: 20, windowMs: 3_600_000, burst: 30, name: 'bucket' });
    const gateways = [await gateway(bucket), await gateway(bucket)];
    await connected(...gateways);
    const from = freshAddress();
    const statuses = await Promise.all(Array.from({ length: 100 }, (_, i) => gateways[i % 2]!.status(from)));
    expect(passed(statuses)).toBe(30);
  });

  test('two gateways enforce each of several windows', async () => {
    const windows = options({ windows: '40/1h, 25/10m', name: 'windows' });
    const gateways = [await gateway(windows), await gateway(windows)];
    await connected(...gateways);
    const from = freshAddress();
    const statuses = await Promise.all(Array.from({ length: 100 }, (_, i) => gateways[i % 2]!.status(from)));
    expect(passed(statuses)).toBe(25);
    const client = await openClient();
    const values = await client.mGet(['s3600000', 's600000'].map((end) => `${redis.keyPrefix}windows:{${from}}${end}`));
    expect(values.map((value) => value?.split(' ')[1])).toEqual(['25', '25']);
  });

  test('with a keySecret, Redis holds no address, and gateways with the same secret share counts', async () => {
    const secret = options({ limit: 2, name: 'secret', keySecret: 'a secret of the gateways' });
    const [one, two] = [await gateway(secret), await gateway(secret)];
    await connected(one, two);
    const from = freshAddress();
    expect([await one.status(from), await two.status(from), await one.status(from)]).toEqual([200, 200, 429]);
    const client = await openClient();
    const all = await client.keys(`${redis.keyPrefix}secret:*`);
    const keys = all.filter((key) => !key.endsWith('{gateways}'));
    expect(keys).toHaveLength(2);
    for (const key of keys) expect(key).toMatch(/secret:\{[\w-]{22}\}s60000$/);
    await one.limiter.resetKey(from);
    expect(await one.status(from)).toBe(200);
  });

  test.each(rateLimitAlgorithms)('%s: a window of 30 days, longer than any timer of Node', async (algorithm) => {
    const windowMs = 30 * 86_400_000;
    const { status, ...one } = await gateway(options({ limit: 1, windowMs, algorithm, name: `month-${algorithm}` }));
    await connected({ status, ...one });
    const from = freshAddress();
    expect([await status(from), await status(from)]).toEqual([200, 429]);
    const client = await openClient();
    const keys = (await client.keys(`${redis.keyPrefix}month-${algorithm}:*`)).filter((key) => key.includes(from));
    expect(keys).toHaveLength(1);
    expect(await client.pTTL(keys[0] as string)).toBeGreaterThan(2 ** 31);
  });

  test('limiters of different names count separately over one Redis client', async () => {
    const client = await openClient();
    const one = await gateway(options({ redis: client, limit: 1, name: 'one' }));
    const two = await gateway(options({ redis: client, limit: 1, name: 'two' }));
    await connected(one, two);
    const from = freshAddress();
    expect([await one.status(from), await two.status(from)]).toEqual([200, 200]);
    expect([await one.status(from), await two.status(from)]).toEqual([429, 429]);
  });

  const typeMapping = (mapping: Record<number, BufferConstructor | StringConstructor>) => () =>
    createClient({ url: redis.url, commandOptions: { typeMapping: mapping } });
  const unusualClients = {
    'ioredis with stringNumbers': () => new IoRedis(redis.url, { stringNumbers: true }),
    'redis with numbers as texts': typeMapping({ [RESP_TYPES.NUMBER]: String }),
    'redis with texts as Buffers': typeMapping({
      [RESP_TYPES.BLOB_STRING]: Buffer,
      [RESP_TYPES.SIMPLE_STRING]: Buffer,
      [RESP_TYPES.NUMBER]: String,
    }),
  };

  test.each(Object.entries(unusualClients))('%s shares its counts with others', async (what, makeClient) => {
    const client = makeClient().on('error', () => {});
    cleanup.add({ close: () => ('destroy' in client ? client.destroy() : client.disconnect()) });
    const name = `u${Object.keys(unusualClients).indexOf(what)}`;
    const kinds: IpRateLimitOptions[] = [...rateLimitAlgorithms.map((algorithm) => ({ algorithm })), { lease: true }];
    for (const [i, kind] of kinds.entries()) {
      const same = options({ ...kind, limit: 4, name: `${name}-${i}` });
      const [one, other] = [await gateway({ ...same, redis: client }), await gateway(same)];
      await connected(one, other);
      const from = freshAddress();
      const statuses = [];
      for (const each of [one, other, one, other, one, other]) statuses.push(await each.status(from));
      expect([kind, passed(statuses)]).toEqual([kind, kind.lease ? expect.any(Number) : 4]);
      expect([one.limiter.mode, one.limiter.storeError]).toEqual(['redis', undefined]);
      await one.limiter.resetKey(from);
      expect(await one.status(from)).toBe(200);
    }
  });

  test('a Redis client that is not connected is connected by the limiter, and stays open', async () => {
    const client = await openClient({ connect: false });
    const one = await gateway(options({ redis: client, limit: 5, name: 'unopened' }));
    await connected(one);
    await one.limiter.close();
    expect(client.isOpen).toBe(true);
    expect(await client.ping()).toBe('PONG');
  });

  test('ready() connects a Redis client that the app has not connected', async () => {
    for (const together of [false, true]) {
      const client = await openClient({ connect: false });
      const limiter = cleanup.add(ipRateLimit(options({ redis: client, name: `ready-${together}` })));
      const begin = performance.now();
      const ready = limiter.ready();
      // A second connect() would throw.
      if (together) await client.connect();
      await ready;
      // Without a connection it waits for 5 s.
      expect(performance.now() - begin).toBeLessThan(4_900);
      expect([client.isReady, limiter.mode]).toEqual([true, 'redis']);
    }
  });

  test('the app can connect its Redis client after it created the limiter', async () => {
    const client = await openClient({ connect: false });
    const limiter = cleanup.add(ipRateLimit(options({ redis: client, name: 'late' })));
    await client.connect();
    await eventually('it is used', () => limiter.mode === 'redis');
  });

  test('Retry-After is the exact wait until the next window', async () => {
    const limiter = cleanup.add(ipRateLimit({ ...options({ limit: 1, windowMs: 700 }), storeTimeoutMs: 5_000 }));
    const app = express()
      .set('trust proxy', 1)
      .use(limiter, (_req, res) => void res.send('ok'));
    const { url } = cleanup.add(await listen(app));
    const get = (from: string) => fetch(url, { headers: { 'X-Forwarded-For': from } });
    await connected({ limiter, status: async (from) => (await get(from)).status });
    const from = freshAddress();
    let refused = await get(from);
    expect(refused.status).toBe(200);
    // On a busy machine a window can end between two requests.
    while (refused.status === 200) refused = await get(from);
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('1');
    await pause('what Retry-After says', 1_000);
    expect((await get(from)).status).toBe(200);
  });

  test('resetKey() resets a client for all gateways', async () => {
    const [one, two] = [await gateway(options({ limit: 2 })), await gateway(options({ limit: 2 }))];
    await connected(one, two);
    const from = freshAddress();
    expect([await one.status(from), await two.status(from), await two.status(from)]).toEqual([200, 200, 429]);
    await two.limiter.resetKey(from);
    expect([await one.status(from), await two.status(from)]).toEqual([200, 200]);
  });
});

describeWithRedis('limits shared through Redis, whose scripts are lost', (redis) => {
  test.each([
    ['sliding-window', (from: string) => `expressway:rl:ip:{${from}}s3600000`],
    ['fixed-window', (from: string) => `expressway:rl:ip:${from}`],
  ] as const)('SCRIPT FLUSH in the midst of load loses no hit and counts none twice: %s', async (algorithm, key) => {
    const options = { redis: redis.url, limit: 1_000, windowMs: 3_600_000, algorithm };
    const gateways = [await gateway(options), await gateway(options)];
    await connected(...gateways);
    const from = freshAddress();
    const load: Promise<number>[] = [];
    for (let round = 0; round < 6; round++) {
      for (let i = 0; i < 50; i++) load.push(gateways[i % 2]!.status(from));
      await redis.command('SCRIPT', 'FLUSH');
    }
    expect(passed(await Promise.all(load))).toBe(300);
    expect(String(await redis.command('INFO', 'errorstats'))).toContain('errorstat_NOSCRIPT');
    const value = String(await redis.command('GET', key(from)));
    expect(value.split(' ').at(algorithm === 'fixed-window' ? 0 : 1)).toBe('300');
  });
});
