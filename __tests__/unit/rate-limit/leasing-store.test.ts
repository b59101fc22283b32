import { expect, test } from '@jest/globals';
import type { AlgorithmScripts } from '../../../lib/rate-limit/algorithms/algorithm-scripts.ts';
import { slidingWindow } from '../../../lib/rate-limit/algorithms/sliding-window.ts';
import { LeasingStore, leaseShare } from '../../../lib/rate-limit/leases/leasing-store.ts';

const scripts = slidingWindow.redis as AlgorithmScripts;
const QUOTAS = [
  { limit: 100, windowMs: 1_000, burst: 100 },
  { limit: 1_000, windowMs: 60_000, burst: 1_000 },
];

/** What two quotas say: remaining, resetMs, fits, restMs, and units and perMs of what is due. */
const REPLY = [1, 7, 900, 50, 600, 1, 800, 0, 0, 0, 40_000, 0, 55_000, 90_000, 3];

function storeOf(share: number, reply: unknown = REPLY, quotas = QUOTAS) {
  const asked: string[][] = [];
  const send = async (args: readonly string[]) => {
    if (args[0] === 'SCRIPT') return 'sha';
    asked.push([...args]);
    return reply;
  };
  const store = new LeasingStore({ send, scripts, quotas, prefix: 'p:' }, share);
  /** The arguments between the time and the quotas. */
  const more = () =>
    asked
      .at(-1)!
      .slice(-6 - 3 * quotas.length, -3 * quotas.length)
      .map(Number);
  return { store, more };
}

const claim = { key: 'k', cost: 1, limit: undefined };

test.each([
  // A wish gets two fifths of a share of the whole limit at least, and what waits is covered.
  [0, 0, undefined, false, [0, 0, 0.25, 0, 1, 0]],
  [0, 4, undefined, false, [4, 4, 0.25, 0, 1, 0]],
  [0, 63, undefined, false, [10, 63, 0.25, 0, 1, 0]],
  [20, 63, undefined, false, [20, 63, 0.25, 0, 1, 0]],
  // A client that sends more than it may: a share of the whole limit may be charged early.
  [0, 63, 40, false, [10, 63, 0.25, 25, 40, 0]],
  [0, 7, 40, false, [7, 7, 0.25, 7, 40, 0]],
  [0, 63, 0.5, false, [10, 63, 0.25, 25, 1, 0]],
  [0, 0, 40, false, [0, 0, 0.25, 0, 1, 0]],
  // A client that is new here: a fifth of a share.
  [0, 0, undefined, true, [0, 0, 0.25, 0, 1, 5]],
])(
  'with %d waiting, a wish of %d, one used every %p ms and new: %p, Redis is asked for %j',
  async (waiting, wish, everMs, isNew, asked) => {
    const { store, more } = storeOf(0.25);
    await store.take(claim, waiting, wish, everMs, isNew);
    expect(more()).toEqual(asked);
  },
);

test('of a large limit, 50 at most are charged early', async () => {
  const { store, more } = storeOf(0.5, REPLY.slice(0, 9), [{ limit: 1_000, windowMs: 1_000, burst: 1_000 }]);
  await store.take(claim, 0, 500, 1);
  expect(more()).toEqual([200, 500, 0.5, 50, 1, 0]);
});

test('a limit of the request own, and the burst, count where they are the least', async () => {
  const one = [{ limit: 1_000, windowMs: 1_000, burst: 40 }];
  const { store, more } = storeOf(0.25, REPLY.slice(0, 9), one);
  await store.take(claim, 0, 500, 1, true);
  expect(more()).toEqual([4, 500, 0.25, 10, 1, 2]);
  await store.take({ ...claim, limit: 80 }, 0, 500, 1, true);
  expect(more()).toEqual([8, 500, 0.25, 20, 1, 4]);
});

test('reads the reply of Redis about each quota', async () => {
  expect(await storeOf(0.25).store.take(claim, 0, 7)).toStrictEqual({
    decision: {
      allowed: true,
      retryAfterMs: 40_000,
      quotaStates: [
        { remaining: 50, resetMs: 600 },
        { remaining: 0, resetMs: 40_000 },
      ],
    },
    grant: {
      ahead: 7,
      leaseMs: 900,
      quotaStates: [
        { remaining: 50, resetMs: 600 },
        { remaining: 0, resetMs: 40_000 },
      ],
      restsMs: [800, 55_000],
      dues: [{ units: 90_000, perMs: 3, windowMs: 60_000 }],
    },
  });
});

test.each([
  [null],
  ['OK'],
  [[]],
  [REPLY.slice(0, 9)],
  [[...REPLY, 1, 1, 1, 1, 1, 1]],
  [['x', ...REPLY.slice(1)]],
  [[...REPLY.slice(0, -1), 1.5]],
])('throws for the reply %j', async (reply) => {
  await expect(storeOf(0.25, reply).store.take(claim, 0, 0)).rejects.toThrow('Redis returned no count');
});

test.each([
  [undefined, 0],
  [false, 0],
  [true, 0.25],
  [{}, 0.25],
  [{ share: undefined }, 0.25],
  [{ share: 0.1 }, 0.1],
])('the option lease %j is a share of %d', (lease, share) => {
  expect(leaseShare(lease)).toBe(share);
});
