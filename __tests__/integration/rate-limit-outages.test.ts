import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { Cleanup } from '../support/gateway.ts';
import {
  countTogether,
  knowEachOther,
  type LimiterGateway,
  limiterGateway,
  limiterLoad,
  passes,
} from '../support/limiter-load.ts';
import { describeWithRedis, RedisServer } from '../support/redis.ts';
import { eventually } from '../support/servers.ts';
import { TcpRelay } from '../support/tcp-relay.ts';

/** So long that a busy machine does not take it for an outage, and less than the 3 s after which a silent connection is given up. */
const TIMEOUT_MS = 2_500;
/** Of the client that is watched; the others have as good as none. */
const LIMIT = 40;

/** With so long a timeout, the first late reply tells enough. */
const AT_ONCE = { fallbackAfterMisses: 1, fallbackAfterMs: 0 };

const gateway = (redis: string, cleanup: Cleanup) =>
  limiterGateway({ redis, storeTimeoutMs: TIMEOUT_MS, ...AT_ONCE }, cleanup);

interface Outage {
  readonly name: string;
  begin(redis: RedisServer): unknown;
  end?(redis: RedisServer): unknown;
  /** What the log says; nothing where nobody notices. */
  readonly error?: RegExp;
  /** Whether the counts are gone afterwards, and no gateway noticed it. */
  readonly forgets?: true;
}

const set = (redis: RedisServer, name: string, value: string) => redis.command('CONFIG', 'SET', name, value);

const OUTAGES: readonly Outage[] = [
  {
    name: 'SIGKILL, and a new one on its port',
    begin: (redis) => redis.kill(),
    end: (redis) => redis.start(),
    error: /./,
  },
  {
    name: 'SIGSTOP and SIGCONT',
    begin: (redis) => redis.pause(),
    end: (redis) => redis.resume(),
    error: /no reply from the store|Socket timeout/,
  },
  { name: 'FLUSHALL', begin: (redis) => redis.flush(), forgets: true },
  { name: 'SCRIPT FLUSH', begin: (redis) => redis.command('SCRIPT', 'FLUSH') },
  {
    name: 'out of memory',
    begin: (redis) => set(redis, 'maxmemory', '1'),
    end: (redis) => set(redis, 'maxmemory', '0'),
    error: /OOM/,
  },
  {
    name: 'read-only, as a replica of nobody',
    begin: (redis) => redis.command('REPLICAOF', '127.0.0.1', '1'),
    end: (redis) => redis.command('REPLICAOF', 'NO', 'ONE'),
    error: /READONLY/,
  },
  {
    name: 'no permission any more',
    begin: (redis) => redis.command('ACL', 'SETUSER', 'default', '-evalsha', '-eval'),
    end: (redis) => redis.command('ACL', 'SETUSER', 'default', '+@all'),
    error: /NOPERM/,
  },
  {
    name: 'busy with a script without end',
    begin: async (redis) => {
      await set(redis, 'busy-reply-threshold', '1');
      redis.command('EVAL', 'while true do end', '0').catch(() => {}); // ends with SCRIPT KILL, as an error
    },
    end: (redis) => redis.command('SCRIPT', 'KILL'),
    error: /BUSY|no reply from the store/,
  },
];

