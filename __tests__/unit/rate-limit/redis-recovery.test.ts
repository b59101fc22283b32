import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { LimiterMeter } from '../../../lib/rate-limit/meter.ts';
import { type LimiterMeterSettings, openLimiterMeter } from '../../../lib/rate-limit/open-meter.ts';
import { SharedRedis } from '../../../lib/rate-limit/redis/shared-redis.ts';
import { FakeRedisClient } from './fake-redis-client.ts';

const TIMEOUT_MS = 50;
const ATONCE = { fallbackAfterMisses: 1, fallbackAfterMs: 0 };
const SLOW = { fallbackAfterMisses: 3, fallbackAfterMs: 1_000 };
/** Until a gateway that has just started beats at its usual pace, of 3 s. */
const SETTLED_MS = 4_000;

let client: FakeRedisClient;
let meter: LimiterMeter;
let changes: string[];

beforeEach(() => {
  jest.useFakeTimers();
  // Beats are at equal distances.
  jest.spyOn(Math, 'random').mockReturnValue(0.5);
  client = new FakeRedisClient();
  changes = [];
});
afterEach(async () => {
  const closing = meter.close();
  await jest.advanceTimersByTimeAsync(1_100);
  await closing;
  expect(jest.getTimerCount()).toBe(0);
  jest.restoreAllMocks();
  jest.useRealTimers();
});

async function open(limit: number, more: Partial<LimiterMeterSettings> = {}): Promise<void> {
  const settings = {
    algorithm: 'fixed-window',
    quotas: [{ limit, windowMs: 60_000, burst: limit }],
    name: 'ip',
    maxKeys: 1_000,
    prefix: 'rl:ip:',
    storeTimeoutMs: TIMEOUT_MS,
    onStoreError: 'local',
    ...ATONCE,
    ...more,
  } as const;
  meter = openLimiterMeter({ redis: client, ...settings }, (from, to, error) =>
    changes.push(`${from} -> ${to}${error ? `: ${error.message}` : ''}`),
  );
  await jest.advanceTimersByTimeAsync(0);
}

const take = (key = 'k') => meter.take({ key, cost: 1, limit: undefined });

/** Whether a request passes that waits for as long as it has to. */
async function passes(key = 'k'): Promise<boolean> {
  const asked = Promise.resolve(take(key));
  await jest.advanceTimersByTimeAsync(TIMEOUT_MS + 10);
  return (await asked).allowed;
}

async function passing(requests: number): Promise<number> {
  let passed = 0;
  for (let i = 0; i < requests; i++) if ((await take()).allowed) passed++;
  return passed;
}

/** The connection is there again, and Redis answers nothing yet. */
async function regainSilent(): Promise<void> {
  client.mood = 'silent';
  client.isReady = true;
  client.emit('ready');
  await jest.advanceTimersByTimeAsync(0);
}

describe('the error that Redis failed with', () => {
  test('is known for as long as the fallback decides', async () => {
    await open(10);
    expect(meter.storeError).toBeUndefined();
    client.lose(new Error('read ECONNRESET'));
    expect(meter.storeError?.message).toBe('read ECONNRESET');
    client.regain();
    await jest.advanceTimersByTimeAsync(0);
    expect(meter.storeError).toBeUndefined();
    client.mood = new Error('OOM');
    for (let i = 0; i < 5; i++) await take();
    expect(meter.storeError?.message).toBe('OOM');
  });

  test('of a client whose connection ended without an error says just that', async () => {
    await open(10);
    client.isReady = false;
    expect(await passes()).toBe(true);
    expect(changes).toEqual(['redis -> local: Redis is not connected']);
  });
});

describe('while Redis is away', () => {
  test('each decision is made at once, also while a new connection is tried', async () => {
    await open(10);
    client.lose();
    expect(take()).not.toBeInstanceOf(Promise);
    await regainSilent();
    expect(take()).not.toBeInstanceOf(Promise);
    client.answerLate();
    await jest.advanceTimersByTimeAsync(0);
    expect(await take()).toMatchObject({ quotaStates: [{ remaining: 7 }] });
  });

  test('a trial of a connection that was lost says nothing of the next one', async () => {
    await open(10);
    client.lose();
    await regainSilent();
    client.lose();
    client.fail(new Error('Socket closed unexpectedly'));
    await regainSilent();
    expect(take()).not.toBeInstanceOf(Promise);
    client.answerLate();
  });

  test('the first request connects a client that its app could not connect', async () => {
    client.isOpen = client.isReady = false;
    await open(10);
    client.lose(new Error('connect ECONNREFUSED'));
    expect(client.connects).toBe(0);
    expect(await passes()).toBe(true);
    expect(client.connects).toBe(1);
  });

  test('a clock that is set back delays the next trial by as much, and no more', async () => {
    await open(10);
    await jest.advanceTimersByTimeAsync(SETTLED_MS);
    client.mood = 'silent';
    await passes();
    client.mood = 'well';
    jest.setSystemTime(Date.now() - 500);
    await jest.advanceTimersByTimeAsync(1_400);
    expect(meter.mode).toBe('local');
    await jest.advanceTimersByTimeAsync(200);
    expect(meter.mode).toBe('redis');
  });
});

