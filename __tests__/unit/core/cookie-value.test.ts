import { expect, test } from '@jest/globals';
import { cookieValue } from '../../../lib/core/http.ts';

test.each([
  ['a=1; b=2', 'b', '2'],
  ['a; b=2', 'b', '2'],
  ['; ;a ; b = 2 ;c', 'b', '2'],
  ['b=1=2', 'b', '1=2'],
  ['b=', 'b', ''],
  ['b; c', 'b', undefined],
  ['bb=1;;b', 'b', undefined],
  ['a=b=1; b=2; b=3', 'b', '2'],
  [undefined, 'b', undefined],
])('in %j, %s is %j', (field, name, value) => {
  expect(cookieValue(field, name)).toBe(value);
});

test.each([
  ['semicolons', ';'.repeat(15_000)],
  ['semicolons before a pair', `${';'.repeat(15_000)}a=1`],
  ['pairs', 'a=1;'.repeat(4_000)],
  ['names', 'a;'.repeat(7_500)],
  ['equals signs', '='.repeat(15_000)],
])('%s are looked at no more than a few times each', (_name, text) => {
  let looked = 0;
  const counted = {
    length: text.length,
    indexOf(character: string, from: number) {
      const found = text.indexOf(character, from);
      looked += (found === -1 ? text.length : found) - from + 1;
      return found;
    },
    slice: (start: number, end: number) => text.slice(start, end),
  };
  expect(cookieValue(counted as unknown as string, 'b')).toBeUndefined();
  expect(looked).toBeLessThan(3 * text.length);
});
