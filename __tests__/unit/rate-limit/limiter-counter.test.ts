import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type {
  CountedLimiter,
  CounterAnswer,
  CounterQuestion,
  OneQuestion,
} from '../../../lib/rate-limit/cluster/counter-question.ts';
import { limiterCounter } from '../../../lib/rate-limit/cluster/limiter-counter.ts';
import { ipRateLimit } from '../../../lib/rate-limit/ip-rate-limit.ts';
import type { RoundTrip } from '../../../lib/rate-limit/leases/grant.ts';
import type { Claim, Decision, LimiterMeter } from '../../../lib/rate-limit/meter.ts';
import { openLimiterMeter } from '../../../lib/rate-limit/open-meter.ts';
import { settledHeap } from '../../support/settled-heap.ts';

const NOW = 1_700_000_000_000;

beforeEach(() => {
  jest.useFakeTimers({ now: NOW });
});

afterEach(() => {
  jest.useRealTimers();
});

const limiter = (more: Partial<CountedLimiter> = {}): CountedLimiter => ({
  name: 'ip',
  algorithm: 'sliding-window',
  quotas: [{ limit: 10, windowMs: 60_000, burst: 10 }],
  maxKeys: 1_000,
  share: 0.25,
  ...more,
});

const take = (cost = 1, ahead = { waiting: 0, wish: 0 }): OneQuestion => ['take', 'a', cost, null, ahead];

function ask(counter: ReturnType<typeof limiterCounter>, question: OneQuestion, of = limiter()): RoundTrip | null {
  // As it comes from another process.
  const asked: CounterQuestion = JSON.parse(JSON.stringify({ limiter: of, all: [question] }));
  const answer: CounterAnswer = JSON.parse(JSON.stringify(counter.answer(asked)));
  expect(answer).toHaveLength(1);
  return answer[0] as RoundTrip | null;
}

describe('a limiter with leases from a counter', () => {
  /** A meter, the last grant that it got, and how many claims it decides at once. */
  function leasing(more: Partial<CountedLimiter>, lease: boolean | undefined) {
    const counter = limiterCounter();
    let granted: RoundTrip['grant'] | undefined;
    const ask = async (question: CounterQuestion): Promise<CounterAnswer> => {
      const answer = counter.answer(question);
      granted = (answer[0] as RoundTrip).grant;
      return answer;
    };
    const settings = {
      ...limiter({ quotas: [{ limit: 1_000, windowMs: 60_000, burst: 1_000 }], ...more }),
      prefix: '',
      storeTimeoutMs: 50,
      fallbackAfterMisses: 1,
      fallbackAfterMs: 0,
      onStoreError: 'local' as const,
      counter: { processes: 2, ask },
      lease,
    };
    const meter = openLimiterMeter(settings, () => {});
    /** Claims as fast as can be. @returns what was granted last, of which nothing is spent yet */
    async function warm(claim: Claim): Promise<RoundTrip['grant']> {
      for (let i = 0; i < 200; i++) {
        const asked = meter.take(claim);
        if (!(asked instanceof Promise)) continue;
        await jest.advanceTimersByTimeAsync(5);
        expect((await asked).allowed).toBe(true);
        if (granted !== undefined && granted.ahead >= 10) return granted;
      }
      return { ...(granted as RoundTrip['grant']), ahead: 0 };
    }
    function atOnce(claim: Claim): number {
      let count = 0;
      while (!(meter.take(claim) instanceof Promise)) count++;
      return count;
    }
    return { meter, warm, atOnce };
  }
  const client: Claim = { key: 'a', cost: 1, limit: undefined };

  test.each([undefined, false])('without leases, each claim is a request to the counter (%p)', async (lease) => {
    const { warm, atOnce } = leasing({}, lease);
    expect((await warm(client)).ahead).toBe(0);
    expect(atOnce(client)).toBe(0);
  });

  test('tells clients what remains, one less for each request, whether the counter is asked or not', async () => {
    const { meter } = leasing({}, true);
    let questions = 0;
    for (let left = 999; left > 900; left -= 1) {
      const decision = meter.take(client);
      if (decision instanceof Promise) questions += 1;
      await jest.advanceTimersByTimeAsync(5);
      expect((await decision).quotaStates[0]?.remaining).toBe(left);
    }
    expect(questions).toBeLessThan(20);
  });

  test('of a window decides at once within its grant, until the window is over', async () => {
    for (const waitMs of [0, 60_000]) {
      const { warm, atOnce } = leasing({}, true);
      const { ahead } = await warm(client);
      await jest.advanceTimersByTimeAsync(waitMs);
      expect(atOnce(client)).toBe(waitMs === 0 ? ahead : 0);
    }
  });

  test.each([
    ['its limit', [{ limit: 1_000, windowMs: 60_000, burst: 1_000 }], undefined, 1_000 / 60_000],
    ['a limit of the claim', [{ limit: 1_000, windowMs: 60_000, burst: 1_000 }], 3_000, 3_000 / 60_000],
    [
      'the fastest of several windows',
      [
        { limit: 1_000, windowMs: 60_000, burst: 1_000 },
        { limit: 5_000, windowMs: 600_000, burst: 5_000 },
      ],
      undefined,
      1_000 / 60_000,
    ],
  ])('of a bucket loses its grant as fast as the bucket is refilled: by %s', async (_by, quotas, limit, perMs) => {
    const claim = { ...client, limit };
    for (const part of [0, 0.5, 1]) {
      const { warm, atOnce } = leasing({ algorithm: 'token-bucket', quotas }, true);
      const { ahead, leaseMs } = await warm(claim);
      expect(ahead).toBeGreaterThanOrEqual(10);
      await jest.advanceTimersByTimeAsync(leaseMs + (part * ahead) / perMs);
      const left = atOnce(claim);
      expect(left).toBeLessThanOrEqual(ahead * (1 - part));
      expect(left).toBeGreaterThanOrEqual(ahead * (1 - part) - 2);
    }
  });
});

