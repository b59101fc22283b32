import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Redis as IoRedis, Cluster as IoRedisCluster } from 'ioredis';
import { createCluster, createSentinel } from 'redis';
import type { IpRateLimitOptions } from '../../lib/rate-limit/ip-rate-limit-options.ts';
import { clusterSlot } from '../../lib/rate-limit/redis/redis-connection.ts';
import { Cleanup } from '../support/gateway.ts';
import { type LimiterGateway, limiterGateway } from '../support/limiter-gateway.ts';
import { pause } from '../support/pause.ts';
import { describeWithServers, RedisServer } from '../support/redis.ts';
import { TestCluster } from '../support/redis-cluster.ts';
import { MASTER_NAME, SentinelSet } from '../support/redis-sentinels.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

type Gateway = LimiterGateway;

const gateway = (options: IpRateLimitOptions): Promise<Gateway> =>
  limiterGateway({ storeTimeoutMs: 5_000, limit: 3, ...options }, cleanup);

async function shared(one: Gateway, deadlineMs?: number): Promise<void> {
  const ask = async () => {
    await one.status('203.0.113.1');
    return one.limiter.mode === 'redis';
  };
  await eventually('the counts are shared', ask, deadlineMs);
}

/** Two gateways, many clients: each client passes three times in all, wherever its key is. */
async function expectSharedLimit(one: Gateway, other: Gateway, network: string): Promise<void> {
  for (let client = 1; client <= 12; client++) {
    const address = `${network}.${client}`;
    const statuses: number[] = [];
    for (let i = 0; i < 6; i++) statuses.push(await (i % 2 ? one : other).status(address));
    expect([address, statuses]).toEqual([address, [200, 200, 200, 429, 429, 429]]);
  }
}

/** Until every node is reached again, requests whose keys are there are counted by each gateway alone. */
async function expectSharedLimitSoon(one: Gateway, other: Gateway): Promise<void> {
  let network = 0;
  const attempt = async () => {
    await expectSharedLimit(one, other, `198.19.${++network}`);
    return true;
  };
  await eventually('all counts are shared', attempt);
}

