import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { jsonPosition } from '../../lib/gateway/config/backends-file.ts';

const columnOf = (text: string): number => Number(/column (\d+)/.exec(jsonPosition(text))?.[1]);

describe('jsonPosition', () => {
  test.each([
    ['', 'line 1, column 1'],
    ['[1,]', 'line 1, column 4'],
    ['{"a":1,}', 'line 1, column 8'],
    ['{"a" 1}', 'line 1, column 6'],
    ['{a:1}', 'line 1, column 2'],
    ['[\n  "a",\n  \'b\'\n]', 'line 3, column 3'],
    ['["a" "b"]', 'line 1, column 6'],
    ['["a]', 'line 1, column 2'],
    ['["\\x"]', 'line 1, column 2'],
    ['[01]', 'line 1, column 2'],
    ['[1}', 'line 1, column 3'],
    ['[1] 2', 'line 1, column 5'],
    ['[tru]', 'line 1, column 2'],
    ['[nulls]', 'line 1, column 2'],
    ['[1.]', 'line 1, column 2'],
    ['[,1]', 'line 1, column 2'],
    ['\ufeff[]', 'line 1, column 1'],
    ['// a\n[]', 'line 1, column 1'],
  ])('%j stops being JSON at %s', (text, position) => {
    expect(() => JSON.parse(text)).toThrow(SyntaxError);
    expect(jsonPosition(text)).toBe(position);
  });

  test('is the end of a valid text, and of one that was cut between two tokens', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        expect(columnOf(text)).toBe(text.length + 1);
        expect(columnOf(`[${text},`)).toBe(text.length + 3);
      }),
    );
  });

  test('is behind the longest prefix that valid JSON could have, for any text', () => {
    const piece = fc.constantFrom('{', '}', '[', ']', ',', ':', '"a"', '1', '-', 'true', ' ', '"', '\\', 'x');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        const text = pieces.join('');
        const column = columnOf(text);
        expect(column).toBeLessThanOrEqual(text.length + 1);
        expect(columnOf(text.slice(0, column - 1))).toBe(column);
      }),
      { numRuns: 2_000 },
    );
  });
});
