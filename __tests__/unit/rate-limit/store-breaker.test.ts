import { beforeEach, describe, expect, test } from '@jest/globals';
import {
  ERRORS_IN_A_ROW,
  FIRST_PAUSE_MS,
  LONGEST_PAUSE_MS,
  StoreBreaker,
  type StoreFailure,
} from '../../../lib/rate-limit/fallback/store-breaker.ts';

describe('StoreBreaker', () => {
  let rule: StoreBreaker;
  let now: number;

  beforeEach(() => {
    rule = new StoreBreaker({ misses: 1, forMs: 0 });
    now = 1_000_000;
  });

  const fail = (failure: StoreFailure, era = rule.era) => rule.failed(era, now, failure);

  /** Milliseconds until a trial is due, which then is under way. */
  function pauseMs(): number {
    const start = now;
    while (!rule.startTrial(now)) now += 500;
    return now - start;
  }

  const pausesOf = (failures: StoreFailure[]) =>
    failures.map((failure) => {
      fail(failure);
      return pauseMs();
    });

  test('skips nothing, and has no trial, while nothing fails', () => {
    expect(rule.skipping).toBe(false);
    expect(rule.startTrial(now)).toBe(false);
    expect(rule.waitMs(now)).toBe(0);
    expect(rule.succeeded(rule.era)).toBe(true);
  });

  test('takes so many late replies in a row, for so long, for a failure of the store', () => {
    rule = new StoreBreaker({ misses: 3, forMs: 500 });
    // Many at once are one hiccup.
    for (let i = 0; i < 50; i++) expect(fail('silent')).toBe(false);
    now += 499;
    expect(fail('silent')).toBe(false);
    rule.succeeded(rule.era);
    now += 1;
    for (let i = 0; i < 2; i++) expect(fail('silent')).toBe(false);
    now += 10_000;
    expect(fail('silent')).toBe(true);
    expect(rule.skipping).toBe(true);
  });

  test('few late replies are no failure, however long they take, and a clock that is set back begins anew', () => {
    rule = new StoreBreaker({ misses: 3, forMs: 500 });
    expect(fail('silent')).toBe(false);
    now += 60_000;
    expect(fail('silent')).toBe(false);
    now -= 3_600_000;
    expect(fail('silent')).toBe(false);
    now += 500;
    expect(fail('silent')).toBe(true);
  });

  test('skips for a second after the first silence, then has one trial', () => {
    expect(fail('silent')).toBe(true);
    now += FIRST_PAUSE_MS - 1;
    expect([rule.skipping, rule.waitMs(now), rule.startTrial(now)]).toEqual([true, 1, false]);
    now += 1;
    expect([rule.startTrial(now), rule.startTrial(now), rule.skipping]).toEqual([true, false, true]);
    expect(rule.waitMs(now)).toBe(FIRST_PAUSE_MS);
    expect(rule.trialSucceeded(rule.era)).toBe(true);
    expect(rule.skipping).toBe(false);
  });

  test('has the next trial a pause later when one gives no result', () => {
    fail('silent');
    pauseMs();
    expect(pauseMs()).toBe(FIRST_PAUSE_MS);
  });

  test('takes five errors in a row for a failure of the store, and a success in between starts anew', () => {
    for (let i = 1; i < ERRORS_IN_A_ROW; i++) expect(fail('error')).toBe(false);
    rule.succeeded(rule.era);
    for (let i = 1; i < ERRORS_IN_A_ROW; i++) expect(fail('error')).toBe(false);
    expect(rule.skipping).toBe(false);
    expect(fail('error')).toBe(true);
    expect(rule.skipping).toBe(true);
  });

  test('counts errors in the same way with every rule for late replies', () => {
    rule = new StoreBreaker({ misses: 3, forMs: 500 });
    for (let i = 1; i < ERRORS_IN_A_ROW; i++) expect(fail('error')).toBe(false);
    expect(fail('error')).toBe(true);
    rule = new StoreBreaker({ misses: 3, forMs: 500 });
    expect(fail('decisive')).toBe(true);
  });

  test('takes the error of a trial for a failure at once', () => {
    expect(fail('decisive')).toBe(true);
    expect(rule.skipping).toBe(true);
  });

  test('doubles the pause of a silent store up to 30 s', () => {
    expect(pausesOf(Array(7).fill('silent'))).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  });

  test('tries a store that replies to trials with errors once a second', () => {
    expect(pausesOf(['silent', ...Array(3).fill('decisive')])).toEqual([1_000, 1_000, 1_000, 1_000]);
  });

  test('waits longer and longer for a store that passes trials only', () => {
    const pauses: number[] = [];
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < ERRORS_IN_A_ROW; i++) fail('error');
      pauses.push(pauseMs());
      rule.trialSucceeded(rule.era);
    }
    expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000]);
  });

  test('starts with a short pause again after a success', () => {
    pausesOf(Array(4).fill('silent'));
    rule.trialSucceeded(rule.era);
    rule.succeeded(rule.era);
    expect(pausesOf(['silent'])).toEqual([1_000]);
  });

  test('counts calls that fail together as one failure', () => {
    const { era } = rule;
    expect(Array.from({ length: 20 }, () => fail('silent', era))).toEqual([true, ...Array(19).fill(false)]);
    expect(pauseMs()).toBe(FIRST_PAUSE_MS);
  });

  test('ignores the success, and the failure, of a call that began before the pause', () => {
    const { era } = rule;
    fail('silent');
    expect(rule.succeeded(era)).toBe(false);
    expect(rule.skipping).toBe(true);
    pauseMs();
    rule.trialSucceeded(rule.era);
    expect(fail('silent', era)).toBe(false);
    expect(rule.skipping).toBe(false);
  });

  test('ignores the result of a trial that another recovery has overtaken', () => {
    fail('silent');
    pauseMs();
    const trial = rule.era;
    rule.end();
    expect(fail('decisive', trial)).toBe(false);
    expect(rule.trialSucceeded(trial)).toBe(false);
    expect(rule.skipping).toBe(false);
  });

  test('ignores, after a recovery, the results of calls that began before it', () => {
    const before = rule.era;
    fail('silent');
    const during = rule.era;
    pauseMs();
    expect(rule.trialSucceeded(during)).toBe(true);
    for (let errors = 1; errors < ERRORS_IN_A_ROW; errors++) expect(fail('error')).toBe(false);
    for (const era of [before, during]) {
      expect(rule.succeeded(era)).toBe(false);
      expect(fail('decisive', era)).toBe(false);
    }
    expect(fail('error')).toBe(true);
  });

  test('ends a long pause at a late reply, but never the first second', () => {
    pausesOf(Array(4).fill('silent'));
    fail('silent');
    rule.repliedLate();
    expect(pauseMs()).toBe(FIRST_PAUSE_MS);
  });

  test('a reply ends a row of misses, unless its call began before a pause', () => {
    rule = new StoreBreaker({ misses: 2, forMs: 0 });
    const { era } = rule;
    expect(fail('silent')).toBe(false);
    rule.answered(rule.era);
    expect(fail('silent')).toBe(false);
    expect(fail('silent')).toBe(true);
    pauseMs();
    rule.trialSucceeded(rule.era);
    expect(fail('silent')).toBe(false);
    rule.answered(era);
    expect(fail('silent')).toBe(true);
  });

  test('while it skips, no call counts as a success, and a trial that was not needed changes nothing', () => {
    fail('silent');
    expect([rule.succeeded(rule.era), rule.skipping]).toEqual([false, true]);
    rule.trialSucceeded(rule.era);
    const { era } = rule;
    expect([rule.trialSucceeded(era), rule.era]).toEqual([true, era]);
  });

  test('starts with a short pause again once the store is known to be back', () => {
    pausesOf(Array(4).fill('silent'));
    rule.end();
    expect([rule.skipping, ...pausesOf(['silent'])]).toEqual([false, 1_000]);
  });

  test('says that a trial that is overdue needs no wait', () => {
    fail('silent');
    expect([rule.waitMs(now + FIRST_PAUSE_MS), rule.waitMs(now + FIRST_PAUSE_MS + 5_000)]).toEqual([0, 0]);
  });

  test('does not wait for a clock that was set back', () => {
    fail('silent');
    now -= 3_600_000;
    expect(rule.waitMs(now)).toBe(LONGEST_PAUSE_MS);
    expect(rule.startTrial(now)).toBe(true);
  });
});