describe('late replies', () => {
  test('give the fallback the hits of other gateways, also in a pause', async () => {
    for (const rule of [ATONCE, SLOW]) {
      await open(10, rule);
      client.hits.set('rl:ip:k', 7);
      client.mood = 'silent';
      expect(await passes()).toBe(true);
      client.answerLate();
      await jest.advanceTimersByTimeAsync(0);
      client.mood = 'silent';
      expect([await passes(), await passes(), await passes()]).toEqual([true, true, false]);
      client.answerLate();
      await meter.close();
      client = new FakeRedisClient();
    }
  });

  test('send it nothing of a client of which it owes Redis more', async () => {
    for (const rule of [ATONCE, SLOW]) {
      await open(3, rule);
      client.mood = 'silent';
      expect(await passes()).toBe(true);
      if (rule === SLOW) client.mood = new Error('TRYAGAIN');
      expect(await passes()).toBe(true);
      client.answerLate();
      await jest.advanceTimersByTimeAsync(0);
      client.mood = 'silent';
      expect([await passes(), await passes()]).toEqual([true, false]);
      client.answerLate();
      await meter.close();
      client = new FakeRedisClient();
    }
  });

  test.each(['open', 'closed'] as const)('harm no fallback that does not count (%s)', async (onStoreError) => {
    await open(3, { ...SLOW, onStoreError });
    client.mood = 'silent';
    expect(await passes()).toBe(onStoreError === 'open');
    client.answerLate();
    await jest.advanceTimersByTimeAsync(0);
    expect(await take()).toMatchObject({ allowed: true, quotaStates: [{ remaining: 1 }] });
  });

  test('hurry no beat while Redis is asked', async () => {
    await open(10, SLOW);
    await jest.advanceTimersByTimeAsync(SETTLED_MS);
    client.mood = 'silent';
    await passes();
    const { beats } = client;
    client.answerLate();
    await jest.advanceTimersByTimeAsync(500);
    expect(client.beats).toBe(beats);
  });
});

test('debts of one client do not affect another', async () => {
  await open(10);
  client.mood = new Error('TRYAGAIN');
  expect(await passes('owing')).toBe(true);
  client.mood = 'well';
  expect(await take('other')).toMatchObject({ allowed: true, quotaStates: [{ remaining: 9 }] });
  expect(await take('owing')).toMatchObject({ allowed: true, quotaStates: [{ remaining: 8 }] });
});

test('a limiter that joins the connection of others knows how many gateways there are before it has heard of one', async () => {
  client.isOpen = client.isReady = false;
  client.gateways = 4;
  const redis = new SharedRedis('redis://localhost', (async () => ({ createClient: () => client })) as never);
  await open(100, { redis, prefix: 'rl:first:' });
  client.regain();
  await jest.advanceTimersByTimeAsync(10);
  const first = meter;
  const opening = open(100, { redis });
  client.lose();
  await opening;
  expect(await passing(200)).toBe(25);
  await first.close();
  redis.close();
});

describe('a beat of the heart', () => {
  test('with a reply in time ends a row of late requests', async () => {
    await open(10, { fallbackAfterMisses: 2, fallbackAfterMs: 0 });
    await jest.advanceTimersByTimeAsync(SETTLED_MS);
    const { beats } = client;
    client.mood = 'silent';
    await passes();
    expect(client.beats).toBe(beats);
    client.answerLate();
    await jest.advanceTimersByTimeAsync(3_000);
    expect(client.beats).toBeGreaterThan(beats);
    client.mood = 'silent';
    await passes();
    expect(changes).toEqual([]);
    await passes();
    expect(changes).toHaveLength(1);
  });

  test('that gets an error is no failure by itself', async () => {
    await open(10);
    await jest.advanceTimersByTimeAsync(SETTLED_MS);
    client.mood = new Error('OOM');
    await jest.advanceTimersByTimeAsync(3_000);
    expect(changes).toEqual([]);
    await jest.advanceTimersByTimeAsync(12_000);
    expect(changes).toEqual(['redis -> local: OOM']);
  });

  test('comes as often as ever after a long silence', async () => {
    await open(10);
    client.mood = 'silent';
    await passes();
    await jest.advanceTimersByTimeAsync(20_000);
    client.mood = 'well';
    while (meter.mode === 'local') await jest.advanceTimersByTimeAsync(100);
    const { beats } = client;
    await jest.advanceTimersByTimeAsync(9_100);
    expect(client.beats - beats).toBeGreaterThanOrEqual(3);
  });
});

