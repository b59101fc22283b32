import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { RedisWindows } from '../../../lib/rate-limit/redis/redis-windows.ts';

const QUOTA = { limit: 3, windowMs: 1_000, burst: 3 };
const claim = { key: 'k', cost: 1, limit: undefined };

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

/** @param reply To the scripts of rate-limit-redis: hits, and milliseconds until the window ends. */
function windowsOf(reply: (script: number) => unknown) {
  const sent: { args: readonly string[]; key: string | undefined }[] = [];
  let scripts = 0;
  const send = async (args: readonly string[], key?: string) => {
    if (args[0] === 'SCRIPT') return `sha-${args[2]?.length}`;
    sent.push({ args, key });
    return args[0] === 'EVALSHA' ? reply(++scripts) : 1;
  };
  return { windows: new RedisWindows(send, 'p:', QUOTA), sent };
}

describe('fixed windows in Redis', () => {
  test.each<[number, number, number | undefined, object]>([
    [1, 900, undefined, { allowed: true, retryAfterMs: 0, quotaStates: [{ remaining: 2, resetMs: 900 }] }],
    [3, 900, undefined, { allowed: true, retryAfterMs: 0, quotaStates: [{ remaining: 0, resetMs: 900 }] }],
    [4, 900, undefined, { allowed: false, retryAfterMs: 900, quotaStates: [{ remaining: 0, resetMs: 900 }] }],
    [4, 900, 5, { allowed: true, retryAfterMs: 0, quotaStates: [{ remaining: 1, resetMs: 900 }] }],
    [1, 1_000, undefined, { allowed: true, retryAfterMs: 0, quotaStates: [{ remaining: 2, resetMs: 1_000 }] }],
  ])('%d hits, %d ms left, with the own limit %p', async (hits, ttl, limit, decision) => {
    const { windows, sent } = windowsOf(() => [hits, ttl]);
    expect(await windows.take({ ...claim, limit })).toEqual(decision);
    expect(sent.map(({ key }) => key)).toEqual(['p:k']);
  });

  test.each([
    [1, true, 0],
    [4, false, 1_000],
  ])(
    'after the clock of Redis was set back, a window with %d hits ends no later than one that begins now',
    async (hits, allowed, retryAfterMs) => {
      const { windows, sent } = windowsOf(() => [hits, 1_001]);
      expect(await windows.take(claim)).toEqual({
        allowed,
        retryAfterMs,
        quotaStates: [{ remaining: Math.max(0, 3 - hits), resetMs: 1_000 }],
      });
      expect(sent.at(-1)).toEqual({ args: ['PEXPIRE', 'p:k', '1000'], key: 'p:k' });
    },
  );

  test.each<[number, number, object]>([
    [2, 900, { remaining: 1, resetMs: 900 }],
    [9, 900, { remaining: 0, resetMs: 900 }],
    [1, 900, { remaining: 2, resetMs: 900 }],
    [0, -2, { remaining: 3, resetMs: 0 }],
    [0, 900, { remaining: 3, resetMs: 0 }],
    [Number.NaN, 900, { remaining: 3, resetMs: 0 }],
  ])('a claim that costs nothing only looks: %d hits', async (hits, ttl, state) => {
    const { windows } = windowsOf(() => [hits, ttl]);
    expect(await windows.take({ ...claim, cost: 0 })).toEqual({ allowed: true, retryAfterMs: 0, quotaStates: [state] });
  });

  test.each([[[0, 900]], [['x', 900]], [[1, 'x']], [['x', 'x']]])('the reply %j is no count', async (reply) => {
    await expect(windowsOf(() => reply).windows.take(claim)).rejects.toThrow('Redis returned no count');
  });

  test('a script that is lost again and again is loaded three times at most', async () => {
    const lostFor = (times: number) => (script: number) => {
      if (script <= times) throw new Error('NOSCRIPT lost');
      return [1, 900];
    };
    // rate-limit-redis itself tries twice each time.
    expect(await windowsOf(lostFor(5)).windows.take(claim)).toMatchObject({ allowed: true });
    await expect(windowsOf(lostFor(6)).windows.take(claim)).rejects.toThrow('NOSCRIPT');
    const { windows, sent } = windowsOf(() => {
      throw new Error('OOM');
    });
    await expect(windows.take(claim)).rejects.toThrow('OOM');
    expect(sent.length).toBeLessThanOrEqual(2);
  });

  test('charges debts, and deletes the key of a client that is reset', async () => {
    const { windows, sent } = windowsOf(() => 'OK');
    await windows.charge({ key: 'k', limit: undefined, owed: [{ units: 4, older: 0, restMs: 700, least: 0 }] });
    expect(sent.at(-1)?.args.slice(2)).toEqual(['1', 'p:k', '4', '700']);
    await windows.reset('k');
    expect(sent.at(-1)).toEqual({ args: ['DEL', 'p:k'], key: 'p:k' });
  });
});
