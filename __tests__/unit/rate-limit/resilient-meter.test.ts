import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { LimiterMeter } from '../../../lib/rate-limit/limiter-meter.ts';
import { openLimiterMeter } from '../../../lib/rate-limit/open-limiter-meter.ts';
import { FakeRedisClient } from './fake-redis-client.ts';

const LIMIT = 1_000;
const SETTINGS = {
  algorithm: 'fixed-window',
  quotas: [{ limit: LIMIT, windowMs: 60_000, burst: LIMIT }],
  name: 'ip',
  maxKeys: 1_000,
  prefix: 'rl:ip:',
  storeTimeoutMs: 50,
} as const;

describe('the meter with Redis', () => {
  let client: FakeRedisClient;
  let meter: LimiterMeter;
  let changes: string[];

  beforeEach(() => {
    jest.useFakeTimers();
    client = new FakeRedisClient();
    changes = [];
  });
  afterEach(() => {
    meter.close();
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });

  async function open(): Promise<void> {
    meter = openLimiterMeter({ ...SETTINGS, redis: client }, (from, to, error) =>
      changes.push(`${from} -> ${to}${error ? `: ${error.message}` : ''}`),
    );
    await jest.advanceTimersByTimeAsync(0);
  }

  const hit = async () => {
    const { standings } = await meter.take({ key: 'k', cost: 1, limit: undefined });
    return LIMIT - (standings[0]?.remaining ?? Number.NaN);
  };

  /** Counts one hit; says also how long that took. */
  async function timedHit(): Promise<[hits: number, ms: number]> {
    const start = Date.now();
    const hitting = hit().then((hits) => [hits, Date.now() - start] as [number, number]);
    await jest.advanceTimersByTimeAsync(60);
    return hitting;
  }

  test('counts in Redis, under its prefix', async () => {
    await open();
    expect([await hit(), await hit()]).toEqual([1, 2]);
    expect(client.hits).toEqual(new Map([['rl:ip:k', 2]]));
    expect(meter.mode).toBe('redis');
    expect(changes).toEqual([]);
  });

  test('counts here while Redis is down at the start, then shares without help', async () => {
    client.isReady = false;
    await open();
    expect([await hit(), await hit()]).toEqual([1, 2]);
    expect(meter.mode).toBe('local');
    client.regain();
    await jest.advanceTimersByTimeAsync(0);
    expect(meter.mode).toBe('redis');
    expect(await hit()).toBe(1);
    expect(changes).toEqual(['redis -> local: Redis is not connected', 'local -> redis']);
  });

  test('tells of a lost connection even when there are no requests', async () => {
    await open();
    client.lose();
    client.emit('error', new Error('connect ECONNREFUSED'));
    expect(meter.mode).toBe('local');
    expect(changes).toEqual(['redis -> local: Socket closed unexpectedly']);
  });

  test('lets errors of a client that still works alone', async () => {
    await open();
    client.emit('error', new Error('some push message'));
    expect(meter.mode).toBe('redis');
  });

  test('a silent Redis costs one deadline for the requests under way, and nothing for the rest', async () => {
    await open();
    client.mood = 'silent';
    const underWay = await Promise.all([timedHit(), timedHit(), timedHit()]);
    expect(underWay.map(([hits]) => hits).sort()).toEqual([1, 2, 3]);
    for (const [, ms] of underWay) expect(ms).toBeLessThanOrEqual(51);
    for (let i = 0; i < 10; i++) expect((await timedHit())[1]).toBe(0);
    expect(client.increments).toBe(3);
    expect(changes).toEqual(['redis -> local: no reply from the store within 50 ms']);
  });

  test('asks a silent Redis less and less often', async () => {
    await open();
    client.mood = 'silent';
    let slow = 0;
    for (let second = 0; second < 60; second++) {
      for (let i = 0; i < 10; i++) {
        if ((await timedHit())[1] > 0) slow++;
        await jest.advanceTimersByTimeAsync(40);
      }
    }
    expect(slow).toBe(6);
    expect(changes).toHaveLength(1);
  });

  test('shares again a second after the silence began, however long the pause was, and ignores the late count', async () => {
    await open();
    client.mood = 'silent';
    await timedHit();
    await jest.advanceTimersByTimeAsync(1_000);
    await timedHit();
    expect(meter.mode).toBe('local');
    client.answerLate();
    await jest.advanceTimersByTimeAsync(1_000);
    expect(await hit()).toBe(3);
    expect(meter.mode).toBe('redis');
    expect(changes).toHaveLength(2);
  });

  test('shares again at once when the client has a new connection, however long the pause was', async () => {
    await open();
    client.mood = 'silent';
    for (let i = 0; i < 4; i++) {
      await jest.advanceTimersByTimeAsync(8_000);
      await timedHit();
    }
    client.lose();
    client.regain();
    await jest.advanceTimersByTimeAsync(0);
    expect(meter.mode).toBe('redis');
  });

  test('keeps a Redis that is always too slow out of the way, but for one request a second', async () => {
    await open();
    const slow = client.sendCommand.bind(client);
    client.sendCommand = (args) => new Promise((resolve) => setTimeout(() => resolve(slow(args)), 55));
    let costly = 0;
    for (let i = 0; i < 100; i++) {
      if ((await timedHit())[1] > 0) costly++;
      await jest.advanceTimersByTimeAsync(40);
    }
    expect(costly).toBeGreaterThanOrEqual(8);
    expect(costly).toBeLessThanOrEqual(10);
    expect(changes).toHaveLength(1);
    await jest.advanceTimersByTimeAsync(100);
  });

  test.each(['READONLY', 'LOADING', 'OOM', 'NOAUTH', 'MISCONF', 'BUSY'])(
    'survives %s, and is back a second after it ends',
    async (code) => {
      await open();
      client.mood = new Error(`${code} reply`);
      for (let i = 0; i < 100; i++) {
        await hit();
        await jest.advanceTimersByTimeAsync(95);
      }
      expect(client.increments).toBeLessThanOrEqual(1);
      expect(client.sent.length).toBeLessThan(40);
      client.mood = 'well';
      await jest.advanceTimersByTimeAsync(1_000);
      expect(await hit()).toBe(1);
      expect(changes).toEqual([`redis -> local: ${code} reply`, 'local -> redis']);
    },
  );

  test('recovers from a script load that failed', async () => {
    client.mood = new Error('LOADING');
    await open();
    expect(meter.mode).toBe('local');
    await hit();
    client.mood = 'well';
    await jest.advanceTimersByTimeAsync(1_000);
    expect(await hit()).toBe(1);
    expect(meter.mode).toBe('redis');
  });

  test('counts a hit once however often the script is lost, and gives up at some point', async () => {
    await open();
    const { sendCommand } = client;
    let losses = 5;
    client.sendCommand = async (args) => {
      if (args[0] === 'EVALSHA' && losses-- > 0) throw new Error('NOSCRIPT No matching script');
      return sendCommand.call(client, args);
    };
    expect([await hit(), await hit()]).toEqual([1, 2]);
    expect(changes).toEqual([]);
    losses = Number.POSITIVE_INFINITY;
    expect(await hit()).toBe(1);
    expect(changes).toEqual(['redis -> local: NOSCRIPT No matching script']);
  });

  test('does not take a reply without a number for a count', async () => {
    await open();
    client.sendCommand = async ([command]) => (command === 'SCRIPT' ? 'sha' : ['many', 60_000]);
    expect([await hit(), await hit()]).toEqual([1, 2]);
    expect(changes).toEqual(['redis -> local: Redis gave no count']);
  });

  test('counts each window of its own anew when Redis comes and goes', async () => {
    await open();
    for (let round = 0; round < 3; round++) {
      await hit();
      client.lose();
      await hit();
      client.regain();
      await jest.advanceTimersByTimeAsync(0);
    }
    expect(client.hits.get('rl:ip:k')).toBe(3);
    expect(await hit()).toBe(4);
    expect(changes).toHaveLength(6);
  });

  test('forgets a key in both places, and says when Redis was not told', async () => {
    await open();
    await hit();
    await meter.reset('k');
    expect(await hit()).toBe(1);
    client.lose();
    await hit();
    await expect(meter.reset('k')).rejects.toThrow('no connection to Redis');
    expect(await hit()).toBe(1);
  });
});
