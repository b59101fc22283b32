import { describe, expect, test } from '@jest/globals';
import { Via } from '../../../lib/proxy/request/forwarding-headers.ts';

describe('Via', () => {
  test.each([
    [undefined, '1.1', '1.1 edge'],
    ['', '1.1', '1.1 edge'],
    ['1.1 a', '1.0', '1.1 a, 1.0 edge'],
    [undefined, '2.0', '2.0 edge'],
  ])('R3: after %j, received in %s', (before, version, field) => {
    expect(new Via('edge').after(before, version)).toBe(field);
  });

  test.each([
    ['1.1 edge', true],
    ['1.0 other, 1.1 edge', true],
    ['1.1 edge, 1.0 other', true],
    ['HTTP/1.1 \t edge (a comment)', true],
    ['1.1 other (edge)', false],
    ['1.1 edges', false],
    ['edge', false],
    ['edge 1.1', false],
  ])('R3: a request with %j passed here: %p', (before, passed) => {
    expect(new Via('edge').isIn(before)).toBe(passed);
  });

  test('characters of regular expressions are literal in a name', () => {
    const via = new Via('a.b+c|d');
    expect(via.isIn('1.1 a.b+c|d')).toBe(true);
    expect(via.isIn('1.1 axb+c|d')).toBe(false);
  });

  test('R13: a field as long as a head may be is read in linear time', () => {
    const via = new Via('edge');
    // Time of the CPU, not of the clock. At this length, quadratic time would take minutes.
    const before = process.cpuUsage();
    for (const part of ['(', ',', ' ', '1.1 edge-', '\t,', '1.1 (edge,']) {
      expect(via.isIn(`${part.repeat(1_048_576 / part.length)}edge`)).toBe(false);
    }
    const { user, system } = process.cpuUsage(before);
    expect(user + system).toBeLessThan(10_000_000);
  });
});
