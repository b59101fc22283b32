import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { clusterSlot } from '../../lib/rate-limit/redis/redis-connection.ts';
import { Cleanup } from '../support/gateway.ts';
import {
  addressesOf,
  countTogether,
  knowEachOther,
  type LimiterAnswer,
  type LimiterGateway,
  limiterGateway,
  limiterLoad,
  passes,
} from '../support/limiter-load.ts';
import { describeWithRedis, describeWithServers, type RedisServer, redisCommand } from '../support/redis.ts';
import { TestCluster } from '../support/redis-cluster.ts';
import { eventually } from '../support/servers.ts';

// A Redis that is there, and answers with errors: whatever it says, each request is answered, and limits hold.

/** So long that a busy machine does not decide what is counted where. */
const TIMEOUT_MS = 5_000;
/** Of the client that is watched. */
const LIMIT = 40;

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const gatewaysAt = async (redis: string): Promise<[LimiterGateway, LimiterGateway]> => {
  const options = { redis, storeTimeoutMs: TIMEOUT_MS };
  return [await limiterGateway(options, cleanup), await limiterGateway(options, cleanup)];
};

function expectAllServed(answers: readonly LimiterAnswer[]): void {
  expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
}

/** How often Redis has replied with errors that begin with this word. */
async function repliesOf(url: string, word: string): Promise<number> {
  const stats = String(await redisCommand(url, 'INFO', 'errorstats'));
  return Number(new RegExp(`errorstat_${word}:count=(\\d+)`).exec(stats)?.[1] ?? 0);
}

interface Outage {
  /** The URL that the gateways have. */
  readonly redis: string;
  readonly gateways: readonly [LimiterGateway, LimiterGateway];
  begin(): unknown;
  /** What can be seen of it, while it lasts. */
  meanwhile(): unknown;
  end(): unknown;
}

/** Through all of it, every request is answered, and the client that is watched gets its limit and no more. */
async function expectLimitHolds({ redis, gateways, begin, meanwhile, end }: Outage): Promise<void> {
  await countTogether(...gateways);
  await knowEachOther(redis, gateways.length);
  const changes = gateways.map((gateway) => gateway.changes.length);
  const traffic = cleanup.add(limiterLoad(gateways));
  let passed = await passes(gateways, '192.0.2.1', LIMIT, LIMIT / 2);
  expect(passed).toBe(LIMIT / 2);
  await traffic.more(50);

  await begin();
  await eventually('the outage is noticed', () => gateways.every(({ limiter }) => limiter.mode === 'local'));
  await traffic.more(50);
  passed += await passes(gateways, '192.0.2.1', LIMIT, LIMIT);
  await meanwhile();
  expect(gateways.map(({ limiter }) => limiter.mode)).toEqual(['local', 'local']);

  await end();
  await countTogether(...gateways);
  await traffic.more(50);
  await traffic.close();
  passed += await passes(gateways, '192.0.2.1', LIMIT, LIMIT);
  expect(passed).toBe(LIMIT);
  expectAllServed(traffic.answers);
  for (const [i, gateway] of gateways.entries()) {
    expect(gateway.changes.slice(changes[i]).map(({ to }) => to)).toEqual(['local', 'redis']);
  }
}

/** Where a Redis keeps its file; a new folder for each time that it starts. */
let folder = '';
const plainArgs = (port: number): string[] => ['--port', `${port}`, '--save', '', '--appendonly', 'no'];
const inFolder = {
  args: (port: number, dir: string) => {
    folder = dir;
    return plainArgs(port);
  },
};

describeWithRedis(
  'MISCONF: a Redis that cannot save and refuses writes',
  (redis) => {
    test('falls back to local counts, and uses Redis again once it can save', async () => {
      const gateways = await gatewaysAt(redis.url);
      const obstacle = join(folder, 'dump.rdb');
      const lastSave = async () =>
        /rdb_last_bgsave_status:(\w+)/.exec(String(await redis.command('INFO', 'persistence')))?.[1];
      await expectLimitHolds({
        redis: redis.url,
        gateways,
        begin: async () => {
          // It writes another file and gives it this name, which a folder has already.
          mkdirSync(obstacle);
          await redis.command('CONFIG', 'SET', 'save', '3600 1');
          await redis.command('BGSAVE');
          await eventually('it cannot save', async () => (await lastSave()) === 'err');
        },
        meanwhile: async () => {
          expect(await repliesOf(redis.url, 'MISCONF')).toBeGreaterThan(0);
          for (const { changes } of gateways) expect(changes.at(-1)?.error?.message).toMatch(/MISCONF/);
        },
        end: async () => {
          rmdirSync(obstacle);
          const saved = async () => {
            await redis.command('BGSAVE').catch(() => {}); // Refused while it tries by itself.
            return (await lastSave()) === 'ok';
          };
          await eventually('it can save', saved);
        },
      });
    });
  },
  { parts: inFolder },
);

