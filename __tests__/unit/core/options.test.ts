import { describe, expect, test } from '@jest/globals';
import {
  boolean,
  type Checks,
  durationMs,
  group,
  OptionsError,
  optional,
  resolveOptions,
} from '../../../lib/core/options.ts';

interface Inner {
  waitMs?: number;
}
interface Outer {
  timeoutMs?: number;
  flag?: boolean;
  inner?: Inner;
}
const inner: Checks<Inner> = { waitMs: durationMs };
const checks: Checks<Outer> = { timeoutMs: durationMs, flag: optional(boolean), inner: group({ waitMs: 1 }, inner) };
const resolve = (given?: unknown) => resolveOptions('thing', given as Outer, { timeoutMs: 5, inner: {} }, checks);

function problems(given: unknown): readonly string[] {
  try {
    resolve(given);
  } catch (error) {
    expect(error).toBeInstanceOf(OptionsError);
    return (error as OptionsError).problems;
  }
  return [];
}

describe('resolveOptions()', () => {
  test('fills in defaults; an explicit undefined means the default', () => {
    expect(resolve()).toEqual({ timeoutMs: 5, inner: {} });
    expect(resolve({ timeoutMs: undefined, flag: true })).toEqual({ timeoutMs: 5, flag: true, inner: {} });
  });

  test('names every problem, of groups too, in one error', () => {
    expect(problems({ timeoutMs: 0, flag: 'yes', colour: 1, inner: { waitMs: -1, nope: 1 } })).toEqual([
      'unknown option "colour"',
      'timeoutMs must be an integer from 1 to 2147483647, got 0',
      'flag must be true or false, got "yes"',
      'inner: unknown option "nope"',
      'inner: waitMs must be an integer from 1 to 2147483647, got -1',
    ]);
  });

  test.each([[null], [[]], ['text'], [7]])('refuses options that are no object: %j', (given) => {
    expect(problems(given)[0]).toContain('must be an object');
  });

  test.each([
    ['timeoutms', 'timeoutMs'],
    ['timeout', 'timeoutMs'],
    ['timeuotMs', 'timeoutMs'],
    ['flags', 'flag'],
    ['Inner', 'inner'],
  ])('a misspelt "%s" is answered with "%s"', (given, meant) => {
    expect(problems({ [given]: 1 })).toEqual([`unknown option "${given}": did you mean "${meant}"?`]);
  });

  test('a misspelt option of a group is answered as well', () => {
    expect(problems({ inner: { waitMS: 1 } })).toEqual(['inner: unknown option "waitMS": did you mean "waitMs"?']);
  });

  test('an option of another library is answered with what to use here', () => {
    const foreign = { max: 'use timeoutMs' };
    const run = (given: object) => resolveOptions('thing', given, { timeoutMs: 5, inner: {} }, checks, foreign);
    expect(() => run({ max: 1 })).toThrow('unknown option "max": use timeoutMs');
    expect(() => run({ constructor: 1 })).toThrow('unknown option "constructor" (see');
  });

  test('an inherited name is no known option', () => {
    expect(problems({ toString: 1 })).toEqual(['unknown option "toString"']);
  });

  test.each([[Number.NaN], [1.5], ['10'], [2 ** 31], [Number.POSITIVE_INFINITY], [null]])(
    '%p is no duration',
    (value) => {
      expect(problems({ timeoutMs: value })).toHaveLength(1);
    },
  );

  test("a password in a URL does not get into the error's message", () => {
    expect(problems({ timeoutMs: 'redis://user:secret@host' })[0]).toContain('redis://***@host');
  });
});
