import { Agent, get } from 'node:http';
import { afterEach, expect, test } from '@jest/globals';
import { createClient } from 'redis';
import { GATEWAY_TTL_MS } from '../../lib/rate-limit/redis/heartbeat.ts';
import { Cleanup } from '../support/gateway.ts';
import { LimiterProcess, type Passage } from '../support/limiter-processes.ts';
import { pause } from '../support/pause.ts';
import { describeWithRedis, type RedisServer } from '../support/redis.ts';
import { eventually } from '../support/servers.ts';

/** The whole of it, as in the reports: `LIMITER_WINDOWS=20 LIMITER_WINDOW_MS=10000`. */
const WINDOWS = Number(process.env.LIMITER_WINDOWS ?? 3);
const WINDOW_MS = Number(process.env.LIMITER_WINDOW_MS ?? 2_000);
const KILLS = Number(process.env.LIMITER_KILLS ?? 3);
const LIMIT = 100;
const GATEWAYS = 4;
const CONNECTIONS = 50;
/** What a sliding window lets pass in so many windows. */
const LEAST_SLIDING = LIMIT + (WINDOWS - 2) * LIMIT * 0.8;
/** Between two requests of one connection. */
const PAUSE_MS = 150;

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

function statusOf(url: string, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    get(url, { agent }, (answer) => {
      answer.resume().on('end', () => resolve(answer.statusCode ?? 0));
    }).on('error', reject);
  });
}

/** Connections that ask for each of the paths in turn until they are stopped. */
function load(urls: readonly string[], paths: number, onStatus: (status: number, path: number) => void) {
  let stopped = false;
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const connections = urls.flatMap((url) =>
    Array.from({ length: CONNECTIONS }, async (_, i) => {
      await pause('the connections take turns', (i * PAUSE_MS) / CONNECTIONS);
      for (let turn = i; !stopped; turn++) {
        onStatus(await statusOf(`${url}/${turn % paths}`, agent), turn % paths);
        await pause('the pace of the load', PAUSE_MS);
      }
    }),
  );
  return async () => {
    stopped = true;
    await Promise.all(connections);
    agent.destroy();
  };
}

/** All keys that there are, with their time to live: none is ever without. */
async function expectExpiries(redis: RedisServer): Promise<number> {
  const client = createClient({ url: redis.url });
  client.on('error', () => {});
  await client.connect();
  try {
    const ttls = await client.eval(
      "local t = {} for i, k in ipairs(redis.call('KEYS', '*')) do t[i] = redis.call('PTTL', k) end return t",
    );
    for (const ttl of ttls as unknown as number[]) expect(ttl).toBeGreaterThanOrEqual(0);
    return (ttls as unknown as number[]).length;
  } finally {
    client.destroy();
  }
}

/** How many passed in the window of this length that ends with each of them, at most. */
function most(times: readonly number[], windowMs: number): number {
  let [highest, first] = [0, 0];
  for (let last = 0; last < times.length; last++) {
    while ((times[first] as number) <= (times[last] as number) - windowMs) first++;
    highest = Math.max(highest, last - first + 1);
  }
  return highest;
}

describeWithRedis(`${GATEWAYS} gateways with ${CONNECTIONS} connections each, and one client`, (redis) => {
  test(
    `the limit holds over ${WINDOWS} windows, in total and in every window`,
    async () => {
      const common = { limit: LIMIT, windowMs: WINDOW_MS, redis: redis.url, storeTimeoutMs: 5_000 };
      const limiters = (['fixed-window', 'token-bucket', 'sliding-window'] as const).map((algorithm) => ({
        ...common,
        algorithm,
        name: algorithm,
      }));
      const gateways = Array.from({ length: GATEWAYS }, () => cleanup.add(new LimiterProcess(limiters)));
      const urls = await Promise.all(gateways.map((one) => one.url()));
      // Each counts in Redis by now; the client that is watched is another one, whose windows have not begun.
      const connected = async () => Number(await redis.command('ZCARD', 'expressway:rl:token-bucket:{gateways}'));
      await eventually('all gateways beat', async () => (await connected()) === GATEWAYS);
      const statuses = new Map<number, number>();
      const passedAt = limiters.map(() => 0);
      const stop = load(urls, limiters.length, (one, path) => {
        statuses.set(one, (statuses.get(one) ?? 0) + 1);
        if (one === 200) passedAt[path] = (passedAt[path] ?? 0) + 1;
      });
      await pause('all windows but the end of the last', WINDOWS * WINDOW_MS - WINDOW_MS / 4);
      // On a busy machine nobody asked in some of them.
      const least = [WINDOWS * LIMIT, LIMIT, LEAST_SLIDING];
      await eventually('all limits are reached', () => passedAt.every((count, i) => count >= (least[i] as number)));
      const stored = String(await redis.command('GET', `expressway:rl:token-bucket:{127.0.0.1}b${WINDOW_MS}`));
      const readAt = Date.now();
      await expectExpiries(redis);
      await stop();
      const passages = (await Promise.all(gateways.map((one) => one.end()))).flat();
      expect([...statuses.keys()].sort()).toEqual([200, 429]);
      expect(passages).toHaveLength(statuses.get(200) as number);
      const [fixed, bucket, sliding] = [0, 1, 2].map((i) => passages.filter(([limiter]) => limiter === i)) as [
        Passage[],
        Passage[],
        Passage[],
      ];
      expectFixedWindows(fixed);
      expectBucket(bucket, stored, readAt);
      expectSlidingWindow(sliding);
    },
    WINDOWS * WINDOW_MS + 60_000,
  );
});

const passedOf = (passages: readonly Passage[]) => passages.map(([, , passed]) => passed).sort((a, b) => a - b);
const askedOf = (passages: readonly Passage[]) => passages.map(([, asked]) => asked).sort((a, b) => a - b);