describe('a new connection', () => {
  test('that comes after a long silence begins with a short pause', async () => {
    await open(10);
    client.mood = 'silent';
    await passes();
    await jest.advanceTimersByTimeAsync(20_000);
    client.lose();
    client.regain();
    await jest.advanceTimersByTimeAsync(0);
    client.mood = 'silent';
    await passes();
    client.mood = 'well';
    await jest.advanceTimersByTimeAsync(1_000);
    expect(changes.slice(-2)).toEqual(['redis -> local: no reply from the store within 50 ms', 'local -> redis']);
  });

  test('that a request has found silent is not used before the pause is over, though it was answered meanwhile', async () => {
    client.isReady = false;
    await open(10);
    await regainSilent();
    expect(await passes()).toBe(true);
    client.answerLate();
    await jest.advanceTimersByTimeAsync(900);
    expect(changes).toHaveLength(1);
    await jest.advanceTimersByTimeAsync(100);
    expect(changes).toHaveLength(2);
  });

  test.each(['before', 'while'])(
    'tells a request that came %s it was tried how the client stands, for when Redis is away again',
    async (when) => {
      client.isReady = false;
      client.hits.set('rl:ip:k', 7);
      await open(10);
      let first = when === 'before' ? take() : undefined;
      await regainSilent();
      first ??= take();
      client.answerLate();
      expect(await first).toMatchObject({ quotaStates: [{ remaining: 2 }] });
      client.lose();
      expect(await passing(5)).toBe(2);
    },
  );

  test('that comes after others were forgotten gives no gateway more than its part at first', async () => {
    client.gateways = 4;
    await open(100);
    client.lose();
    await jest.advanceTimersByTimeAsync(15_000);
    client.gateways = 1;
    client.forgetsGateways = true;
    client.regain();
    await jest.advanceTimersByTimeAsync(0);
    expect(await passing(200)).toBe(25);
  });

  test('waits for other gateways no longer where the clock is set back', async () => {
    client.gateways = 4;
    await open(100);
    client.lose();
    client.gateways = 1;
    client.regain();
    await jest.advanceTimersByTimeAsync(0);
    jest.setSystemTime(Date.now() - 3_600_000);
    expect(await passing(200)).toBe(100);
  });

  test('of which the loss was not heard gives no gateway more than its part until the others are there', async () => {
    client.gateways = 4;
    await open(100);
    client.gateways = 1;
    client.forgetsGateways = true;
    client.emit('ready');
    expect(await passing(200)).toBe(25);
  });

  test.each(['open', 'closed'] as const)(
    'is used at once where the fallback does not count (%s)',
    async (onStoreError) => {
      client.gateways = 4;
      await open(10, { onStoreError });
      client.lose();
      client.gateways = 1;
      client.forgetsGateways = true;
      client.regain();
      await jest.advanceTimersByTimeAsync(0);
      expect(changes).toEqual([`redis -> ${onStoreError}: Socket closed unexpectedly`, `${onStoreError} -> redis`]);
      expect(await passing(12)).toBe(10);
    },
  );
});

describe('a meter that is closed', () => {
  test('takes itself off the count once, however often it is closed', async () => {
    await open(10);
    await meter.close();
    await meter.close();
    expect(client.sent.filter(([command]) => command === 'ZREM')).toHaveLength(1);
  });

  test.each(['silent', 'lost'])('has nothing to wait for when Redis is %s', async (how) => {
    await open(10);
    client.mood = 'silent';
    if (how === 'lost') client.lose();
    else await passes();
    const { length } = client.sent;
    expect(meter.close()).toBeUndefined();
    expect(client.sent).toHaveLength(length);
    expect(client.listenerCount('error')).toBe(0);
  });

  test('does not beat any more when a trial ends that was under way', async () => {
    client.mood = 'silent';
    await open(10);
    const closing = meter.close();
    client.answerLate();
    await closing;
    await jest.advanceTimersByTimeAsync(0);
    expect(client.sent.at(-1)?.[0]).toBe('ZREM');
  });

  test('neither connects its client nor asks it, even if requests and connections still come', async () => {
    client.isOpen = client.isReady = false;
    await open(10);
    await meter.close();
    expect(await passes()).toBe(true);
    expect(client.connects).toBe(0);
    client = new FakeRedisClient();
    await open(10);
    client.mood = 'silent';
    const closing = meter.close();
    client.emit('ready');
    await jest.advanceTimersByTimeAsync(TIMEOUT_MS + 20);
    await closing;
    expect(jest.getTimerCount()).toBe(0);
    expect(changes).toEqual([]);
  });
});