describeWithServers('a Redis Cluster', () => {
  const cluster = new TestCluster();
  beforeAll(() => cluster.start());
  afterAll(() => cluster.stop());
  const rootNodes = () => cluster.masters.map(({ port }) => ({ url: `redis://127.0.0.1:${port}` }));
  let prefixes = 0;
  const prefix = () => `p${++prefixes}:`;

  test.each(['sliding-window', 'token-bucket', 'fixed-window'] as const)(
    'by URL shares counts in %s over all of its nodes, also after SCRIPT FLUSH on each of them',
    async (algorithm) => {
      const options = { redis: cluster.url, algorithm, keyPrefix: prefix() };
      const [one, other] = [await gateway(options), await gateway(options)];
      await Promise.all([shared(one), shared(other)]);
      await expectSharedLimit(one, other, '198.51.100');
      for (const master of cluster.masters) await master.command('SCRIPT', 'FLUSH');
      await expectSharedLimit(one, other, '198.51.101');
      expect(one.limiter.mode).toBe('redis');
      const sizes = await Promise.all(cluster.masters.map((master) => master.command('DBSIZE')));
      expect(sizes.every((size) => Number(size) > 0)).toBe(true);
    },
  );

  test('keeps several windows of a client in one slot', async () => {
    const { limiter, status } = await gateway({
      redis: cluster.url,
      keyPrefix: prefix(),
      limit: undefined,
      windows: '3/1m, 100/1h, 1000/1d',
    });
    await shared({ limiter, status });
    for (let client = 1; client <= 12; client++) {
      for (const expected of [200, 200, 200, 429]) expect(await status(`198.51.102.${client}`)).toBe(expected);
    }
    expect(limiter.mode).toBe('redis');
  });

  test('as a cluster client of node-redis or ioredis shares counts, and stays open when the limiter closes', async () => {
    const ours = createCluster({ rootNodes: rootNodes() });
    const io = new IoRedisCluster(cluster.masters.map(({ port }) => ({ host: '127.0.0.1', port })));
    cleanup.add({ close: () => ours.destroy() });
    cleanup.add({ close: () => io.disconnect() });
    const options = { keyPrefix: prefix() };
    // The one is not connected yet: the first request does it.
    const one = await gateway({ ...options, redis: ours });
    const other = await gateway({ ...options, redis: io });
    await Promise.all([shared(one), shared(other)]);
    await expectSharedLimit(one, other, '198.51.103');
    expect([one.limiter.mode, other.limiter.mode]).toEqual(['redis', 'redis']);
    await Promise.all([one.limiter.close(), other.limiter.close()]);
    expect([ours.isReady, io.status]).toEqual([true, 'ready']);
  });

  test('keeps counting while it is resharded: MOVED is followed', async () => {
    const keyPrefix = prefix();
    const one = await gateway({ redis: cluster.url, keyPrefix, limit: 4 });
    await shared(one);
    const modes: string[] = [];
    one.limiter.events.on('limiterModeChange', ({ to }) => modes.push(to));
    // An empty slot, so that there is nothing to migrate with it.
    const address = '198.51.104.1';
    const slot = clusterSlot(`${keyPrefix}ip:{${address}}`);
    const owner = Math.floor((slot * 3) / 16_384);
    const target = cluster.masters[(owner + 1) % 3] as RedisServer;
    await cluster.moveSlot(slot, target);
    const statuses: number[] = [];
    for (let i = 0; i < 6; i++) statuses.push(await one.status(address));
    expect(statuses).toEqual([200, 200, 200, 200, 429, 429]);
    expect(await target.command('CLUSTER', 'COUNTKEYSINSLOT', `${slot}`)).toBe(1);
    expect(modes).toEqual([]);
  });

  test('that loses a master under load causes no 5xx, and limits are shared again after the failover', async () => {
    const options = { redis: cluster.url, keyPrefix: prefix(), limit: 1_000_000, storeTimeoutMs: 100 };
    const [one, other] = [await gateway(options), await gateway(options)];
    const io = new IoRedisCluster(cluster.masters.map(({ port }) => ({ host: '127.0.0.1', port })));
    cleanup.add({ close: () => io.disconnect() });
    const third = await gateway({ ...options, redis: io });
    await Promise.all([shared(one), shared(other), shared(third)]);
    const modes: string[] = [];
    one.limiter.events.on('limiterModeChange', ({ to }) => modes.push(to));
    const statuses = new Map<number, number>();
    let loading = true;
    const load = async (to: Gateway) => {
      for (let i = 0; loading; i++) {
        const status = await to.status(`198.18.${i % 50}.1`);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        await pause('the pace of the load', 20);
      }
    };
    const loads = [one, other, third].map(load);
    const replace = await cluster.fail(0);
    await eventually('a mode was left', () => modes.length > 0);
    await replace();
    const strict = { ...options, limit: 3, keyPrefix: prefix() };
    const [late, later] = [await gateway(strict), await gateway({ ...strict, redis: io })];
    await Promise.all([one, other, third, late, later].map((each) => shared(each)));
    loading = false;
    await Promise.all(loads);
    expect([...statuses.keys()]).toEqual([200]);
    await eventually('nothing is left to other modes', () => modes.at(-1) === 'redis');
    await expectSharedLimitSoon(late, later);
    // A gateway that starts now is told of the dead node, by the cluster or by its own configuration.
    const fresh = await gateway({ ...strict, redis: cluster.url });
    await shared(fresh);
    await expectSharedLimitSoon(fresh, later);
  });

  test('is used after a failover that was in progress when the gateway started', async () => {
    const replace = await cluster.fail(1);
    // It still says that the dead one has its slots.
    const one = await gateway({ redis: cluster.url, keyPrefix: prefix() });
    expect(await one.status('198.51.107.1')).toBe(200);
    await replace();
    await shared(one);
  });
});

describeWithServers('a Redis with Sentinels', () => {
  const set = new SentinelSet();
  beforeAll(() => set.start());
  afterAll(() => set.stop());

  test('by URL or as a client shares counts, causes no 5xx in a failover, and shares again afterwards', async () => {
    const options = { keyPrefix: 's:', storeTimeoutMs: 100 };
    const roots = set.sentinels.map(({ port }) => ({ host: '127.0.0.1', port }));
    const ours = createSentinel({ name: MASTER_NAME, sentinelRootNodes: roots, maxCommandRediscovers: 100 });
    cleanup.add({ close: () => ours.destroy() });
    const io = new IoRedis({ name: MASTER_NAME, sentinels: roots });
    cleanup.add({ close: () => io.disconnect() });
    const gateways = await Promise.all([set.url, ours, io].map((redis) => gateway({ ...options, redis })));
    const [one, other, third] = gateways as [Gateway, Gateway, Gateway];
    await Promise.all(gateways.map((each) => shared(each)));
    await expectSharedLimitSoon(one, other);
    await expectSharedLimitSoon(other, third);
    const statuses = new Set<number>();
    let loading = true;
    const loads = gateways.map(async (each) => {
      for (let i = 0; loading; i++) {
        statuses.add(await each.status(`198.18.${i % 200}.1`));
        await pause('the pace of the load', 20);
      }
    });
    await set.master.kill();
    const promoted = async () => String(await set.replica.command('ROLE')).startsWith('master');
    // A Sentinel that stood still for 2 s does nothing for 30 s (TILT).
    await eventually('the replica has taken over', promoted, 90_000);
    await Promise.all(gateways.map((each) => shared(each)));
    loading = false;
    await Promise.all(loads);
    expect([...statuses].every((status) => status < 500)).toBe(true);
    await expectSharedLimitSoon(one, other);
    await expectSharedLimitSoon(other, third);
  }, 180_000);
});