describeWithRedis('D02, D05, D07: a few hundred requests a second, and a Redis', (redis) => {
  const cleanup = new Cleanup();
  let gateways: [LimiterGateway, LimiterGateway];
  beforeAll(async () => {
    gateways = [await gateway(redis.url, cleanup), await gateway(redis.url, cleanup)];
    await countTogether(...gateways);
    await knowEachOther(redis.url, gateways.length);
  });
  afterAll(() => cleanup.run());
  let mend: (() => unknown) | undefined;
  // The outage of a test that has failed must not be that of the next one.
  afterEach(async () => {
    await mend?.();
    mend = undefined;
  });

  test.each(OUTAGES)('$name', async ({ name, begin, end, error, forgets }) => {
    const [one, two] = gateways;
    await countTogether(one, two);
    const changes = gateways.map((each) => each.changes.length);
    const from = `192.0.2.${OUTAGES.findIndex((outage) => outage.name === name) + 1}`;
    const before = await passes(gateways, from, LIMIT, LIMIT / 2);
    expect(before).toBe(LIMIT / 2);
    const traffic = cleanup.add(limiterLoad(gateways));
    await traffic.more(50);

    await begin(redis);
    mend = () => end?.(redis);
    let meanwhile = 0;
    if (error !== undefined) {
      await eventually('the outage is noticed', () => gateways.every(({ limiter }) => limiter.mode === 'local'));
      const noticedAt = performance.now();
      // What was left is divided, and nobody gets more.
      meanwhile = await passes(gateways, from, LIMIT, LIMIT);
      expect(meanwhile).toBeLessThanOrEqual(LIMIT / 2);
      // Usually all of it. On a machine that is too slow for the gateways' reports, one may grant less.
      expect(meanwhile).toBeGreaterThanOrEqual(LIMIT / 4);
      await traffic.more(100);
      // A request that was under way when it began may have waited for the deadline. From then on, no request waits.
      const late = traffic.answers.filter(({ startedAt }) => startedAt > noticedAt);
      expect(late.length).toBeGreaterThan(50);
      expect(late.filter(({ waited }) => waited)).toEqual([]);
    } else {
      await traffic.more(100);
    }

    mend = undefined;
    await end?.(redis);
    await countTogether(one, two);
    await traffic.more(50);
    await traffic.close();
    const after = await passes(gateways, from, LIMIT, LIMIT * 1.5);
    // What passed without Redis counts as if Redis had counted it, and what Redis has lost as if it had not.
    expect(after).toBe((forgets ? LIMIT : LIMIT / 2) - meanwhile);

    expect(traffic.answers.filter(({ status }) => status !== 200)).toEqual([]);
    for (const [i, each] of gateways.entries()) {
      const told = each.changes.slice(changes[i]);
      const reasons = told.filter(({ to }) => to === 'local').map((one) => String(one.error?.message));
      // On a machine that is late, Redis takes too long now and then, outage or not.
      const late = (reason: string) => /no reply from the store/.test(reason) && error?.test(reason) !== true;
      expect(reasons.filter((reason) => !late(reason))).toEqual(
        error === undefined ? [] : [expect.stringMatching(error)],
      );
      expect(told.at(-1)?.to ?? 'redis').toBe('redis');
    }
  });
});

describeWithRedis('D07: a Redis that is failed over under load', (redis) => {
  const cleanup = new Cleanup();
  afterAll(() => cleanup.run());

  test('connections move to the new primary, which has the counts', async () => {
    const replica = new RedisServer();
    await replica.start();
    cleanup.add({ close: () => replica.kill() });
    await replica.command('REPLICAOF', '127.0.0.1', String(redis.port));
    const relay = cleanup.add(new TcpRelay(redis.port));
    const url = `redis://127.0.0.1:${await relay.listen()}`;
    const gateways: [LimiterGateway, LimiterGateway] = [await gateway(url, cleanup), await gateway(url, cleanup)];
    await countTogether(...gateways);
    const traffic = cleanup.add(limiterLoad(gateways));
    expect(await passes(gateways, '192.0.2.1', LIMIT, LIMIT / 2)).toBe(LIMIT / 2);
    await eventually('the replica has all', async () =>
      String(await replica.command('GET', 'expressway:rl:ip:{192.0.2.1}s3600000')).includes(` ${LIMIT / 2} `),
    );

    await replica.command('REPLICAOF', 'NO', 'ONE');
    relay.moveTo(replica.port);
    // The old primary lives on and keeps its connections: it only takes no writes any more.
    await redis.command('REPLICAOF', '127.0.0.1', String(replica.port));
    await eventually('it is noticed', () => gateways.every(({ limiter }) => limiter.mode === 'local'));
    await eventually('the new primary is found', () => gateways.every(({ limiter }) => limiter.mode === 'redis'));
    await countTogether(...gateways);
    await traffic.more(50);
    await traffic.close();
    expect(await passes(gateways, '192.0.2.1', LIMIT, LIMIT)).toBe(LIMIT / 2);
    expect(traffic.answers.filter(({ status }) => status !== 200)).toEqual([]);
    for (const { changes } of gateways) {
      expect(changes.map(({ to }) => to).slice(-2)).toEqual(['local', 'redis']);
      expect(changes.at(-2)?.error?.message).toMatch(/READONLY/);
    }
  });
});
