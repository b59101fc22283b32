import { describe, expect, test } from '@jest/globals';
import { RecentPeak } from '../../../lib/proxy/transport/kept-connections.ts';
import { mockDateOnly } from '../../support/mock-time.ts';

const START = 1_800_000_000_000;
mockDateOnly(START);

describe('RecentPeak', () => {
  const peakOf5 = () => {
    const peak = new RecentPeak();
    for (const count of [1, 5, 2]) peak.observe(count);
    return peak;
  };

  test('is the maximum of at least the last 30 s', () => {
    const peak = peakOf5();
    expect(peak.of(2, START)).toBe(5);
    expect(peak.of(2, START + 29_999)).toBe(5);
    expect(peak.of(2, START + 30_000)).toBe(5);
    expect(peak.of(2, START + 59_999)).toBe(5);
  });

  test('is forgotten after a minute, read meanwhile or not', () => {
    const asked = peakOf5();
    asked.of(2, START + 30_000);
    expect(asked.of(1, START + 60_000)).toBe(2);
    expect(peakOf5().of(1, START + 60_000)).toBe(1);
  });

  test('lasts no longer when the wall clock is set back', () => {
    const peak = peakOf5();
    const back = START - 3_600_000;
    expect(peak.of(2, back)).toBe(5);
    expect(peak.of(2, back + 30_000)).toBe(2);
  });
});