describe('the counter', () => {
  test('counts for all who ask as one meter counts', () => {
    const counter = limiterCounter();
    const decisions = Array.from({ length: 12 }, () => ask(counter, take())?.decision as Decision);
    expect(decisions.map(({ allowed }) => allowed)).toEqual([...Array(10).fill(true), false, false]);
    expect(decisions[3]?.quotaStates).toEqual([{ remaining: 6, resetMs: 60_000 }]);
    expect(decisions[10]?.retryAfterMs).toBeGreaterThan(0);
    expect(ask(counter, ['reset', 'a'])).toBeNull();
    expect(ask(counter, take())?.decision.allowed).toBe(true);
  });

  test('charges waiting claims and a share of the remaining quota in advance, and never more than the limit in all', () => {
    for (const algorithm of ['sliding-window', 'token-bucket'] as const) {
      const counter = limiterCounter();
      const of = limiter({ algorithm, quotas: [{ limit: 100, windowMs: 60_000, burst: 100 }] });
      let spent = 0;
      const grants: number[] = [];
      for (let trip = 0; trip < 60; trip++) {
        const { decision, grant } = ask(counter, take(1, { waiting: trip % 3, wish: 40 }), of) as RoundTrip;
        if (!decision.allowed) continue;
        spent += 1 + grant.ahead;
        grants.push(grant.ahead);
        expect(grant.ahead === 0 || grant.leaseMs >= 0).toBe(true);
      }
      expect(spent).toBe(100);
      // A quarter of the 99 that remained.
      expect(grants[0]).toBe(24);
    }
  });

  test('keeps a lease no longer than its window, and a bucket no longer than until it would be full', () => {
    const counter = limiterCounter();
    const window = ask(counter, take(1, { waiting: 2, wish: 0 })) as RoundTrip;
    expect(window.grant).toMatchObject({ ahead: 2, leaseMs: 59_999, restsMs: [60_000] });
    const bucket = limiter({ algorithm: 'token-bucket' });
    const { grant } = ask(counter, take(4, { waiting: 2, wish: 0 }), bucket) as RoundTrip;
    // 4 are missing, each takes 6 s.
    expect(grant).toMatchObject({ ahead: 2, leaseMs: 23_999, restsMs: [36_000] });
  });

  test('gives nothing ahead to who wishes nothing, asks only, or is refused', () => {
    const counter = limiterCounter();
    const nothing = { ahead: 0, leaseMs: 0, restsMs: [0] };
    expect(ask(counter, take(1))?.grant).toMatchObject(nothing);
    expect(ask(counter, take(0, { waiting: 3, wish: 3 }))?.grant).toMatchObject(nothing);
    expect(ask(counter, take(0))?.decision.quotaStates[0]?.remaining).toBe(9);
    expect(ask(counter, take(1, { waiting: 2, wish: 2 }))?.grant.ahead).toBe(2);
    ask(counter, take(6));
    expect(ask(counter, take(1, { waiting: 3, wish: 3 }))).toMatchObject({
      decision: { allowed: false },
      grant: nothing,
    });
  });

  test('charges in advance only units that all quotas have, for the time of the shortest one', () => {
    const counter = limiterCounter();
    const quotas = [
      { limit: 8, windowMs: 1_000, burst: 8 },
      { limit: 100, windowMs: 60_000, burst: 100 },
    ];
    const wish = { waiting: 0, wish: 40 };
    expect(ask(counter, take(1, wish), limiter({ quotas }))?.grant).toMatchObject({
      ahead: 1,
      leaseMs: 999,
      quotaStates: [{ remaining: 6 }, { remaining: 98 }],
      restsMs: [1_000, 60_000],
    });
    // Two fifths of a share of the least limit, which is the burst of a bucket, or the limit that the claim brings.
    const bucket = limiter({ algorithm: 'token-bucket', quotas: [{ limit: 1_000, windowMs: 60_000, burst: 100 }] });
    ask(counter, take(88), bucket);
    expect(ask(counter, take(1, wish), bucket)?.grant.ahead).toBe(10);
    ask(counter, ['take', 'b', 189, 200, { waiting: 0, wish: 0 }], limiter({ share: 0.5 }));
    expect(ask(counter, ['take', 'b', 1, 200, wish], limiter({ share: 0.5 }))?.grant.ahead).toBe(10);
  });

  test('keeps the counts of a limiter that is asked, while others come', () => {
    const counter = limiterCounter();
    ask(counter, take(1));
    jest.setSystemTime(NOW + 119_000);
    ask(counter, take(10));
    jest.setSystemTime(NOW + 125_000);
    ask(counter, take(), limiter({ name: 'other' }));
    // 9 of the window before still count.
    expect(ask(counter, take(2))?.decision.allowed).toBe(false);
  });

  test('forgets the counts of limits that have changed, once they have expired', () => {
    const counter = limiterCounter();
    const limited = (limit: number) => limiter({ quotas: [{ limit, windowMs: 60_000, burst: limit }] });
    const before = settledHeap();
    for (let limit = 10; limit < 1_010; limit += 1) ask(counter, take(), limited(limit));
    const most = settledHeap() - before;
    // A count of the window before matters, too.
    jest.setSystemTime(NOW + 120_001);
    ask(counter, take(), limited(1_010));
    expect(settledHeap() - before).toBeLessThan(most / 5);
  });

  test('charges requests that passed without it, as far as they fit', () => {
    const counter = limiterCounter();
    ask(counter, take(4));
    ask(counter, ['charge', 'a', null, [4]]);
    expect(ask(counter, take(0))?.decision.quotaStates[0]?.remaining).toBe(2);
    ask(counter, ['charge', 'a', null, [400]]);
    expect(ask(counter, take())?.decision.allowed).toBe(false);
  });

  test('charges hits that passed although it refused them, even above the limit, up to twice the limit', () => {
    const counter = limiterCounter();
    ask(counter, take(10));
    ask(counter, ['charge', 'a', null, [0], [4]]);
    jest.setSystemTime(NOW + 60_000);
    // 14 of the window before.
    expect(ask(counter, take(0))?.decision.quotaStates[0]?.remaining).toBe(0);
    ask(counter, ['charge', 'a', null, [0], [400]]);
    jest.setSystemTime(NOW + 119_999);
    // 13 counted, so 7 were charged.
    expect(ask(counter, take(0))?.decision.quotaStates[0]?.remaining).toBe(3);
    jest.setSystemTime(NOW + 179_998);
    expect(ask(counter, take(0))?.decision.quotaStates[0]?.remaining).toBe(10);
  });

  test('charges a bucket until it is empty, by one or by many', () => {
    const counter = limiterCounter();
    const bucket = limiter({ algorithm: 'token-bucket' });
    ask(counter, ['charge', 'a', null, [1]], bucket);
    expect(ask(counter, take(0), bucket)?.decision.quotaStates[0]?.remaining).toBe(9);
    ask(counter, ['charge', 'a', null, [400]], bucket);
    // The next one takes 6 s.
    expect(ask(counter, take(), bucket)?.decision).toMatchObject({ allowed: false, retryAfterMs: 6_000 });
  });

  test('a limit of its own comes with the claim; other limits of the same limiter are counted apart', () => {
    const counter = limiterCounter();
    const own: OneQuestion = ['take', 'b', 1, 2, { waiting: 0, wish: 0 }];
    expect([0, 1, 2].map(() => ask(counter, own)?.decision.allowed)).toEqual([true, true, false]);
    const higher = ask(counter, ['take', 'c', 1, 200, { waiting: 0, wish: 10 }]);
    expect([higher?.grant.ahead, higher?.decision.quotaStates[0]?.remaining]).toEqual([10, 189]);
    ask(counter, ['charge', 'c', 200, [50]]);
    expect(ask(counter, ['take', 'c', 0, 200, { waiting: 0, wish: 0 }])?.decision.quotaStates[0]?.remaining).toBe(139);
    ask(counter, take(10));
    expect(ask(counter, take())?.decision.allowed).toBe(false);
    const changed = limiter({ quotas: [{ limit: 20, windowMs: 60_000, burst: 20 }] });
    expect(ask(counter, take(), changed)?.decision.allowed).toBe(true);
    expect(ask(counter, take())?.decision.allowed).toBe(false);
  });
});

