import { describe, expect, test } from '@jest/globals';
import { Via } from '../../../lib/proxy/request/via.ts';

describe('Via', () => {
  test.each([
    [undefined, '1.1', '1.1 edge'],
    ['', '1.1', '1.1 edge'],
    ['1.1 a', '1.0', '1.1 a, 1.0 edge'],
    [undefined, '2.0', '2.0 edge'],
  ])('R3: after %j, received in %s', (before, version, field) => {
    expect(new Via('edge').after(before, version)).toBe(field);
  });

  test('what is special in a regular expression is not special in a name', () => {
    const via = new Via('a.b+c|d');
    expect(via.isIn('1.1 a.b+c|d')).toBe(true);
    expect(via.isIn('1.1 axb+c|d')).toBe(false);
  });

  test('R13: a field as long as a head may be is read in no time', () => {
    const via = new Via('edge');
    const started = performance.now();
    for (const part of ['(', ',', ' ', '1.1 edge-', '\t,', '1.1 (edge,']) {
      expect(via.isIn(`${part.repeat(16_384 / part.length)}edge`)).toBe(false);
    }
    expect(performance.now() - started).toBeLessThan(1_000);
  });
});
