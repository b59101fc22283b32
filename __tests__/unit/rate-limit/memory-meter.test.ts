import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { Decision } from '../../../lib/rate-limit/meter.ts';
import { type LimiterMeterSettings, openLimiterMeter } from '../../../lib/rate-limit/open-meter.ts';

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

    test('a clock that is set makes nobody wait longer than a window, and forgets nobody', () => {
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
