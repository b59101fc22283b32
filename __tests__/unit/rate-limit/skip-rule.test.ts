import { beforeEach, describe, expect, test } from '@jest/globals';
import { FIRST_PAUSE_MS, LONGEST_PAUSE_MS, SkipRule } from '../../../lib/rate-limit/skip-rule.ts';

describe('SkipRule', () => {
  let rule: SkipRule;
  let now: number;

  beforeEach(() => {
    rule = new SkipRule();
    now = 1_000_000;
  });

  function enter(): number {
    const era = rule.enter(now);
    if (era === undefined) throw new Error('skipped');
    return era;
  }

  const skipping = () => rule.enter(now) === undefined;

  /** Milliseconds until a trial is let in. */
  function pauseMs(): number {
    const start = now;
    while (skipping()) now += 500;
    return now - start;
  }

  function failTrials(count: number, silent: boolean): number[] {
    const pauses: number[] = [];
    for (let i = 0; i < count; i++) {
      rule.failed(enter(), now, silent);
      pauses.push(pauseMs());
      // pauseMs() took the trial; the next one is due after one more pause.
      now += LONGEST_PAUSE_MS;
    }
    return pauses;
  }

  test('lets every call in while nothing fails', () => {
    const era = enter();
    expect(enter()).toBe(era);
    expect(rule.succeeded(era)).toBe(true);
  });

  test('skips for a second after a failure, then lets one call try', () => {
    expect(rule.failed(enter(), now, true)).toBe(true);
    now += FIRST_PAUSE_MS - 1;
    expect(skipping()).toBe(true);
    now += 1;
    const trial = enter();
    expect(skipping()).toBe(true);
    expect(rule.succeeded(trial)).toBe(true);
    enter();
    enter();
  });

  test('doubles the pause of a silent store up to 30 s', () => {
    expect(failTrials(7, true)).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  });

  test('tries a store that answers with errors each second', () => {
    expect(failTrials(4, false)).toEqual([1_000, 1_000, 1_000, 1_000]);
  });

  test('starts with a short pause again after a success', () => {
    failTrials(4, true);
    rule.succeeded(enter());
    expect(failTrials(1, true)).toEqual([1_000]);
  });

  test('counts calls that fail together as one failure', () => {
    const eras = Array.from({ length: 20 }, enter);
    expect(eras.map((era) => rule.failed(era, now, true))).toEqual([true, ...Array(19).fill(false)]);
    expect(pauseMs()).toBe(FIRST_PAUSE_MS);
  });

  test('ignores the success of a call that began before the failure', () => {
    const [slow, failing] = [enter(), enter()];
    rule.failed(failing, now, true);
    expect(rule.succeeded(slow)).toBe(false);
    expect(skipping()).toBe(true);
  });

  test('ends the pause when the store is known to be back, and ignores what failed before', () => {
    const slow = enter();
    rule.failed(enter(), now, true);
    rule.end();
    expect(rule.failed(slow, now, true)).toBe(false);
    enter();
  });

  test('ends a long pause at a late reply, but never the first second', () => {
    failTrials(4, true);
    rule.failed(enter(), now, true);
    rule.repliedLate();
    expect(pauseMs()).toBe(FIRST_PAUSE_MS);
  });

  test('does not wait for a clock that was set back', () => {
    rule.failed(enter(), now, true);
    now -= 3_600_000;
    expect(skipping()).toBe(false);
  });
});
