import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Circuit, circuitDefaults, type Permit } from '../../../lib/circuit-breaker/circuit.ts';
import { microtasks } from './microtasks.ts';
import { Story } from './story.ts';

const T0 = 1_700_000_000_000;

beforeEach(() => void jest.useFakeTimers({ now: T0 }));
afterEach(() => void jest.useRealTimers());

describe('a closed circuit', () => {
  test.each([
    ['ffff', 'closed', 'four calls are fewer than five'],
    ['ssfff', 'open', 'exactly 0.6 is enough'],
    ['sssff', 'closed', '0.4'],
    ['fffss', 'closed', '0.6, but only a failure trips'],
    ['fffssf', 'open', '0.67'],
    ['fffsssf', 'closed', '0.57'],
    ['fffsssff', 'open', '0.625'],
    ['ffffxxxx', 'closed', 'who leaves is no call'],
    ['ffffxxxxf', 'open', 'nor in the denominator'],
  ])('E01–E03 %s: %s (%s)', async (calls, state) => {
    const story = new Story();
    await story.calls(calls);
    expect(story.circuit.state).toBe(state);
  });

  test('a ratio that binary fractions cannot hold trips at exactly its share', async () => {
    const story = new Story({ failureRatio: 0.07, minimumRequests: 100 });
    await story.calls(`${'s'.repeat(93)}ffffff`);
    expect(story.circuit.state).toBe('closed');
    await story.fail();
    expect(story.circuit.state).toBe('open');
  });

  test('E04: without a window, 10,000 successes outweigh 14,999 failures and no more', async () => {
    const story = new Story({ windowMs: 0 });
    for (let call = 0; call < 10_000; call += 1) story.begin().settle('success');
    story.later(86_400_000);
    for (let call = 0; call < 14_999; call += 1) story.begin().settle('failure');
    await microtasks();
    expect(story.circuit.state).toBe('closed');
    await story.fail();
    expect(story.circuit.state).toBe('open');
  });

  test('E04: with a window, 10,000 successes expire with it', async () => {
    const story = new Story();
    for (let call = 0; call < 10_000; call += 1) story.begin().settle('success');
    story.later(9_999);
    await story.calls('fffff');
    expect(story.circuit.state).toBe('closed');
    story.later(1);
    await story.fail();
    expect(story.circuit.state).toBe('open');
  });

  test('failures of an hour ago do not count', async () => {
    const story = new Story();
    await story.calls('ffff');
    story.later(3_600_000);
    expect(story.circuit.counts).toEqual({ calls: 0, failures: 0 });
    await story.calls('ffff');
    expect(story.circuit.state).toBe('closed');
  });

  test('the window rolls on by tenths', async () => {
    const story = new Story();
    const seen: number[] = [];
    for (let second = 0; second < 10; second += 1) {
      await story.calls('sf');
      story.later(1_000);
    }
    for (let second = 0; second < 10; second += 1) {
      seen.push(story.circuit.counts.failures);
      story.later(1_000);
    }
    expect(seen).toEqual([9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
  });

  test('E11 of ten calls in progress that all fail, the fifth to end opens: completed calls are counted', async () => {
    const story = new Story();
    const permits = Array.from({ length: 10 }, () => story.begin());
    for (const permit of permits.slice(0, 4)) await story.end(permit, 'f');
    expect(story.circuit.state).toBe('closed');
    await story.end(permits[4] as Permit, 'f');
    expect(story.circuit.state).toBe('open');
    for (const permit of permits.slice(5)) await story.end(permit, 'f');
    expect(story.changes).toEqual(['closed > open for 10000']);
  });

  test('calls that end in the same tick count in the order in which they end', async () => {
    const story = new Story();
    const permits = Array.from({ length: 6 }, () => story.begin());
    // The fifth trips at 3/5; were the successes that follow counted before it, it would be 3/6.
    for (const [index, verdict] of (['success', 'success', 'failure', 'failure', 'failure'] as const).entries()) {
      permits[index]?.settle(verdict);
    }
    permits[5]?.settle('success');
    await microtasks();
    expect(story.circuit.state).toBe('open');
  });

  test('no call is admitted between the failure that opens it and the change of state', async () => {
    const story = new Story();
    await story.calls('ffff');
    story.begin().settle('failure');
    expect(story.circuit.isAvailable()).toBe(false);
    expect(story.isRejected()).toBe(true);
    expect(story.circuit.retryAfterMs()).toBeGreaterThan(0);
    await microtasks();
    expect(story.circuit.state).toBe('open');
  });

  test('the first result of a call is final', async () => {
    const story = new Story();
    const permit = story.begin();
    for (const letter of 'sffffffff') await story.end(permit, letter);
    expect(story.circuit.counts).toEqual({ calls: 1, failures: 0 });
  });
});

describe('an open circuit', () => {
  test('E05 it rejects at 0 and 9.999 s, and admits a trial at exactly 10 s', async () => {
    const story = await new Story().opened();
    expect(story.isRejected()).toBe(true);
    story.later(9_999);
    expect(story.isRejected()).toBe(true);
    expect(story.circuit.isAvailable()).toBe(false);
    story.later(1);
    expect(story.circuit.isAvailable()).toBe(true);
    expect(story.circuit.state).toBe('open');
    expect(story.begin().isTrial).toBe(true);
    expect(story.circuit.state).toBe('half-open');
  });

  test('it says how long it is until the next trial', async () => {
    const story = new Story();
    const waits = [story.circuit.retryAfterMs()];
    await story.opened();
    for (const ms of [0, 1, 9_998, 1, 3_600_000]) {
      story.later(ms);
      waits.push(story.circuit.retryAfterMs());
    }
    expect(waits).toEqual([0, 10_000, 9_999, 1, 0, 0]);
  });

  test('no timer of its own makes it half-open, or keeps the process alive', async () => {
    const story = await new Story().due();
    expect(jest.getTimerCount()).toBe(0);
    expect(story.changes).toEqual(['closed > open for 10000']);
  });

  test('E12 a wall clock set back by an hour makes it wait no longer than one more period', async () => {
    const story = await new Story().opened();
    jest.setSystemTime(T0 - 3_600_000);
    expect(story.circuit.retryAfterMs()).toBe(10_000);
    story.later(9_999);
    expect(story.isRejected()).toBe(true);
    story.later(1);
    await story.calls('sss');
    expect(story.circuit.state).toBe('closed');
  });

  test('E12 a wall clock set forward by an hour makes the trial due', async () => {
    const story = await new Story().opened();
    jest.setSystemTime(T0 + 3_600_000);
    await story.calls('sss');
    expect(story.circuit.state).toBe('closed');
  });

  test('a trial that was announced is given even when the clock is set back before it is asked for', async () => {
    const story = await new Story().due();
    expect(story.circuit.isAvailable()).toBe(true);
    jest.setSystemTime(T0);
    expect(story.begin().isTrial).toBe(true);
  });

  test('its time may grow with each opening in a row, and starts over once closed', async () => {
    const story = new Story({ openMs: (attempt) => 1_000 * 2 ** attempt });
    await story.calls('fffff');
    story.later(2_000);
    await story.fail();
    story.later(4_000);
    await story.fail();
    story.later(8_000);
    await story.calls('sssfffff');
    expect(story.changes.filter((change) => change.includes('open for'))).toEqual([
      'closed > open for 2000',
      'half-open > open for 4000',
      'half-open > open for 8000',
      'closed > open for 2000',
    ]);
  });
});

describe('a half-open circuit', () => {
  test('E06 three successes close it, and nothing from before counts', async () => {
    const story = await new Story().due();
    await story.calls('ss');
    expect(story.circuit.state).toBe('half-open');
    await story.succeed();
    expect(story.circuit.state).toBe('closed');
    expect(story.circuit.counts).toEqual({ calls: 0, failures: 0 });
    await story.calls('ffff');
    expect(story.circuit.state).toBe('closed');
    await story.fail();
    expect(story.circuit.state).toBe('open');
  });

  test('E07 the first failure opens it for a full new period', async () => {
    const story = await new Story().due();
    await story.calls('ssf');
    expect(story.circuit.retryAfterMs()).toBe(10_000);
    story.later(9_999);
    expect(story.isRejected()).toBe(true);
    story.later(1);
    expect(story.begin().isTrial).toBe(true);
    expect(story.changes).toEqual([
      'closed > open for 10000',
      'open > half-open',
      'half-open > open for 10000',
      'open > half-open',
    ]);
  });

  test('E08: three hanging trials delay no other call: all others are rejected at once', async () => {
    const story = await new Story().due();
    const trials = [story.begin(), story.begin(), story.begin()];
    expect(story.circuit.isAvailable()).toBe(false);
    const rejected = Array.from({ length: 97 }, () => story.isRejected());
    expect(rejected).toEqual(new Array(97).fill(true));
    expect(story.circuit.retryAfterMs()).toBe(1_000);
    await story.end(trials[1] as Permit, 'f');
    expect(story.circuit.state).toBe('open');
  });

  test('E08: successful trials leave no room for a fourth', async () => {
    const story = await new Story().due();
    const hanging = story.begin();
    await story.calls('ss');
    expect(story.isRejected()).toBe(true);
    await story.end(hanging, 's');
    expect(story.circuit.state).toBe('closed');
  });

  test('E09: a client that leaves its trial frees the slot each time', async () => {
    const story = await new Story().due();
    await story.abort();
    expect(story.circuit.state).toBe('half-open');
    await story.calls('xxxx'.repeat(10));
    expect(story.circuit.state).toBe('half-open');
    await story.calls('sxsxs');
    expect(story.circuit.state).toBe('closed');
  });

  test('E09: a freed slot admits one trial, not two', async () => {
    const story = await new Story().due();
    const trials = [story.begin(), story.begin(), story.begin()];
    await story.end(trials[0] as Permit, 'x');
    await story.end(trials[0] as Permit, 'x');
    expect(story.begin().isTrial).toBe(true);
    expect(story.isRejected()).toBe(true);
  });

  test('E09 a failed trial opens it although others were left', async () => {
    const story = await new Story().due();
    await story.calls('xxf');
    expect(story.circuit.state).toBe('open');
  });

  test.each(['s', 'f', 'x'])(
    'E10 a call that began while closed and ends %s during half-open is ignored',
    async (letter) => {
      const story = new Story();
      const old = story.begin();
      await story.due();
      const trial = story.begin();
      await story.end(old, letter);
      expect(story.circuit.state).toBe('half-open');
      expect([story.begin().isTrial, story.begin().isTrial, story.isRejected()]).toEqual([true, true, true]);
      await story.end(trial, 'f');
      expect(story.circuit.state).toBe('open');
    },
  );

  test.each(['s', 'f', 'x'])('E10 a call that ends %s one closed era later is ignored', async (letter) => {
    const story = new Story();
    const old = story.begin();
    await story.due();
    await story.calls('sss');
    await story.end(old, letter);
    expect(story.circuit.counts).toEqual({ calls: 0, failures: 0 });
  });

  test.each(['s', 'f', 'x'])(
    'E10 a trial left over from before the last opening is ignored when it ends %s',
    async (letter) => {
      const story = await new Story().due();
      const old = story.begin();
      await story.fail();
      story.later(10_000);
      await story.calls('ss');
      await story.end(old, letter);
      expect(story.circuit.state).toBe('half-open');
      const last = story.begin();
      expect(story.isRejected()).toBe(true);
      await story.end(last, 's');
      expect(story.circuit.state).toBe('closed');
    },
  );

  test('no call is admitted between the failed trial and the change of state', async () => {
    const story = await new Story().due();
    story.begin().settle('failure');
    expect(story.circuit.isAvailable()).toBe(false);
    expect(story.isRejected()).toBe(true);
    await microtasks();
    expect(story.circuit.state).toBe('open');
  });

  test('a listener that starts a trial at once gets one of the slots, not an extra one', async () => {
    const story = new Story({ halfOpenRequests: 2 });
    const byListener: (Permit | undefined)[] = [];
    story.circuit.onStateChange((_from, to) => {
      if (to === 'half-open') byListener.push(story.circuit.tryAcquire(), story.circuit.tryAcquire());
    });
    await story.due();
    const trial = story.begin();
    expect(byListener.map((permit) => permit?.isTrial)).toEqual([true, undefined]);
    await story.end(trial, 's');
    await story.end(byListener[0] as Permit, 's');
    expect(story.circuit.state).toBe('closed');
  });
});

describe('an isolated circuit', () => {
  test('rejects all calls until it is disposed, then is closed with empty counts', async () => {
    const story = new Story();
    await story.calls('ffff');
    const isolation = story.circuit.isolate();
    story.later(3_600_000);
    expect(story.circuit.state).toBe('isolated');
    expect(story.circuit.isAvailable()).toBe(false);
    expect(story.isRejected()).toBe(true);
    expect(story.circuit.retryAfterMs()).toBe(10_000);
    isolation.dispose();
    expect(story.circuit.counts).toEqual({ calls: 0, failures: 0 });
    await story.calls('ffff');
    expect(story.changes).toEqual(['closed > isolated', 'isolated > closed']);
  });

  test('has a Retry-After of at least a second', () => {
    const story = new Story({ openMs: 5 });
    story.circuit.isolate();
    expect(story.circuit.retryAfterMs()).toBe(1_000);
  });

  test('a failure that was in progress does not affect the state after it', async () => {
    const story = new Story();
    await story.calls('ffff');
    story.begin().settle('failure');
    story.circuit.isolate().dispose();
    await microtasks();
    expect(story.circuit.state).toBe('closed');
    expect(story.circuit.counts).toEqual({ calls: 0, failures: 0 });
  });

  test.each(['s', 'f', 'x'])('a trial left behind that ends %s changes nothing', async (letter) => {
    const story = await new Story({ halfOpenRequests: 1 }).due();
    const trial = story.begin();
    const isolation = story.circuit.isolate();
    await story.end(trial, letter);
    expect(story.circuit.state).toBe('isolated');
    isolation.dispose();
    expect(story.circuit.counts).toEqual({ calls: 0, failures: 0 });
  });
});

describe('listeners of a circuit', () => {
  test('are called once per change, after the change, until they unsubscribe', async () => {
    const circuit = new Circuit('a', { ...circuitDefaults, minimumRequests: 1 });
    const heard: unknown[] = [];
    const stop = circuit.onStateChange((...change) => heard.push([...change, circuit.state]));
    circuit.tryAcquire()?.settle('failure');
    await microtasks();
    stop();
    circuit.isolate();
    expect(heard).toEqual([['closed', 'open', 10_000, 'open']]);
  });
});

describe('reset() of a circuit', () => {
  test('closes an open circuit with nothing counted, as one change', async () => {
    const story = await new Story().opened();
    story.circuit.reset();
    expect(story.changes).toEqual(['closed > open for 10000', 'open > closed']);
    await story.calls('ffff');
    expect(story.circuit.state).toBe('closed');
    await story.fail();
    expect(story.circuit.state).toBe('open');
  });

  test('closes a half-open one, whose trials change nothing any more', async () => {
    const story = await new Story().due();
    const trial = story.begin();
    story.circuit.reset();
    await story.end(trial, 'f');
    expect([story.circuit.state, story.circuit.counts]).toEqual(['closed', { calls: 0, failures: 0 }]);
    expect(story.changes.at(-1)).toBe('half-open > closed');
  });

  test('starts the lengths of the open periods again', async () => {
    const story = new Story({ openMs: (attempt) => attempt * 1_000 });
    await story.opened();
    story.later(1_000);
    await story.fail();
    expect(story.changes.at(-1)).toBe('half-open > open for 2000');
    story.circuit.reset();
    await story.opened();
    expect(story.changes.at(-1)).toBe('closed > open for 1000');
  });

  test('leaves a closed one alone, and an isolated one isolated', async () => {
    const story = new Story();
    await story.calls('ff');
    story.circuit.reset();
    expect([story.circuit.counts.failures, story.changes]).toEqual([2, []]);
    const isolation = story.circuit.isolate();
    story.circuit.reset();
    expect(story.circuit.state).toBe('isolated');
    isolation.dispose();
    expect(story.changes).toEqual(['closed > isolated', 'isolated > closed']);
  });
});
