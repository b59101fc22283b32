import { describe, expect, test } from '@jest/globals';
import { shownText, shownValue } from '../../../lib/core/shown-value.ts';

class Thing {}

describe('shownValue', () => {
  const circular: unknown[] = [];
  circular.push(circular);
  test.each<[unknown, string]>([
    [undefined, 'undefined'],
    [null, 'null'],
    [1.5, '1.5'],
    [5n, '5'],
    [Symbol('a'), 'Symbol(a)'],
    ['a', '"a"'],
    [() => {}, 'a function'],
    [shownText, 'the function shownText'],
    [Thing, 'the function Thing'],
    [new Thing(), 'an object of Thing'],
    [{}, 'an empty object'],
    [Object.create(null), 'an empty object'],
    [{ method: 'GET', path: 'geheim' }, 'an object with method, path'],
    [{ a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1 }, 'an object with a, b, c, d, e, and 2 more'],
    [[], 'an empty array'],
    [[1, 'a', {}], '[1, "a", an empty object]'],
    [[1, 2, 3, 4, 5, 6, 7], '[1, 2, 3, 4, 5, and 2 more]'],
    [circular, '[[an array]]'],
  ])('%p is %s', (value, shown) => {
    expect(shownValue(value)).toBe(shown);
  });

  test.each([
    ['redis://user:geheim@host', '"redis://***@host"'],
    ['redis://user:ge/he@im@host:1/2', '"redis://***@host:1/2"'],
    ['redis+cluster://u:geheim@a,u:geheim@b', '"redis+cluster://***@b"'],
    ['user:geheim@host', '"***@host"'],
    ['https://h/a?key=geheim#geheim', '"https://h/a?***"'],
    ['a?b', '"a?b"'],
    ['x'.repeat(101), `"${'x'.repeat(100)}…"`],
  ])('of the text %s only %s is shown', (text, shown) => {
    expect(shownValue(text)).toBe(shown);
  });
});
