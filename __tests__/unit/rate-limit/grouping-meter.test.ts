import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { ALGORITHMS, type AlgorithmName, rateLimitAlgorithms } from '../../../lib/rate-limit/algorithms/registry.ts';
import type { CounterQuestion } from '../../../lib/rate-limit/cluster/counter-question.ts';
import { CounterMeter, CounterStore } from '../../../lib/rate-limit/cluster/counter-store.ts';
import { limiterCounter } from '../../../lib/rate-limit/cluster/limiter-counter.ts';
import { GroupingMeter } from '../../../lib/rate-limit/leases/grouping-meter.ts';
import { MemoryMeter } from '../../../lib/rate-limit/memory/memory-meter.ts';
import type { Claim, Decision } from '../../../lib/rate-limit/meter.ts';
import type { Quota } from '../../../lib/rate-limit/quota.ts';

const claim = (more: Partial<Claim> = {}): Claim => ({ key: 'k', cost: 1, limit: undefined, ...more });
const quota = (limit: number, windowMs: number): Quota => ({ limit, windowMs, burst: limit });

/** A meter whose questions go to a counter in this process. */
function rig(algorithm: AlgorithmName, quotas: readonly Quota[]) {
  const counter = limiterCounter();
  const asked: CounterQuestion[] = [];
  const link = {
    processes: 1,
    ask: async (question: CounterQuestion) => {
      asked.push(question);
      return counter.answer(question);
    },
  };
  const store = new CounterStore(link, { name: 'ip', algorithm, quotas, maxKeys: 100, share: 0 });
  return { asked, meter: new GroupingMeter({ store, single: new CounterMeter(store) }) };
}

const withoutReset = ({ allowed, retryAfterMs, quotaStates }: Decision) => ({
  allowed,
  retryAfterMs,
  remaining: quotaStates.map(({ remaining }) => remaining),
});

beforeEach(() => {
  jest.useFakeTimers({ now: 1_790_000_000_000 });
});
afterEach(() => {
  jest.useRealTimers();
});

const WINDOWS = [quota(7, 1_000)];
const SEVERAL = [quota(7, 1_000), quota(20, 60_000)];
/** When the first one is used up, one is left of the second. */
const NEARLY_EQUAL = [quota(7, 1_000), quota(8, 60_000)];

describe.each(rateLimitAlgorithms)('%s', (algorithm) => {
  // Fixed windows know one quota only.
  const all = ALGORITHMS[algorithm].countsRefused ? [WINDOWS] : [WINDOWS, SEVERAL, NEARLY_EQUAL];

  test.each(all.flatMap((quotas) => [1, 2, 6, 7, 8, 30].map((count) => [quotas, count] as const)))(
    '%j: a group of claims gets the same decisions as single claims: %d at once',
    async (quotas, count) => {
      const { meter } = rig(algorithm, quotas);
      const alone = new MemoryMeter({ algorithm: ALGORITHMS[algorithm], quotas, maxKeys: 100, onFull: () => {} });
      for (const waitMs of [0, 150, 500, 1_700, 90, 60_000]) {
        await jest.advanceTimersByTimeAsync(waitMs);
        const expected = Array.from({ length: count }, () => alone.take(claim()));
        const decisions = Array.from({ length: count }, () => meter.take(claim()));
        // An immediate takes a millisecond in fake time, which is given back.
        const now = Date.now();
        const answered = Promise.all(decisions);
        jest.spyOn(Date, 'now').mockReturnValue(now);
        await jest.advanceTimersByTimeAsync(5);
        jest.mocked(Date.now).mockRestore();
        const heard = await answered;
        expect(heard.map(withoutReset)).toEqual(expected.map(withoutReset));
        for (const [i, { quotaStates }] of expected.entries()) {
          for (const [j, { resetMs }] of quotaStates.entries()) {
            const got = heard[i]?.quotaStates[j]?.resetMs;
            // A bucket says when it will be full, with the whole group taken out.
            if (ALGORITHMS[algorithm].isRefilled) expect(got).toBeGreaterThanOrEqual(resetMs);
            else expect(got).toBe(resetMs);
          }
        }
      }
    },
  );
});

test('claims of one turn are two questions for each client and limit; other costs are asked for one by one', async () => {
  const { asked, meter } = rig('sliding-window', SEVERAL);
  const claims = [
    ...Array.from({ length: 10 }, () => claim()),
    ...Array.from({ length: 5 }, () => claim({ key: 'other' })),
    ...Array.from({ length: 3 }, () => claim({ limit: 3 })),
    ...Array.from({ length: 3 }, () => claim({ limit: 4 })),
    claim({ cost: 2 }),
    claim({ cost: 2 }),
    claim({ cost: 0 }),
  ];
  const decisions = Promise.all(claims.map((one) => meter.take(one)));
  await jest.advanceTimersByTimeAsync(5);
  await decisions;
  expect(asked).toHaveLength(1);
  expect(asked[0]?.all).toHaveLength(2 + 2 + 2 + 2 + 3);
});

test('a question that fails fails for its whole group, and the next turn asks anew', async () => {
  const { meter, asked } = rig('sliding-window', WINDOWS);
  const store = { take: () => Promise.reject(new Error('OOM')), loaded: Promise.resolve() } as never;
  const broken = new GroupingMeter({ store, single: store });
  const failed = Promise.allSettled([1, 2, 3].map(() => broken.take(claim())));
  await jest.advanceTimersByTimeAsync(5);
  expect((await failed).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
  for (let turn = 1; turn <= 2; turn++) {
    const one = meter.take(claim());
    await jest.advanceTimersByTimeAsync(5);
    expect((await one).allowed).toBe(true);
    expect(asked).toHaveLength(turn);
  }
});
