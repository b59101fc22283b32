import { type Check, optional } from '../core/options.ts';

/** For a list of middlewares that are asked for their state: by what they have, so that objects of the same shape will do. */
export const sourcesCheck = (maker: string, ...members: readonly string[]): Check =>
  optional((value) =>
    Array.isArray(value) && value.every((one) => isObject(one) && members.every((member) => member in one))
      ? undefined
      : `must be an array of what ${maker}() gave`,
  );

const isObject = (value: unknown): value is object =>
  (typeof value === 'object' || typeof value === 'function') && value !== null;