/** Exactly the limit in each window, which begins with the first request behind the one before it. */
function expectFixedWindows(passages: readonly Passage[]): void {
  const [passed, asked] = [passedOf(passages), askedOf(passages)] as [number[], number[]];
  const first = Math.floor(asked[0] as number);
  for (let n = LIMIT; n < passed.length; n++) {
    // However late a machine tells of it: number n + 1 cannot have passed before its window had begun.
    expect(passed[n]).toBeGreaterThanOrEqual(first + Math.floor(n / LIMIT) * WINDOW_MS - 1);
  }
}

/** The burst, and then exactly what was refilled. */
function expectBucket(passages: readonly Passage[], stored: string, readAt: number): void {
  const [passed, asked] = [passedOf(passages), askedOf(passages)] as [number[], number[]];
  const first = asked[0] as number;
  for (let n = LIMIT; n < passed.length; n++) {
    // Number n + 1 cannot have passed before its token was there.
    expect(passed[n]).toBeGreaterThanOrEqual(Math.floor(first) + ((n + 1 - LIMIT) * WINDOW_MS) / LIMIT - 1);
  }
  // What Redis holds says how many it has let pass until then: what is missing, and what was refilled meanwhile.
  const [at, spent] = stored.split(' ').map(Number) as [number, number];
  const upTo = (start: number) => (spent + (at - start) * LIMIT) / WINDOW_MS;
  // Nothing is put into a full bucket, which it is again and again where requests come more slowly than they are refilled: at
  // the begin, on a machine that is late.
  const lost = Math.max(0, ...passed.map((time, n) => ((Math.min(time, at) - first) * LIMIT) / WINDOW_MS - n));
  const [least, highest] = [
    Math.floor(upTo(Math.ceil(passed[0] as number)) - lost),
    Math.ceil(upTo(Math.floor(first))),
  ];
  const counted = passages.filter((one) => one[1] <= readAt && one[2] <= at + 1).length;
  const underWay = passages.filter((one) => one[1] <= at + 1 && one[2] > at + 1).length;
  expect(counted).toBeLessThanOrEqual(highest);
  expect(counted + underWay).toBeGreaterThanOrEqual(least);
}

/** Never above the limit by more than what docs/decisions/0010-sliding-window.md says. */
function expectSlidingWindow(passages: readonly Passage[]): void {
  const passed = passedOf(passages);
  const first = passed[0] as number;
  expect(most(passed, WINDOW_MS)).toBeLessThanOrEqual(2 * LIMIT);
  const between = (from: number, to: number) => passed.filter((at) => at > from && at <= to).length;
  // Redis counted a request between the moments at which it was asked and at which the request passed.
  const blurMs = Math.max(...passages.map(([, asked, at]) => at - asked));
  for (const end of passed) {
    const start = first + Math.floor((end - first) / WINDOW_MS) * WINDOW_MS;
    const older = between(start - WINDOW_MS, start);
    const covered = start - (end - WINDOW_MS);
    const olderCovered = between(end - WINDOW_MS - blurMs, start + blurMs);
    const slack = 1 + Math.ceil((older * blurMs) / WINDOW_MS);
    const bound = LIMIT + olderCovered - Math.floor((older * covered) / WINDOW_MS) + slack;
    expect(between(end - WINDOW_MS, end)).toBeLessThanOrEqual(bound);
  }
}

describeWithRedis('gateways that are killed while they write', (redis) => {
  test(
    'D06: leave no key without an expiry, and are no longer counted',
    async () => {
      const algorithms = ['fixed-window', 'token-bucket', 'sliding-window'] as const;
      const limiters = algorithms.map((algorithm) => ({
        algorithm,
        name: algorithm,
        redis: redis.url,
        limit: 100_000,
        // So long that one that is closed on a busy machine still takes itself off.
        storeTimeoutMs: 5_000,
      }));
      const gateways: LimiterProcess[] = [];
      for (let kill = 0; kill < KILLS; kill++) gateways.push(cleanup.add(new LimiterProcess(limiters)));
      const survivor = cleanup.add(new LimiterProcess(limiters));
      const urls = await Promise.all([...gateways, survivor].map((one) => one.url()));
      let served = 0;
      let pauseMs = 0;
      const asking = urls.map(async (url, i) => {
        const agent = new Agent({ keepAlive: true, maxSockets: 10 });
        const ask = async () => {
          for (let turn = 0; turn < 100_000; turn++) {
            await statusOf(`${url}/${turn % 3}`, agent);
            served += 1;
            if (pauseMs > 0) await pause('the pace of the load', pauseMs);
          }
        };
        // Asks until its gateway is gone, or the test is over.
        await Promise.allSettled(Array.from({ length: 10 }, ask));
        agent.destroy();
        return i;
      });
      const alive = async () => Number(await redis.command('ZCARD', 'expressway:rl:sliding-window:{gateways}'));
      await eventually('all are at work', async () => served > 400 && (await alive()) === KILLS + 1);
      for (const [i, gateway] of gateways.entries()) {
        await pause('each dies at another point of its work', 20 + ((i * 37) % 50));
        await gateway.kill();
        expect(await expectExpiries(redis)).toBeGreaterThanOrEqual(3);
      }
      // Nobody else dies: the survivor only has to go on.
      pauseMs = 200;
      await eventually('only the survivor is counted', async () => (await alive()) === 1, GATEWAY_TTL_MS + 30_000);
      await expectExpiries(redis);
      await survivor.end();
      await Promise.all(asking);
      // Closed in good order, it has taken itself off.
      expect(await alive()).toBe(0);
      await expectExpiries(redis);
    },
    GATEWAY_TTL_MS + 60_000,
  );
});