describeWithRedis('NOAUTH, WRONGPASS: a Redis whose password changes, and whose connections are cut', (redis) => {
  test.each([
    ['NOAUTH', () => redis.url],
    ['WRONGPASS', () => redis.url.replace('//', '//default:before@')],
  ] as const)('%s: falls back to local counts until the password is restored', async (word, urlOf) => {
    const admin = redis.url.replace('//', '//default:after@');
    await redis.flush();
    const gateways = await gatewaysAt(urlOf());
    await expectLimitHolds({
      redis: redis.url,
      gateways,
      begin: async () => {
        await redis.command('CONFIG', 'SET', 'requirepass', 'after');
        // Connections that exist stay what they were.
        await redisCommand(admin, 'CLIENT', 'KILL', 'TYPE', 'normal');
      },
      meanwhile: async () => expect(await repliesOf(admin, word)).toBeGreaterThan(0),
      end: () => redisCommand(admin, 'CONFIG', 'SET', 'requirepass', ''),
    });
  });
});

/** Of 1 KiB each, so that reading them at this pace takes 25 s, and Redis answers in between. */
const KEYS = 500;
const PACE = ['--key-load-delay', '50000', '--loading-process-events-interval-bytes', '1024'];
const depot = mkdtempSync(join(tmpdir(), 'expressway-depot-'));
afterAll(() => rmSync(depot, { recursive: true, force: true }));
const kept = join(depot, 'dump.rdb');

describeWithRedis(
  'LOADING: a restarted Redis that reads its data for a long time',
  (redis) => {
    test('falls back to local counts until all is read, then continues from the counts of Redis', async () => {
      await redis.command(
        'EVAL',
        `for i = 1, ${KEYS} do redis.call('SET', 'other' .. i, string.rep('x', 1024)) end`,
        '0',
      );
      const gateways = await gatewaysAt(redis.url);
      const loading = async () => String(await redis.command('INFO', 'persistence')).includes('\nloading:1');
      await expectLimitHolds({
        redis: redis.url,
        gateways,
        begin: async () => {
          await redis.command('SAVE');
          copyFileSync(join(folder, 'dump.rdb'), kept);
          await redis.restart();
        },
        meanwhile: async () => {
          await eventually('they were told', async () => (await repliesOf(redis.url, 'LOADING')) > 0);
          expect(await loading()).toBe(true);
        },
        end: async () => {
          await redis.command('CONFIG', 'SET', 'key-load-delay', '0');
          await eventually('all is read', async () => !(await loading()));
        },
      });
      expect(Number(await redis.command('DBSIZE'))).toBeGreaterThan(KEYS);
    });
  },
  {
    parts: {
      args: (port, dir) => {
        folder = dir;
        if (existsSync(kept)) copyFileSync(kept, join(dir, 'dump.rdb'));
        return [...plainArgs(port), '--rdbcompression', 'no', ...(existsSync(kept) ? PACE : [])];
      },
    },
  },
);

describeWithServers('ASK, MOVED: a cluster that is resharded', () => {
  const cluster = new TestCluster();
  beforeAll(() => cluster.start());
  afterAll(() => cluster.stop());

  test('under load, keeps counting without a gap', async () => {
    const gateways = await gatewaysAt(cluster.url);
    await countTogether(...gateways);
    const changes = gateways.map((gateway) => gateway.changes.length);
    const addresses = addressesOf('203.0.113', 4);
    const traffic = cleanup.add(limiterLoad(gateways, addresses));
    expect(await passes(gateways, '192.0.2.1', LIMIT, LIMIT / 2)).toBe(LIMIT / 2);
    await traffic.more(100);
    const { masters } = cluster;
    const before = await Promise.all(masters.map(({ url }) => repliesOf(url, 'MOVED')));
    for (const address of ['192.0.2.1', ...addresses]) {
      const slot = clusterSlot(`expressway:rl:ip:{${address}}`);
      const owner = Math.floor((slot * masters.length) / 16_384);
      await cluster.reshard(slot, masters[owner] as RedisServer, masters[(owner + 1) % 3] as RedisServer);
      await traffic.more(3);
    }
    await traffic.more(100);
    await traffic.close();
    const after = await Promise.all(masters.map(({ url }) => repliesOf(url, 'MOVED')));
    expect(after.some((count, i) => count > (before[i] as number))).toBe(true);
    expectAllServed(traffic.answers);
    expect(await passes(gateways, '192.0.2.1', LIMIT, LIMIT)).toBe(LIMIT / 2);
    expect(gateways.map((gateway) => gateway.changes.length)).toEqual(changes);
    expect(gateways.map(({ limiter }) => limiter.mode)).toEqual(['redis', 'redis']);
  });
});