describeWithServers('a single Redis', () => {
  const redis = new RedisServer();
  beforeAll(() => redis.start());
  afterAll(() => redis.kill());

  test('as an ioredis client shares counts, is connected by the first request, and is never closed', async () => {
    const lazy = new IoRedis(redis.port, '127.0.0.1', { lazyConnect: true });
    cleanup.add({ close: () => lazy.disconnect() });
    const options = { keyPrefix: 'io:' };
    const [one, other] = [await gateway({ ...options, redis: lazy }), await gateway({ ...options, redis: redis.url })];
    expect(lazy.status).toBe('wait');
    await Promise.all([shared(one), shared(other)]);
    await expectSharedLimit(one, other, '198.51.100');
    await one.limiter.close();
    expect(lazy.status).toBe('ready');
    expect(lazy.listenerCount('error')).toBe(0);
  });

  test('that is down leaves no command in the offline queue of ioredis', async () => {
    const io = new IoRedis(redis.port, '127.0.0.1', { autoResendUnfulfilledCommands: false });
    cleanup.add({ close: () => io.disconnect() });
    const one = await gateway({ redis: io, keyPrefix: 'lost:', limit: 1_000 });
    await shared(one);
    // Not once() of node:events, which rejects when the connection ends with an error.
    const closed = new Promise((resolve) => io.once('close', resolve));
    await redis.kill();
    await closed;
    for (let i = 0; i < 20; i++) expect(await one.status('198.51.104.1')).toBe(200);
    expect(one.limiter.mode).toBe('local');
    await redis.start();
    await shared(one);
    // Told once of all that passed: a queue of hits would have counted them again.
    const told = () => redis.command('GET', 'lost:ip:{198.51.104.1}s60000');
    await eventually('Redis is told', async () => (await told()) !== null);
    expect(await told()).toMatch(/^\d+ 20 0$/);
  });

  test('with the documented commands and keys only is sufficient', async () => {
    const rights = ['~expressway:rl:*', '+evalsha', '+eval', '+script|load', '+del', '+zrem', '+ping'];
    const inScripts = ['+get', '+set', '+time', '+pttl', '+incr', '+zadd', '+zremrangebyscore', '+zcard', '+pexpire'];
    await redis.command('ACL', 'SETUSER', 'gateway', 'on', '>s3cret/@', ...rights, ...inScripts);
    const url = `redis://gateway:${encodeURIComponent('s3cret/@')}@127.0.0.1:${redis.port}/0`;
    const algorithms = ['sliding-window', 'token-bucket', 'fixed-window'] as const;
    const gateways = await Promise.all(
      algorithms.map(async (algorithm) => {
        // The first late reply tells enough.
        const options = { redis: url, algorithm, name: algorithm, fallbackAfterMisses: 1, fallbackAfterMs: 0 };
        const [one, other] = [await gateway(options), await gateway(options)];
        await Promise.all([shared(one), shared(other)]);
        await expectSharedLimit(one, other, '198.51.100');
        await one.limiter.resetKey('198.51.100.1');
        // The other one still remembers that it refused this client.
        expect(await one.status('198.51.100.1')).toBe(200);
        expect(one.limiter.mode).toBe('redis');
        return one;
      }),
    );
    redis.pause();
    await eventually('nobody waits for it', async () => {
      await Promise.all(gateways.map((one) => one.status('198.51.103.9')));
      return gateways.every(({ limiter }) => limiter.mode === 'local');
    });
    redis.resume();
    await Promise.all(gateways.map((one) => shared(one)));
    for (const algorithm of algorithms) {
      await eventually('Redis is told of who passed', async () => {
        const [key] = (await redis.command('KEYS', `expressway:rl:${algorithm}:*198.51.103.9*`)) as string[];
        return key !== undefined;
      });
    }
    const denied = (await redis.command('ACL', 'LOG')) as { object: string }[];
    // What node-redis tells of itself, and does without.
    expect(denied.map(({ object }) => object).filter((object) => !object.startsWith('client'))).toEqual([]);
  });
});
