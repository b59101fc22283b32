import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import type { AlgorithmName, IpRateLimitOptions } from 'expressway';
import { ERRORS_IN_A_ROW } from '../../lib/rate-limit/fallback/store-breaker.ts';
import { Cleanup } from '../support/gateway.ts';
import { askLimiter, limiterGateway } from '../support/limiter-load.ts';
import { describeWithRedis } from '../support/redis.ts';
import { eventually } from '../support/servers.ts';

// Another program uses the same Redis, and the same keys: its data stay, and limits hold.

/** So long that a busy machine does not decide what is counted where. */
const TIMEOUT_MS = 5_000;
const LIMIT = 40;

/** Where each algorithm counts the client 192.0.2.1. */
const KEYS_OF: Readonly<Record<AlgorithmName, string>> = {
  'sliding-window': '{192.0.2.1}s3600000',
  'token-bucket': '{192.0.2.1}b3600000',
  'fixed-window': '192.0.2.1',
};

const cleanup = new Cleanup();
let emitted: jest.SpiedFunction<typeof process.emitWarning>;
beforeEach(() => {
  emitted = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
});
afterEach(async () => {
  emitted.mockRestore();
  await cleanup.run();
});

const warnings = (): string[] =>
  emitted.mock.calls
    .filter(([, options]) => (options as { code?: string } | undefined)?.code === 'WARN_EXPRESSWAY_REDIS_KEY')
    .map(([message]) => String(message));

describeWithRedis('a key of the limiter that holds something else', (redis) => {
  const holds = new Map<string, readonly [set: readonly string[], get: readonly string[], value: unknown]>([
    ['a hash', [['HSET', 'a', 'b'], ['HGET', 'a'], 'b']],
    ['text', [['SET', 'text'], ['GET'], 'text']],
  ]);
  const cases = Object.entries(KEYS_OF).flatMap(([algorithm, key]) =>
    [...holds.keys()].flatMap((what) => [
      [algorithm, key, what, 'an expiry'],
      [algorithm, key, what, 'no expiry'],
    ]),
  ) as [AlgorithmName, string, string, string][];
  const at = (key: string, [name = '', ...args]: readonly string[]) => redis.command(name, key, ...args);
  const limiterOf = async (options: IpRateLimitOptions) => {
    await redis.flush();
    const gateway = await limiterGateway({ redis: redis.url, storeTimeoutMs: TIMEOUT_MS, ...options }, cleanup);
    return { ...gateway, left: async (from: string) => (await askLimiter(gateway.url, from, LIMIT)).left };
  };

  test.each(cases)(
    '%s, %s: %s with %s stays as it is, and its client is counted here, all others in Redis',
    async (algorithm, key, what, expiry) => {
      const { left, changes, limiter } = await limiterOf({ algorithm });
      expect(await left('192.0.2.2')).toBe(LIMIT - 1);
      const bad = `expressway:rl:ip:${key}`;
      const [set, get, value] = holds.get(what) as NonNullable<ReturnType<typeof holds.get>>;
      await at(bad, set);
      if (expiry === 'an expiry') await redis.command('PEXPIRE', bad, '600000');
      const seen: number[] = [];
      for (let i = 0; i < 2 * ERRORS_IN_A_ROW; i += 1) seen.push(await left('192.0.2.1'));
      expect(seen).toEqual(seen.map((_, i) => LIMIT - 1 - i));
      expect(await at(bad, get)).toBe(value);
      expect([changes, limiter.mode]).toEqual([[], 'redis']);
      expect(await left('192.0.2.2')).toBe(LIMIT - 2);
      await eventually('a warning', () => warnings().length > 0);
      expect(warnings()).toEqual([expect.stringContaining(`the key "${bad}" in Redis holds something else`)]);
    },
  );

  test('what its client had while Redis was away is reported nowhere, and keeps no other client from being reported', async () => {
    const { left, limiter } = await limiterOf({});
    for (const from of ['192.0.2.1', '192.0.2.2']) expect(await left(from)).toBe(LIMIT - 1);
    await redis.command('ACL', 'SETUSER', 'default', '-evalsha', '-eval');
    await eventually('Redis counts as away', async () => {
      await left('192.0.2.3');
      return limiter.mode === 'local';
    });
    for (const from of ['192.0.2.1', '192.0.2.2']) expect(await left(from)).toBe(LIMIT - 2);
    const bad = `expressway:rl:ip:${KEYS_OF['sliding-window']}`;
    await redis.command('DEL', bad);
    await redis.command('HSET', bad, 'a', 'b');
    await redis.command('ACL', 'SETUSER', 'default', '+@all');
    await eventually('it counts in Redis again', () => limiter.mode === 'redis');
    const other = bad.replace('192.0.2.1', '192.0.2.2');
    await eventually('the other one is reported', async () => / 2 0$/.test(String(await redis.command('GET', other))));
    expect(await redis.command('HGET', bad, 'a')).toBe('b');
    expect(limiter.mode).toBe('redis');
  });

  test('with leases, it stays as it is as well', async () => {
    const { left, changes, limiter } = await limiterOf({ lease: true });
    const bad = `expressway:rl:ip:${KEYS_OF['sliding-window']}`;
    await redis.command('HSET', bad, 'a', 'b');
    const seen: number[] = [];
    for (let i = 0; i < LIMIT; i += 1) seen.push(await left('192.0.2.1'));
    expect(seen).toEqual(seen.map((_, i) => LIMIT - 1 - i));
    expect([await redis.command('HGET', bad, 'a'), changes, limiter.mode]).toEqual(['b', [], 'redis']);
  });

  test('of several windows, the warning names the one', async () => {
    const bad = 'expressway:rl:ip:{192.0.2.1}s3600000';
    const { left } = await limiterOf({ limit: undefined, windowMs: undefined, windows: '100/1m, 1000/1h' });
    await redis.command('HSET', bad, 'a', 'b');
    await left('192.0.2.1');
    await eventually('a warning', () => warnings().length > 0);
    expect(warnings()).toEqual([expect.stringContaining(`"${bad}"`)]);
    expect(await redis.command('EXISTS', bad.replace('3600000', '60000'))).toBe(0);
  });

  test('as the key of the gateways: the limiter counts here, and its warning and its error name the key', async () => {
    await redis.flush();
    await redis.command('HSET', 'expressway:rl:ip:{gateways}', 'a', 'b');
    const { limiter, changes } = await limiterGateway({ redis: redis.url, storeTimeoutMs: TIMEOUT_MS }, cleanup);
    await eventually('it counts here', () => limiter.mode === 'local');
    await eventually('a warning', () => warnings().length > 0);
    const named = 'the key "expressway:rl:ip:{gateways}" in Redis holds something else';
    expect(warnings()).toEqual([expect.stringContaining(named)]);
    expect(changes[0]?.error?.message).toContain(named);
    await redis.command('DEL', 'expressway:rl:ip:{gateways}');
    await eventually('it counts in Redis', () => limiter.mode === 'redis');
  });
});
