import { describe, expect, test } from '@jest/globals';
import { AlgorithmScripts } from '../../../lib/rate-limit/algorithms/algorithm-scripts.ts';
import { slidingWindow } from '../../../lib/rate-limit/algorithms/sliding-window.ts';
import { LuaScript } from '../../../lib/rate-limit/redis/lua.ts';
import { RedisMeter, type RedisMeterParts } from '../../../lib/rate-limit/redis/redis-meter.ts';
import { ALGORITHMS } from './algorithms.ts';

const scripts = slidingWindow.redis as AlgorithmScripts;
const QUOTAS = [
  { limit: 100, windowMs: 1_000, burst: 50 },
  { limit: 1_000, windowMs: 60_000, burst: 1_000 },
];
const REPLY = [1, 50, 600, 1, 900, 50_000, 1];
const claim = { key: 'k', cost: 2, limit: undefined };

/** A Redis that gives one reply after the other, and then the last one again. */
function redisOf(...replies: unknown[]) {
  const sent: { args: readonly string[]; key: string | undefined }[] = [];
  const send = async (args: readonly string[], key?: string) => {
    if (args[0] === 'SCRIPT') return 'sha';
    const reply = replies[Math.min(sent.length, replies.length - 1)];
    sent.push({ args, key });
    if (reply instanceof Error) throw reply;
    return reply;
  };
  return { send, sent };
}

function meterOf(reply: unknown = REPLY, more: Partial<RedisMeterParts> = {}) {
  const { send, sent } = redisOf(reply);
  const meter = new RedisMeter({ send, scripts, quotas: QUOTAS, prefix: 'p:', ...more });
  return { meter, sent };
}

test('no two algorithms use the same key: the numbers behind it mean something else', async () => {
  const keys = await Promise.all(
    ALGORITHMS.flatMap(([, { redis }]) => (redis instanceof AlgorithmScripts ? [redis] : [])).map(async (own) => {
      const { meter, sent } = meterOf(REPLY, { scripts: own });
      await meter.take(claim);
      return sent[0]?.key;
    }),
  );
  expect(keys.length).toBeGreaterThan(1);
  // rate-limit-redis has the client's key alone.
  expect(new Set([...keys, 'p:k', 'p:{k}1000']).size).toBe(keys.length + 2);
});

