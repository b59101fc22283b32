import { afterEach, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { slidingWindow } from '../../../lib/rate-limit/algorithms/sliding-window.ts';
import { MemoryMeter } from '../../../lib/rate-limit/memory/memory-meter.ts';
import type { Decision } from '../../../lib/rate-limit/meter.ts';
import { type LimiterMeterSettings, openLimiterMeter } from '../../../lib/rate-limit/open-meter.ts';
import { ALGORITHMS } from './algorithms.ts';

const SETTINGS: Omit<LimiterMeterSettings, 'algorithm'> = {
  quotas: [{ limit: 5, windowMs: 60_000, burst: 5 }],
  name: 'ip',
  maxKeys: 1_000,
  prefix: 'rl:ip:',
  storeTimeoutMs: 50,
  fallbackAfterMisses: 5,
  fallbackAfterMs: 1_000,
  onStoreError: 'local',
};

afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

describe.each(['sliding-window', 'token-bucket', 'fixed-window'] as const)(
  'the meter in memory with %s',
  (algorithm) => {
    test('with more clients than it may tell apart, limits them all the same, and says so once', () => {
      jest.useFakeTimers();
      const warning = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
      const meter = openLimiterMeter({ ...SETTINGS, algorithm }, () => {});
      const take = (key: string) => {
        const decision = meter.take({ key, cost: 1, limit: undefined });
        return decision instanceof Promise ? false : decision.allowed;
      };
      for (let i = 0; i < 3; i++) expect(take('early')).toBe(true);
      let passed = 0;
      for (let i = 0; i < 20_000; i++) if (take(`made-up-${i}`)) passed++;
      // One each for those that found room, and one limit for all the others of each of the shards.
      expect(passed).toBeGreaterThanOrEqual(900);
      expect(passed).toBeLessThanOrEqual(1_000 + 16 * 5 + 100);
      // Neither is a client from before robbed of its quota, nor given a new one.
      expect([take('early'), take('early'), take('early')]).toEqual([true, true, false]);
      expect(warning).toHaveBeenCalledTimes(1);
      expect(warning.mock.lastCall?.[0]).toMatch(/"ip" counts for 1000 clients/);
      expect(warning.mock.lastCall?.[1]).toMatchObject({ code: 'WARN_EXPRESSWAY_MAX_KEYS' });
      jest.advanceTimersByTime(180_000);
      expect([1, 2, 3, 4, 5, 6].map(() => take('late'))).toEqual([true, true, true, true, true, false]);
    });

    test('has no timers', () => {
      jest.useFakeTimers();
      const meter = openLimiterMeter({ ...SETTINGS, algorithm }, () => {});
      meter.take({ key: 'k', cost: 1, limit: undefined });
      expect(jest.getTimerCount()).toBe(0);
      meter.close();
    });

    test('a clock that is set makes no client wait longer than a window, and forgets no client', () => {
      jest.useFakeTimers();
      const limit = 3;
      for (const jumpMs of [-3_600_000, -61_000, -30_000, -1, 0, 1, 30_000, 61_000, 3_600_000]) {
        const quotas = [{ limit, windowMs: 60_000, burst: limit }];
        const meter = openLimiterMeter({ ...SETTINGS, algorithm, quotas }, () => {});
        const take = () => meter.take({ key: 'k', cost: 1, limit: undefined }) as Decision;
        for (let i = 0; i < limit; i++) expect(take().allowed).toBe(true);
        jest.setSystemTime(Date.now() + jumpMs);
        let decision = take();
        if (jumpMs <= 0) expect([jumpMs, decision.allowed]).toEqual([jumpMs, false]);
        while (decision.allowed) decision = take();
        expect(decision.retryAfterMs).toBeGreaterThan(0);
        expect(decision.retryAfterMs).toBeLessThanOrEqual(60_000);
        // The wait is true, also for a client that asks meanwhile.
        const until = Date.now() + decision.retryAfterMs;
        jest.setSystemTime(until - 1);
        expect(take().allowed).toBe(false);
        jest.setSystemTime(until);
        expect(take().allowed).toBe(true);
      }
    });
  },
);

describe.each(ALGORITHMS)('memory of the meter with %s', (_name, algorithm) => {
  const WINDOW_MS = 60_000;
  const START = 1_790_000_000_000;
  const meterOf = (limit: number, burst: number, gateways: number) => {
    const quotas = [{ limit, windowMs: WINDOW_MS, burst }];
    const meter = new MemoryMeter({ algorithm, quotas, maxKeys: 127, onFull() {} });
    meter.shareWith(gateways);
    return meter;
  };

  test('forgets no client that still matters: those who come meanwhile change no decision', () =>
    fc.assert(
      fc.property(
        fc.record({
          limit: fc.integer({ min: 1, max: 60 }),
          burst: fc.integer({ min: 1, max: 60 }),
          gateways: fc.constantFrom(1, 4, 100),
          visits: fc.array(fc.tuple(fc.integer({ min: 0, max: 2.5 * WINDOW_MS }), fc.integer({ min: 1, max: 60 })), {
            minLength: 2,
            maxLength: 8,
          }),
        }),
        ({ limit, burst, gateways, visits }) => {
          const [alone, among] = [meterOf(limit, burst, gateways), meterOf(limit, burst, gateways)];
          let now = START;
          for (const [gapMs, cost] of visits) {
            for (const until = now + gapMs; now < until; now = Math.min(until, now + 1_000)) {
              among.take({ key: 'other', cost: 1, limit: undefined }, now);
            }
            const claim = { key: 'k', cost, limit: undefined };
            expect(among.take(claim, now)).toEqual(alone.take(claim, now));
          }
        },
      ),
      { numRuns: 100 },
    ));

  test('keeps no record of requests that cost 0', () =>
    fc.assert(
      fc.property(
        fc.array(
          fc.record({ gapMs: fc.integer({ min: 0, max: WINDOW_MS }), nothings: fc.integer({ min: 0, max: 3 }) }),
          {
            minLength: 2,
            maxLength: 10,
          },
        ),
        fc.boolean(),
        (visits, several) => {
          const quotas = [5, 8]
            .slice(several ? 0 : 1)
            .map((limit, i) => ({ limit, windowMs: WINDOW_MS * (i + 1), burst: limit }));
          const meters = [0, 1].map(() => new MemoryMeter({ algorithm, quotas, maxKeys: 127, onFull() {} }));
          const [plain, asked] = meters as [MemoryMeter, MemoryMeter];
          let now = START;
          for (const { gapMs, nothings } of visits) {
            for (let i = 0; i < nothings; i++) {
              const nothing = { key: 'k', cost: 0, limit: undefined };
              asked.take(nothing, now + (gapMs * i) / 3);
              asked.charge(nothing, [], now + (gapMs * i) / 3);
            }
            now += gapMs;
            const claim = { key: 'k', cost: 2, limit: undefined };
            expect(asked.take(claim, now)).toEqual(plain.take(claim, now));
          }
        },
      ),
      { numRuns: 200 },
    ));

  test('forgets clients that matter no more, though others come all the time, and though the clock is set back', () => {
    const meter = meterOf(10, 10, 1);
    const visits = (fromMs: number, toMs: number) => {
      for (let now = fromMs; now <= toMs; now += 500) meter.take({ key: 'other', cost: 1, limit: undefined }, now);
    };
    for (const start of [START, START - 3_600_000]) {
      for (let i = 0; i < 60; i++) meter.take({ key: `k${start}-${i}`, cost: 1, limit: undefined }, start);
      expect(meter.size).toBeGreaterThanOrEqual(60);
      visits(start, start + 5 * WINDOW_MS);
      expect(meter.size).toBe(1);
    }
  });
});

test('the meter in memory remembers as many clients as its longest window does', () => {
  const windows = [1_000, 60_000].map((windowMs) => ({ limit: 5, windowMs, burst: 5 }));
  for (const quotas of [windows, windows.toReversed()]) {
    const meter = new MemoryMeter({ algorithm: slidingWindow, quotas, maxKeys: 1_000, onFull() {} });
    for (let i = 0; i < 100; i++) meter.take({ key: `k${i}`, cost: 1, limit: undefined }, 1_000_000);
    for (let now = 1_000_000; now < 1_010_000; now += 500) meter.take({ key: 'k0', cost: 1, limit: undefined }, now);
    expect(meter.size).toBe(100);
    // The older part of the longest window still counts while the next one goes on.
    expect(meter.lifetimeMs).toBe(120_000);
  }
});
