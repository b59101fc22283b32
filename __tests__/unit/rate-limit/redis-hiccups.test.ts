import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { ALGORITHMS } from '../../../lib/rate-limit/algorithms/registry.ts';
import { openLimiterMeter } from '../../../lib/rate-limit/open-meter.ts';
import { type SimulatedClient, SimulatedRedis } from './simulated-redis.ts';

// Four gateways with one Redis, and one client at six times its limit, in fake time.

const LIMIT = 100;
const WINDOW_MS = 2_000;
const GATEWAYS = 4;
const WINDOWS = 12;
const STEP_MS = 4;
const START = 1_790_000_000_000;

beforeEach(() => {
  jest.useFakeTimers({ now: START });
});
afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

/** Mulberry32. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Rig {
  readonly redis: SimulatedRedis;
  readonly clients: readonly SimulatedClient[];
  readonly random: () => number;
}

type Algorithm = 'sliding-window' | 'token-bucket';

/** How many passed in each window, while `hiccup` is called every few milliseconds. */
async function passedWith(algorithm: Algorithm, seed: number, hiccup: (rig: Rig, now: number) => void) {
  const random = randomOf(seed);
  jest.spyOn(Math, 'random').mockImplementation(random);
  const redis = new SimulatedRedis(ALGORITHMS[algorithm]);
  const clients = Array.from({ length: GATEWAYS }, () => redis.client());
  const meters = clients.map((client) =>
    openLimiterMeter(
      {
        algorithm,
        quotas: [{ limit: LIMIT, windowMs: WINDOW_MS, burst: LIMIT }],
        name: 'ip',
        maxKeys: 1_000,
        redis: client,
        prefix: 'hiccups:',
        storeTimeoutMs: 50,
        fallbackAfterMisses: 5,
        fallbackAfterMs: 1_000,
        onStoreError: 'local',
      },
      () => {},
    ),
  );
  await jest.advanceTimersByTimeAsync(500);
  const start = Date.now();
  const counts = Array<number>(WINDOWS).fill(0);
  let sent = 0;
  for (let ms = 0; ms < WINDOWS * WINDOW_MS; ms += STEP_MS) {
    hiccup({ redis, clients, random }, Date.now() - start);
    for (; sent < (ms * 6 * LIMIT) / WINDOW_MS; sent++) {
      const window = Math.floor(ms / WINDOW_MS);
      void Promise.resolve(meters[sent % GATEWAYS]!.take({ key: 'k', cost: 1, limit: undefined })).then(
        ({ allowed }) => {
          if (allowed) counts[window]! += 1;
        },
      );
    }
    await jest.advanceTimersByTimeAsync(STEP_MS);
  }
  const closing = Promise.all(meters.map((meter) => meter.close()));
  redis.pausedUntil = 0;
  await jest.advanceTimersByTimeAsync(2_000);
  await closing;
  // The first window of a bucket has a full one, and what is refilled meanwhile.
  const [, ...others] = counts;
  return { others, mean: others.reduce((sum, count) => sum + count) / others.length };
}

const SEEDS = [1, 2];

describe.each(['sliding-window', 'token-bucket'] as const)('%s', (algorithm) => {
  test('Redis replies late to one gateway at a time: requests that pass meanwhile are charged afterwards', async () => {
    for (const seed of SEEDS) {
      const { others, mean } = await passedWith(algorithm, seed, ({ clients, random }, now) => {
        if (now % 400 !== 0) return;
        clients[Math.floor(random() * GATEWAYS)]!.stalledUntil = Date.now() + 100 + random() * 250;
      });
      expect(mean).toBeLessThanOrEqual(1.02 * LIMIT);
      expect(mean).toBeGreaterThanOrEqual(0.95 * LIMIT);
      expect(Math.max(...others)).toBeLessThanOrEqual(1.1 * LIMIT);
    }
  });

  test('Redis is killed and started again, with all counts lost', async () => {
    for (const seed of SEEDS) {
      let [killAt, startAt] = [2_000, 0];
      const { others, mean } = await passedWith(algorithm, seed, ({ redis, random }, now) => {
        if (redis.isUp && now >= killAt) {
          redis.kill();
          startAt = now + 40 + random() * 600;
        } else if (!redis.isUp && now >= startAt) {
          redis.start();
          killAt = now + 1_500 + random() * 3_000;
        }
      });
      expect(Math.max(...others)).toBeLessThanOrEqual(1.05 * LIMIT);
      expect(mean).toBeGreaterThanOrEqual(0.9 * LIMIT);
    }
  });

  test('Redis is killed and started again, and is late for all or for one of the gateways in between', async () => {
    for (const seed of SEEDS) {
      let [killAt, startAt] = [2_000, 0];
      const { others, mean } = await passedWith(algorithm, seed, ({ redis, clients, random }, now) => {
        if (redis.isUp && now >= killAt) {
          redis.kill();
          startAt = now + 40 + random() * 600;
        } else if (!redis.isUp && now >= startAt) {
          redis.start();
          killAt = now + 1_500 + random() * 3_000;
        }
        if (random() < 0.006) redis.pausedUntil = Date.now() + 30 + random() * 300;
        if (random() < 0.02) clients[Math.floor(random() * GATEWAYS)]!.stalledUntil = Date.now() + 20 + random() * 400;
      });
      expect(mean).toBeLessThanOrEqual(1.03 * LIMIT);
      expect(mean).toBeGreaterThanOrEqual(0.85 * LIMIT);
      expect(Math.max(...others)).toBeLessThanOrEqual(1.2 * LIMIT);
    }
  });
});
