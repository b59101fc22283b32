import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import {
  type BackendCircuitOptions,
  backendCircuitChecks,
  backendCircuitDefaults,
  consecutiveFailures,
  openBackoff,
} from '../../../lib/circuit-breaker/circuit-options.ts';
import { resolveOptions } from '../../../lib/core/options.ts';
import { Story } from './story.ts';

const times = (options: BackendCircuitOptions, attempts: number): number[] => {
  const all = { ...backendCircuitDefaults, ...options } as Required<BackendCircuitOptions>;
  const openMs = openBackoff(all) as (attempt: number) => number;
  return Array.from({ length: attempts }, (_, index) => openMs(index + 1));
};

const withoutJitter = { openJitter: 0 };

beforeEach(() => {
  jest.useFakeTimers({ now: 1_700_000_000_000 });
});
afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

test.each([
  [{}, 5],
  [{ minimumRequests: 7 }, 7],
  [{ minimumRequests: () => 7 }, 0],
  [{ minimumRequests: 7, consecutiveFailures: 2 }, 2],
  [{ minimumRequests: 7, consecutiveFailures: 0 }, 0],
])('a backend with %j is out after so many failures in a row: %d', (options, count) => {
  expect(consecutiveFailures({ ...backendCircuitDefaults, ...options } as never)).toBe(count);
});

test.each<[object, string]>([
  [{ failureRatio: 0 }, 'failureRatio must be a number over 0 and up to 1, got 0'],
  [{ consecutiveFailures: -1 }, 'consecutiveFailures must be an integer of at least 0, got -1'],
  [{ maxOpenMs: 0 }, 'maxOpenMs must be an integer from 1 to 2147483647, got 0'],
  [{ openJitter: 1.1 }, 'openJitter must be a number from 0 to 1, got 1.1'],
])('the circuit of a backend refuses %j', (options, problem) => {
  const resolve = () => resolveOptions('circuit', options, backendCircuitDefaults, backendCircuitChecks);
  expect(resolve).toThrow(problem);
});

describe('openBackoff', () => {
  test('doubles from 10 s to 300 s', () => {
    expect(times(withoutJitter, 7)).toEqual([10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
  });

  test.each([
    [0, 18_000, 270_000],
    [0.5, 20_000, 300_000],
    [1 - 2 ** -53, 22_000, 330_000],
  ])('all but the first vary by a tenth: random %d', (random, second, last) => {
    jest.spyOn(Math, 'random').mockReturnValue(random);
    const all = times({}, 6);
    expect([all[0], all[1], all[5]]).toEqual([10_000, second, last]);
  });

  test('a maximum at or below openMs keeps it constant', () => {
    expect(times({ ...withoutJitter, openMs: 500, maxOpenMs: 500 }, 3)).toEqual([500, 500, 500]);
    expect(times({ ...withoutJitter, openMs: 400_000 }, 3)).toEqual([400_000, 400_000, 400_000]);
  });

  test('stays a whole number that a timer can hold, however often it opens', () => {
    const longest = 2 ** 31 - 1;
    jest.spyOn(Math, 'random').mockReturnValue(0.99);
    const openMs = openBackoff({ ...backendCircuitDefaults, openMs: longest, maxOpenMs: longest });
    expect((openMs as (attempt: number) => number)(5_000)).toBe(longest);
    expect(times({ openMs: 7, openJitter: 0.1 }, 12).every(Number.isInteger)).toBe(true);
  });

  test('a circuit starts over once it has closed', async () => {
    const story = new Story({ openMs: openBackoff({ ...backendCircuitDefaults, ...withoutJitter }) });
    await story.calls('fffff');
    story.later(10_000);
    await story.fail();
    story.later(20_000);
    await story.fail();
    story.later(40_000);
    await story.calls('sssfffff');
    expect(story.changes.filter((change) => change.includes('open for'))).toEqual([
      'closed > open for 10000',
      'half-open > open for 20000',
      'half-open > open for 40000',
      'closed > open for 10000',
    ]);
  });
});
