import { afterEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import { type Options, rateLimit } from 'express-rate-limit';
import supertest from 'supertest';
import { type RateLimitStoreOptions, rateLimitStore } from '../../../lib/rate-limit/rate-limit-store.ts';
import { Cleanup } from '../../support/gateway.ts';
import { listen } from '../../support/servers.ts';
import { FakeRedisClient } from './fake-redis-client.ts';

const ALGORITHMS = ['sliding-window', 'token-bucket', 'fixed-window'] as const;
const cleanup = new Cleanup();
afterEach(async () => {
  await cleanup.run();
  jest.useRealTimers();
});

async function appWith(options: Partial<Options>, storeOptions?: RateLimitStoreOptions) {
  const store = cleanup.add(rateLimitStore(storeOptions));
  const logger = { warn: jest.fn(), error: jest.fn() };
  const limiter = rateLimit({ store, standardHeaders: 'draft-7', legacyHeaders: false, logger, ...options });
  const app = express()
    .use(limiter)
    .use((_req, res) => void res.send('ok'))
    .use((error: Error, _req: unknown, res: express.Response, _next: unknown) => {
      res.status(500).send(error.message);
    });
  const { server } = cleanup.add(await listen(app));
  return { store, limiter, logger, get: () => supertest(server).get('/') };
}

describe('rateLimitStore() under plain express-rate-limit', () => {
  test.each(ALGORITHMS)('%s counts up to the limit', async (algorithm) => {
    const { get, logger, store } = await appWith({ limit: 3, windowMs: 60_000 }, { algorithm });
    const answers = [await get(), await get(), await get(), await get()];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429]);
    expect(answers.map(({ headers }) => /remaining=(\d+)/.exec(headers.ratelimit as string)?.[1])).toEqual([
      '2',
      '1',
      '0',
      '0',
    ]);
    expect(Number(answers[3]?.headers['retry-after'])).toBeGreaterThan(10);
    expect(logger.error).not.toHaveBeenCalled();
    expect(logger.warn).not.toHaveBeenCalled();
    expect(store.mode).toBe('memory');
    await store.resetKey('127.0.0.1');
    await store.resetKey('::ffff:127.0.0.1');
  });

  test('a refused request costs nothing, and the wait is the true one', async () => {
    jest.useFakeTimers();
    const store = rateLimitStore({ algorithm: 'token-bucket', burst: 2 });
    store.init?.({ limit: 60, windowMs: 60_000 } as Options);
    for (let i = 0; i < 50; i++) await store.increment('k');
    const { totalHits, resetTime } = await store.increment('k');
    expect(totalHits).toBe(61);
    jest.setSystemTime(resetTime as Date);
    expect((await store.increment('k')).totalHits).toBeLessThanOrEqual(60);
    await store.resetKey('k');
    expect((await store.increment('k')).totalHits).toBe(59);
    store.close();
  });

  test.each(ALGORITHMS)(
    '%s: getKey() says how a client stands, counts nothing, and knows no client that has not come',
    async (algorithm) => {
      const { limiter, get } = await appWith({ limit: 3, windowMs: 60_000 }, { algorithm });
      expect(await limiter.getKey('127.0.0.1')).toBeUndefined();
      await get();
      await get();
      for (let i = 0; i < 5; i++) expect(await limiter.getKey('127.0.0.1')).toMatchObject({ totalHits: 2 });
      expect(Number((await limiter.getKey('127.0.0.1'))?.resetTime)).toBeGreaterThan(Date.now());
      for (let i = 0; i < 3; i++) await get();
      expect((await limiter.getKey('127.0.0.1'))?.totalHits).toBeGreaterThanOrEqual(3);
      await limiter.resetKey('127.0.0.1');
      expect(await limiter.getKey('127.0.0.1')).toBeUndefined();
      expect((await get()).status).toBe(200);
    },
  );

  test.each(ALGORITHMS)('%s: resetAll() forgets every client', async (algorithm) => {
    const { store, get } = await appWith({ limit: 1, windowMs: 60_000 }, { algorithm });
    expect([(await get()).status, (await get()).status]).toEqual([200, 429]);
    store.resetAll?.();
    expect((await get()).status).toBe(200);
  });

  test.each([0, -1, 0.5])('limit: %p refuses every request, as with the store of express-rate-limit', async (limit) => {
    const { limiter, get, logger } = await appWith({ limit, windowMs: 60_000 });
    const answers = [await get(), await get()];
    expect(answers.map(({ status }) => status)).toEqual([429, 429]);
    expect(answers[0]?.headers['retry-after']).toBe('60');
    await limiter.resetKey('127.0.0.1');
    expect(await limiter.getKey('127.0.0.1')).toBeUndefined();
    expect(logger.error).not.toHaveBeenCalled();
  });

  test('a limit that is no integer is rounded down', async () => {
    const { get } = await appWith({ limit: 1.9, windowMs: 60_000 });
    expect([(await get()).status, (await get()).status]).toEqual([200, 429]);
  });

  test('every other option of express-rate-limit works as with its own store', async () => {
    const { limiter, get } = await appWith({
      max: 1,
      statusCode: 418,
      message: () => 'slow down',
      legacyHeaders: true,
      requestPropertyName: 'mine',
      keyGenerator: () => 7 as never,
      skip: (req) => req.headers['x-skip'] === '1',
      passOnStoreError: true,
    });
    expect((await get().set('x-skip', '1')).status).toBe(200);
    const [first, second] = [await get(), await get()];
    expect([first.status, first.headers['x-ratelimit-remaining']]).toEqual([200, '0']);
    expect([second.status, second.text]).toEqual([418, 'slow down']);
    expect(await limiter.getKey(7 as never)).toMatchObject({ totalHits: 1 });
    await limiter.resetKey(7 as never);
    expect((await get()).status).toBe(200);
  });

  test('init() with the same numbers keeps the counts; with others, every request is an error', async () => {
    const { store, get } = await appWith({ limit: 1, windowMs: 60_000 });
    await get();
    store.init?.({ limit: 1, windowMs: 60_000 } as Options);
    expect((await get()).status).toBe(429);
    store.init?.({ limit: 2, windowMs: 60_000 } as Options);
    expect(await get()).toMatchObject({
      status: 500,
      text: expect.stringContaining('one store serves one rateLimit()'),
    });
  });

  test('two stores of different names in one Redis count one request without a complaint', async () => {
    const redis = new FakeRedisClient();
    const logger = { warn: jest.fn(), error: jest.fn() };
    const app = express();
    for (const name of ['one', 'two']) {
      const store = cleanup.add(rateLimitStore({ redis, name, algorithm: 'fixed-window' }));
      expect([store.localKeys, store.prefix, store.resetAll]).toEqual([false, `expressway:rl:${name}:`, undefined]);
      app.use(rateLimit({ store, limit: 5, logger }));
    }
    await supertest(app).get('/');
    expect(logger.error).not.toHaveBeenCalled();
    expect(logger.warn).not.toHaveBeenCalled();
  });

  test.each([
    ['a function as limit', { limit: () => 3 }, 'limit must be a number'],
    ['skipFailedRequests', { skipFailedRequests: true }, 'cannot be taken back'],
    ['skipSuccessfulRequests', { skipSuccessfulRequests: true }, 'cannot be taken back'],
    ['a window out of range', { windowMs: 2 ** 35 }, 'windowMs must be'],
  ])('%s makes every request an error that says so', async (_name, options, message) => {
    const { get } = await appWith(options);
    const { status, text } = await get();
    expect([status, text]).toEqual([500, expect.stringContaining(message)]);
  });

  test('refuses options that it would not keep to', () => {
    const problemsOf = (options: object) => () => rateLimitStore(options);
    expect(problemsOf({ limit: 5 })).toThrow('"limit" is not an option of a store');
    expect(problemsOf({ key: () => 'k' })).toThrow('"key" is not an option of a store');
    expect(problemsOf({ prefix: 'p' })).toThrow('unknown option "prefix": use keyPrefix');
    expect(problemsOf({ redist: 'p' })).toThrow('unknown option "redist": did you mean "redis"?');
  });

  test('checks its own options at once', () => {
    expect(() => rateLimitStore({ algorithm: 'leaky' as never })).toThrow('algorithm must be one of');
    expect(() => rateLimitStore({ burst: 5 })).toThrow('burst is for the algorithm token-bucket');
  });
});

