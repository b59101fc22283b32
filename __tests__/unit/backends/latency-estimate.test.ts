import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { LatencyEstimate } from '../../../lib/backends/selection/latency-estimate.ts';

beforeEach(() => {
  jest.useFakeTimers({ now: 1_700_000_000_000 });
});
afterEach(() => {
  jest.useRealTimers();
});

describe('the latency estimate', () => {
  test('is unknown at first', () => {
    expect(new LatencyEstimate().ms).toBe(0);
  });

  test('rises at once, and falls within seconds', () => {
    const estimate = new LatencyEstimate();
    estimate.observe(10);
    expect(estimate.ms).toBe(10);
    estimate.observe(200);
    expect(estimate.ms).toBe(200);
    const after: number[] = [];
    for (let second = 1; second <= 40; second += 1) {
      jest.advanceTimersByTime(1_000);
      estimate.observe(10);
      if (second % 10 === 0) after.push(Math.round(estimate.ms));
    }
    expect(after).toEqual([80, 36, 19, 13]);
  });

  test('falls to a third within ten seconds without a response', () => {
    const estimate = new LatencyEstimate();
    estimate.observe(100);
    jest.advanceTimersByTime(10_000);
    expect(estimate.ms).toBeCloseTo(100 / Math.E);
    jest.advanceTimersByTime(7_200_000);
    expect(estimate.ms).toBeLessThan(1e-6);
  });

  test('a client that left early can only raise it', () => {
    const estimate = new LatencyEstimate();
    estimate.observe(100);
    estimate.observeAtLeast(50);
    expect(estimate.ms).toBe(100);
    estimate.observeAtLeast(5_000);
    expect(estimate.ms).toBe(5_000);
  });

  test('failures double it, up to a minute', () => {
    const estimate = new LatencyEstimate();
    estimate.observe(10);
    estimate.observeFailure(1);
    estimate.observeFailure(1);
    expect(estimate.ms).toBe(40);
    estimate.observeFailure(15_000);
    expect(estimate.ms).toBe(15_000);
    for (let failure = 0; failure < 10; failure += 1) estimate.observeFailure(1);
    expect(estimate.ms).toBe(60_000);
  });

  test('can be reset', () => {
    const estimate = new LatencyEstimate();
    estimate.observe(10);
    estimate.forget();
    expect(estimate.ms).toBe(0);
    estimate.observe(5);
    expect(estimate.ms).toBe(5);
  });
});
