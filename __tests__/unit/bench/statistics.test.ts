import { describe, expect, test } from '@jest/globals';
import {
  lastThirdOverFirst,
  medianRange,
  pairedRatios,
  quantileOf,
  spreadOf,
} from '../../../bench/report/statistics.ts';

describe('spreadOf', () => {
  test('of an odd number has the middle value', () => {
    expect(spreadOf([9, 1, 5, 3, 7])).toEqual({ median: 5, lower: 3, upper: 7 });
  });

  test('of an even number lies between the two in the middle', () => {
    expect(spreadOf([10, 1, 2, 4])).toEqual({ median: 3, lower: 1.75, upper: 5.5 });
  });

  test('of one value is that value', () => {
    expect(spreadOf([4])).toEqual({ median: 4, lower: 4, upper: 4 });
  });

  test('ignores a disturbance of a quarter of the rounds', () => {
    expect(spreadOf([1, 1, 1, 1, 1, 1, 1, 900])).toEqual({ median: 1, lower: 1, upper: 1 });
  });

  test('of no values is undefined', () => {
    expect(spreadOf([])).toBeUndefined();
  });
});

test('the median is known the better, the more values there are and the closer they are', () => {
  const spread = { median: 1.02, lower: 1, upper: 1.04 };
  const { low, high } = medianRange(spread, 48);
  expect([low, high]).toEqual([expect.closeTo(1.0095, 4), expect.closeTo(1.0305, 4)]);
  expect(medianRange(spread, 192).high).toBeCloseTo(1.0253, 4);
  expect(medianRange({ median: 1, lower: 1, upper: 1 }, 3)).toEqual({ low: 1, high: 1 });
});

test('ratios are taken round by round, and only as far as both go', () => {
  expect(pairedRatios([2, 9, 8], [1, 3])).toEqual([2, 3]);
});

describe('quantileOf', () => {
  const hundred = Float64Array.from({ length: 100 }, (_, index) => index + 1);

  test.each([
    [0, 1],
    [0.5, 50],
    [0.99, 99],
    [0.999, 100],
    [1, 100],
  ])('%d of the values from 1 to 100 is %d', (q, value) => {
    expect(quantileOf(hundred, q)).toBe(value);
  });

  test('of one value is that value', () => {
    expect(quantileOf(Float64Array.of(7), 0.5)).toBe(7);
  });

  test('of nothing is no number', () => {
    expect(quantileOf(new Float64Array(0), 0.5)).toBeNaN();
  });
});

describe('lastThirdOverFirst', () => {
  test('compares the medians, so that one outlier counts for nothing', () => {
    expect(lastThirdOverFirst([10, 10, 99, 50, 50, 50, 20, 20, 0])).toBe(2);
  });

  test('leaves the remainder of a division by three out of the first and the last third', () => {
    expect(lastThirdOverFirst([1, 5, 5, 5, 3])).toBe(3);
  });

  test('needs three values', () => {
    expect(lastThirdOverFirst([1, 2])).toBeUndefined();
  });
});