describe('rateLimitStore() without Redis', () => {
  const down = (onStoreError: 'local' | 'open' | 'closed') => {
    const redis = new FakeRedisClient();
    redis.isReady = false;
    const store = cleanup.add(rateLimitStore({ redis, onStoreError, fallbackAfterMisses: 1, fallbackAfterMs: 0 }));
    const app = express()
      .use(rateLimit({ store, limit: 1, windowMs: 60_000, standardHeaders: 'draft-7', validate: false }))
      .use((_req, res) => void res.send('ok'));
    return { store, get: () => supertest(app).get('/') };
  };

  test.each([
    ['local', [200, 429]],
    ['open', [200, 200]],
    ['closed', [503, 503]],
  ] as const)('%s', async (onStoreError, statuses) => {
    const { store, get } = down(onStoreError);
    const error = jest.spyOn(console, 'error').mockImplementation(() => {});
    const answers = [await get(), await get()];
    error.mockRestore();
    expect(answers.map(({ status }) => status)).toEqual(statuses);
    expect(store.mode).toBe(onStoreError);
    if (onStoreError === 'open') expect(await store.get?.('127.0.0.1')).toBeUndefined();
    if (onStoreError === 'closed') expect(answers[0]?.headers['retry-after']).toBe('1');
  });
});

