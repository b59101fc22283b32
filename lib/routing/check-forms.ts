import { type Check, described, recordOf } from '../core/options.ts';

export const isText = (value: unknown): boolean => typeof value === 'string';
export const isList = (value: unknown): boolean => Array.isArray(value);

/** Checks a value that may have one of several forms, with the check of the first form that fits. */
export const either = (
  what: string,
  forms: readonly (readonly [is: (value: unknown) => boolean, check: Check])[],
): Check =>
  described(
    (value) => {
      const form = forms.find(([is]) => is(value));
      return form === undefined ? `must be ${what}` : form[1](value);
    },
    { anyOf: forms.flatMap(([, { schema }]) => schema ?? []) },
  );

export const anyText: Check = described((value) => (isText(value) ? undefined : 'must be a text'), { type: 'string' });

/** An object whose values are texts, under any names. */
export const texts: Check = recordOf('value', anyText, /./, 'a name');

/** A copy without some of the options. */
export function without<T extends object, K extends keyof T>(all: T, ...names: readonly K[]): Omit<T, K> {
  const rest = { ...all };
  for (const name of names) delete rest[name];
  return rest;
}
