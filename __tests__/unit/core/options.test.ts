import { describe, expect, jest, test } from '@jest/globals';
import { MAX_DELAY_MS } from '../../../lib/core/delay.ts';
import {
  anything,
  boolean,
  type Checks,
  durationMs,
  group,
  listOf,
  nonEmptyString,
  OptionsError,
  optional,
  recordOf,
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
  ])('suggests for the misspelt "%s" the option "%s"', (given, meant) => {
    expect(problems({ [given]: 1 })).toEqual([`unknown option "${given}": did you mean "${meant}"?`]);
  });

  test('suggests options of a group as well', () => {
    expect(problems({ inner: { waitMS: 1 } })).toEqual(['inner: unknown option "waitMS": did you mean "waitMs"?']);
  });

  test('explains what replaces an option of another library', () => {
    const foreign = { max: 'use timeoutMs' };
    const run = (given: object) => resolveOptions('thing', given, { timeoutMs: 5, inner: {} }, checks, foreign);
    expect(() => run({ max: 1 })).toThrow('unknown option "max": use timeoutMs');
    expect(() => run({ constructor: 1 })).toThrow('unknown option "constructor" (see');
  });

  test('refuses inherited names as options', () => {
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

describe('the place of a problem', () => {
  interface Inner {
    sizeMs?: number;
    names?: readonly string[];
  }
  interface Outer {
    inner?: Inner;
    list?: readonly Inner[];
    named?: Readonly<Record<string, Inner>>;
  }
  const inner = group<Inner, Inner>(
    {},
    { sizeMs: optional(durationMs), names: optional(listOf('name', nonEmptyString)) },
  );
  const checks: Checks<Outer> = {
    inner,
    list: optional(listOf('part', inner, 1)),
    named: optional(recordOf('part', inner, /^[a-z]+$/, 'lower-case letters')),
  };

  function problemsOf(given: object): readonly (readonly [path: string, text: string])[] {
    try {
      resolveOptions<Outer, Outer>('outer', given as Outer, {}, checks);
      return [];
    } catch (error) {
      return (error as OptionsError).details.map(({ path, text }) => [path.join('/'), text] as const);
    }
  }

  test.each([
    [{ oter: 1 }, [['oter', 'unknown option "oter"']]],
    [{ inner: 5 }, [['inner', 'inner: options must be an object, got 5']]],
    [{ inner: { sizeMs: 0 } }, [['inner/sizeMs', `inner: sizeMs must be an integer from 1 to ${MAX_DELAY_MS}, got 0`]]],
    [{ inner: { sizMs: 1 } }, [['inner/sizMs', 'inner: unknown option "sizMs": did you mean "sizeMs"?']]],
    [{ list: [] }, [['list', 'list must be a list of at least 1 part, got an empty array']]],
    [
      { list: [{}, { names: ['a', ''] }] },
      [['list/1/names/1', 'list: part 2: names: name 2 must be a non-empty string, got ""']],
    ],
    [{ named: { A: {} } }, [['named/A', 'named: "A" must be lower-case letters']]],
    [
      { named: { a: { sizeMs: 'x' } } },
      [['named/a/sizeMs', `named: "a": sizeMs must be an integer from 1 to ${MAX_DELAY_MS}, got "x"`]],
    ],
  ])('%j', (given, expected) => {
    expect(problemsOf(given)).toEqual(expected);
  });

  test('rules about several options are asked once each option is good', () => {
    const whole = jest.fn((options: Inner) => (options.names === undefined ? ['needs names'] : []));
    const resolve = (given: Inner) =>
      resolveOptions('inner', given, {}, { sizeMs: optional(durationMs), names: anything }, {}, whole);
    expect(() => resolve({ sizeMs: 0 })).toThrow(/sizeMs must/);
    expect(whole).not.toHaveBeenCalled();
    expect(() => resolve({ sizeMs: 1 })).toThrow(/inner: needs names/);
    expect(resolve({ names: ['a'] })).toEqual({ names: ['a'] });
  });

  test('a check describes the accepted values as a JSON Schema', () => {
    expect(group<Outer, Outer>({ inner: {} }, checks).schema).toEqual({
      type: 'object',
      additionalProperties: false,
      properties: {
        inner: {
          type: 'object',
          additionalProperties: false,
          default: {},
          properties: {
            sizeMs: { type: 'integer', minimum: 1, maximum: MAX_DELAY_MS },
            names: { type: 'array', items: { type: 'string', minLength: 1 } },
          },
        },
        list: expect.objectContaining({ type: 'array', minItems: 1 }),
        named: expect.objectContaining({ type: 'object', propertyNames: { pattern: '^[a-z]+$' } }),
      },
    });
  });
});
