import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { restMs, retryAfterDefaults, retryAfterOrFalse } from '../../../lib/proxy/response/retry-after.ts';

const NOW = Date.UTC(1994, 10, 6, 8, 49, 37);

beforeEach(() => {
  jest.useFakeTimers({ now: NOW });
});
afterEach(() => {
  jest.useRealTimers();
});

describe('Retry-After of a backend', () => {
  test.each([
    ['7', 7_000],
    ['0', 1_000],
    ['1', 1_000],
    ['60', 60_000],
    ['61', 60_000],
    ['9'.repeat(400), 60_000],
    // The three forms of RFC 9110 §5.6.7, 23 s from now.
    ['Sun, 06 Nov 1994 08:50:00 GMT', 23_000],
    ['Sunday, 06-Nov-94 08:50:00 GMT', 23_000],
    ['Sun Nov  6 08:50:00 1994', 23_000],
    ...['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat'].map((day) => [`${day}, 06 Nov 1994 08:50:00 GMT`, 23_000] as const),
    ...['Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'].map(
      (day) => [`${day}, 06-Nov-94 08:50:00 GMT`, 23_000] as const,
    ),
    // In the past, and far away.
    ['Sun, 06 Nov 1994 08:49:00 GMT', 1_000],
    ['Mon, 07 Nov 1994 08:49:37 GMT', 60_000],
  ])('%s is %d ms', (value, ms) => {
    expect(restMs(503, { 'retry-after': value }, retryAfterDefaults)).toBe(ms);
  });

  test.each([
    ...['', '-5', '1.5', '7s', 'soon', '2 Nov 1994', 'Sun, soon', '0x10', '1994-11-06T08:50:00Z'],
    'on Sun, 06 Nov 1994 08:50:00 GMT',
  ])('means nothing when it is %j', (value) => {
    expect(restMs(503, { 'retry-after': value }, retryAfterDefaults)).toBeUndefined();
  });

  test('means nothing when it is missing or stands there twice', () => {
    expect(restMs(503, {}, retryAfterDefaults)).toBeUndefined();
    expect(restMs(503, { 'retry-after': ['1', '2'] }, retryAfterDefaults)).toBeUndefined();
    expect(restMs(503, { 'retry-after': ['Sun, 06 Nov 1994 08:50:00 GMT'] }, retryAfterDefaults)).toBeUndefined();
  });

  test('is read by the clock of the backend, if its response shows that', () => {
    const fields = { 'retry-after': 'Sun, 06 Nov 1994 10:00:05 GMT', date: 'Sun, 06 Nov 1994 10:00:00 GMT' };
    expect(restMs(503, fields, retryAfterDefaults)).toBe(5_000);
    expect(restMs(503, { ...fields, date: 'now' }, retryAfterDefaults)).toBe(60_000);
    expect(restMs(503, { ...fields, date: [fields.date, fields.date] }, retryAfterDefaults)).toBe(60_000);
  });

  test.each([
    [503, 7_000],
    [429, 7_000],
    [500, undefined],
    [413, undefined],
    [301, undefined],
  ])('counts on the statuses named only: %d', (status, ms) => {
    expect(restMs(status, { 'retry-after': '7' }, retryAfterDefaults)).toBe(ms);
  });

  test('bounds and statuses are options', () => {
    const options = { minMs: 10, maxMs: 2_000, statuses: [503] };
    const rest = (status: number, value: string) => restMs(status, { 'retry-after': value }, options);
    expect([rest(503, '0'), rest(503, '1'), rest(503, '9'), rest(429, '9')]).toEqual([10, 1_000, 2_000, undefined]);
  });
});

test.each([
  [false, undefined],
  [{}, undefined],
  [{ statuses: [503] }, undefined],
  [{ minMs: 0 }, ['minMs']],
  [{ statuses: [] }, ['statuses']],
  [{ statuses: [400, 599] }, undefined],
  [{ statuses: [399] }, ['statuses']],
  [{ statuses: [600] }, ['statuses']],
  [{ statuses: [503, 200] }, ['statuses']],
  [{ statuses: [503.5] }, ['statuses']],
  [{ maxMS: 1 }, ['maxMS']],
  [true, ['must be an object']],
])('the option %j has problems: %j', (value, words) => {
  const problems = [retryAfterOrFalse(value) ?? []].flat();
  expect(problems).toHaveLength(words?.length ?? 0);
  const texts = problems.map((problem) => (typeof problem === 'string' ? problem : problem.text));
  for (const [index, word] of (words ?? []).entries()) expect(texts[index]).toContain(word);
});