describe('the meter in Redis', () => {
  test('sends a key in braces for each quota, then the cost, no time, and the quotas', async () => {
    const { meter, sent } = meterOf();
    await meter.take(claim);
    const [{ args, key }] = sent as [(typeof sent)[0]];
    expect(args[0]).toBe('EVALSHA');
    expect(args[1]).toMatch(/^[\da-f]{40}$/);
    expect(args.slice(2, 5)).toEqual(['2', 'p:{k}s1000', 'p:{k}s60000']);
    expect(args.slice(5)).toEqual(['2', '', '100', '1000', '50', '1000', '60000', '1000']);
    expect(key).toBe('p:{k}s1000');
    expect(meter.quotaCount).toBe(2);
  });

  test('a limit of the claim takes the place of the first quota', async () => {
    const { meter, sent } = meterOf([1, 6, 600, 1], { quotas: QUOTAS.slice(0, 1), clock: () => 77 });
    await meter.take({ ...claim, limit: 7 });
    expect(sent[0]?.args.slice(4)).toEqual(['2', '77', '7', '1000', '7']);
  });

  test('a secret makes keys of keys, always the same ones, in which the client cannot be found', async () => {
    const keysOf = async (keySecret: string | undefined, key: string) => {
      const { meter, sent } = meterOf(REPLY, { keySecret });
      await meter.take({ ...claim, key });
      return sent[0]?.args[3];
    };
    expect(await keysOf('s'.repeat(16), 'k')).toMatch(/^p:\{[\w-]{22}\}s1000$/);
    const keys = [
      await keysOf('s'.repeat(16), 'k'),
      await keysOf('t'.repeat(16), 'k'),
      await keysOf('s'.repeat(16), 'l'),
      await keysOf(undefined, 'k'),
    ];
    expect(new Set(keys).size).toBe(4);
    expect(await keysOf('s'.repeat(16), 'k')).toBe(keys[0]);
  });

  test('reads the reply: of all quotas into which it does not fit, the longest wait', async () => {
    expect(await meterOf().meter.take(claim)).toEqual({
      allowed: true,
      retryAfterMs: 0,
      quotaStates: [
        { remaining: 50, resetMs: 600 },
        { remaining: 900, resetMs: 50_000 },
      ],
    });
    const refused = async (...fits: number[]) => {
      const { meter } = meterOf([0, 0, 600, fits[0], 0, 50_000, fits[1]]);
      const { allowed, retryAfterMs } = await meter.take(claim);
      return [allowed, retryAfterMs];
    };
    expect(await refused(0, 1)).toEqual([false, 600]);
    expect(await refused(1, 0)).toEqual([false, 50_000]);
    expect(await refused(0, 0)).toEqual([false, 50_000]);
  });

  test.each([[null], ['OK'], [[]], [REPLY.slice(0, 4)], [[...REPLY, 1, 2, 3]], [[1, 50, 600, 1, 900, 50_000, 'x']]])(
    'rejects the reply %j',
    async (reply) => {
      await expect(meterOf(reply).meter.take(claim)).rejects.toThrow('Redis returned no count');
    },
  );

  test('charges debts of all quotas: units, older ones, rests, minimums, and units over the limit', async () => {
    const { meter, sent } = meterOf('OK', { clock: () => 77 });
    const owed = [
      { units: 1, older: 2, restMs: 3, least: 4 },
      { units: 5, older: 6, restMs: 7, least: 8, over: 9 },
    ];
    await meter.charge({ key: 'k', limit: undefined, owed });
    expect(sent[0]?.args.slice(5)).toEqual([
      '0',
      '77',
      '100',
      '1000',
      '50',
      '1000',
      '60000',
      '1000',
      '1',
      '5',
      '2',
      '6',
      '3',
      '7',
      '4',
      '8',
      '0',
      '9',
    ]);
  });

  test('a reset deletes all keys of the client', async () => {
    const { meter, sent } = meterOf(2);
    await meter.reset('k');
    expect(sent).toEqual([{ args: ['DEL', 'p:{k}s1000', 'p:{k}s60000'], key: 'p:{k}s1000' }]);
  });

  test('is ready when its script is loaded, and not when that fails', async () => {
    await expect(meterOf().meter.loaded).resolves.toBeUndefined();
    const send = () => Promise.reject(new Error('down'));
    await expect(new RedisMeter({ send, scripts, quotas: QUOTAS, prefix: 'p:' }).loaded).rejects.toThrow('down');
  });
});

describe('a script', () => {
  const script = new LuaScript('return 1');

  test('that Redis has lost is sent with its source, once', async () => {
    const { send, sent } = redisOf(new Error('NOSCRIPT No matching script'), 7);
    expect(await script.run(send, ['k'], ['a'])).toBe(7);
    expect(sent.map(({ args, key }) => [args[0], ...args.slice(2), key])).toEqual([
      ['EVALSHA', '1', 'k', 'a', 'k'],
      ['EVAL', '1', 'k', 'a', 'k'],
    ]);
    expect(sent[1]?.args[1]).toBe('return 1');
  });

  test.each(['OOM command not allowed', 'ERR NOSCRIPT'])('is not sent again after the error %s', async (message) => {
    const { send, sent } = redisOf(new Error(message));
    await expect(script.run(send, ['k'], [])).rejects.toThrow(message);
    expect(sent).toHaveLength(1);
  });

  test('is loaded with its source', async () => {
    const args: unknown[] = [];
    await script.load(async (...given) => void args.push(given));
    expect(args).toEqual([[['SCRIPT', 'LOAD', 'return 1']]]);
  });
});