describe('rateLimitStore() by itself', () => {
  const open = (options: Partial<Options>, storeOptions?: RateLimitStoreOptions) => {
    const store = rateLimitStore(storeOptions);
    store.init?.({ windowMs: 60_000, ...options } as Options);
    return store;
  };

  test.each([0, 0.5, -1])('with the limit %d counts one, which is over it, for a whole window', async (limit) => {
    jest.useFakeTimers({ now: 1_790_000_000_000 });
    const store = open({ limit });
    expect(await store.increment('k')).toEqual({ totalHits: 1, resetTime: new Date(1_790_000_060_000) });
    expect(await store.get?.('k')).toBeUndefined();
    // The same rateLimit() may be made again, another may not.
    store.init?.({ limit, windowMs: 60_000 } as Options);
    expect((await store.increment('k')).totalHits).toBe(1);
  });

  test.each<[Partial<Options>, Partial<Options>]>([
    [{ limit: 0 }, { limit: 1 }],
    [{ limit: 0 }, { limit: 0, windowMs: 1_000 }],
    [{ limit: 5 }, { limit: 0 }],
    [{ limit: 5 }, { limit: 6 }],
    [{ limit: 5 }, { limit: 5, windowMs: 1_000 }],
  ])('of one rateLimit() with %j is not for another with %j', async (first, second) => {
    const store = open(first);
    store.init?.({ windowMs: 60_000, ...second } as Options);
    await expect(store.increment('k')).rejects.toThrow('one store serves one rateLimit()');
    await expect(store.get?.('k')).rejects.toThrow('one store serves one rateLimit()');
  });

  test('is of use after init() only', async () => {
    await expect(rateLimitStore().increment('k')).rejects.toThrow('init() was not called');
    expect(() => rateLimitStore().shutdown?.()).not.toThrow();
  });

  test('returns the hits of a client, and undefined for a client that has spent nothing', async () => {
    const store = open({ limit: 5 });
    expect(await store.get?.('k')).toBeUndefined();
    await store.increment('k');
    await store.increment('k');
    expect((await store.get?.('k'))?.totalHits).toBe(2);
    expect((await store.get?.('k'))?.totalHits).toBe(2);
  });

  test('tells its listeners and its user when Redis is lost; closed, requests are rejected with an error that says so', async () => {
    jest.useFakeTimers();
    const redis = new FakeRedisClient();
    const store = open({ limit: 5 }, { redis, onStoreError: 'closed', name: 'login' });
    const seen: unknown[] = [];
    store.events.on('limiterModeChange', ({ limiter, from, to }) => seen.push([limiter, from, to, store.mode]));
    expect(store.mode).toBe('redis');
    redis.lose();
    await expect(store.increment('k')).rejects.toMatchObject({
      name: 'LimiterUnavailableError',
      code: 'ERR_EXPRESSWAY_LIMITER_UNAVAILABLE',
      status: 503,
      headers: { 'Retry-After': '1', 'Cache-Control': 'no-store' },
    });
    expect(seen).toEqual([['login', 'redis', 'closed', 'closed']]);
    store.close();
  });

  test('open, requests pass uncounted while Redis is away', async () => {
    const redis = new FakeRedisClient();
    const store = open({ limit: 5 }, { redis, onStoreError: 'open' });
    redis.lose();
    for (let request = 0; request < 9; request += 1)
      expect(await store.increment('k')).toEqual({ totalHits: 1, resetTime: undefined });
    store.close();
  });

  test('does not take hits back', async () => {
    await expect(open({ limit: 5 }).decrement('k')).rejects.toMatchObject({ code: 'ERR_EXPRESSWAY_OPTIONS' });
  });

  test('is shut down by express-rate-limit, and lets its client in Redis be', async () => {
    jest.useFakeTimers();
    const redis = new FakeRedisClient();
    const store = open({ limit: 5 }, { redis });
    const listeners = redis.listenerCount('error');
    expect(listeners).toBeGreaterThan(0);
    store.shutdown?.();
    await jest.advanceTimersByTimeAsync(2_000);
    expect(redis.listenerCount('error')).toBe(0);
  });
});
