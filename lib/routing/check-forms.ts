import { type Check, described, recordOf } from '../core/options.ts';

export const isText = (value: unknown): boolean => typeof value === 'string';
export const isList = (value: unknown): boolean => Array.isArray(value);

/** Checks a value that may have one of several forms by the check of the first form that it has. */
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

/** An object of texts, whose keys are names of any kind. */
export const texts: Check = recordOf('value', anyText, /./, 'a name');

/** Options without some of them. */
export function without<T extends object, K extends keyof T>(all: T, ...names: readonly K[]): Omit<T, K> {
  const rest = { ...all };
  for (const name of names) delete rest[name];
  return rest;
}