describe('a limiter that is counted for', () => {
  interface Rig {
    readonly claim: () => Promise<Decision>;
    readonly mode: () => string;
    readonly meter: () => LimiterMeter;
    slow: boolean;
    asked: number;
  }

  /** Limiters of two processes with one counter, which answers late while it is slow. */
  function rigs(): readonly [Rig, Rig] {
    const counter = limiterCounter();
    const rig = (): Rig => {
      const one: Rig = {
        claim: async () => await meter.take(claim),
        mode: () => meter.mode,
        meter: () => meter,
        slow: false,
        asked: 0,
      };
      const link = {
        processes: 2,
        ask: async (question: CounterQuestion): Promise<CounterAnswer> => {
          one.asked += 1;
          if (one.slow) await new Promise((resolve) => setTimeout(resolve, 10_000));
          return counter.answer(question);
        },
      };
      const settings = {
        ...limiter(),
        prefix: '',
        storeTimeoutMs: 50,
        fallbackAfterMisses: 1,
        fallbackAfterMs: 0,
        onStoreError: 'local' as const,
        counter: link,
      };
      const meter = openLimiterMeter(settings, () => {});
      const claim: Claim = { key: 'a', cost: 1, limit: undefined };
      return one;
    };
    return [rig(), rig()];
  }

  /** Lets timers run that the answer waits for. */
  async function soon<T>(work: Promise<T>): Promise<T> {
    await jest.advanceTimersByTimeAsync(60);
    return work;
  }

  test('asks once for all requests of one turn, and never again for denied ones', async () => {
    const [one] = rigs();
    const decisions = await soon(Promise.all(Array.from({ length: 15 }, () => one.claim())));
    expect(decisions.filter(({ allowed }) => allowed)).toHaveLength(10);
    expect(one.asked).toBe(1);
    expect((await soon(one.claim())).allowed).toBe(false);
    expect(one.asked).toBe(1);
  });

  test('asks again for a client that was reset, whether it was refused or had some left', async () => {
    const [one] = rigs();
    await soon(Promise.all(Array.from({ length: 15 }, () => one.claim())));
    await soon(Promise.resolve(one.meter().reset('a')));
    const { asked } = one;
    expect((await soon(one.claim())).allowed).toBe(true);
    expect(one.asked).toBe(asked + 1);
    await soon(Promise.all([one.claim(), one.claim(), one.claim()]));
    const before = one.asked;
    await soon(Promise.resolve(one.meter().reset('a')));
    expect((await soon(one.claim())).quotaStates[0]?.remaining).toBeGreaterThanOrEqual(6);
    expect(one.asked).toBe(before + 2);
  });

  test('reports the problem while the primary does not respond, keeps trying, and has no timers once it is closed', async () => {
    const [one] = rigs();
    expect(one.meter().storeError).toBeUndefined();
    one.slow = true;
    await soon(one.claim());
    expect(one.meter().storeError?.message).toMatch(/did not reply in time/);
    const { asked } = one;
    await jest.advanceTimersByTimeAsync(60_000);
    expect(one.asked).toBeGreaterThanOrEqual(asked + 2);
    void one.meter().close();
    await jest.advanceTimersByTimeAsync(20_000);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('waits no longer than its deadline, decides with its part of the limit, and later reports the requests that it let pass', async () => {
    const [one, two] = rigs();
    for (let i = 0; i < 4; i++) expect((await soon(two.claim())).allowed).toBe(true);
    one.slow = true;
    expect((await soon(one.claim())).allowed).toBe(true);
    expect(one.mode()).toBe('local');
    const alone = [];
    for (let i = 0; i < 8; i++) alone.push((await soon(one.claim())).allowed);
    // Half of 10, with the one of before.
    expect(alone.filter(Boolean)).toHaveLength(4);
    one.slow = false;
    await jest.advanceTimersByTimeAsync(12_000);
    expect(one.mode()).toBe('memory');
    // 4 of the other and 5 of this one, the claim whose answer was late among them: counted once.
    expect((await soon(two.claim())).allowed).toBe(true);
    expect((await soon(two.claim())).allowed).toBe(false);
  });
});

test('counter cannot be combined with redis, and is checked', () => {
  const counter = { processes: 2, ask: async () => [] };
  expect(() => ipRateLimit({ counter, redis: 'redis://localhost' })).toThrow('counter cannot be combined with redis');
  expect(() => ipRateLimit({ counter: { ...counter, processes: 0 } })).toThrow('processes, an integer from 1 up');
  expect(() => ipRateLimit({ counter: {} as never })).toThrow('must have a function ask');
});
