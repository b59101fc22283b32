import { closestWord } from './closest-word.ts';
import { MAX_DELAY_MS } from './delay.ts';
import { GatewayError } from './errors.ts';
import { shownValue } from './shown-value.ts';

/** A problem of a part of a value: `path` leads from the value to the part. */
export interface Problem {
  /** Keys and list positions; empty for the value itself. */
  readonly path: readonly (string | number)[];
  /** A whole sentence. */
  readonly text: string;
}

/** A JSON Schema (draft 2020-12). */
export type JsonSchema = { readonly [keyword: string]: unknown };

/**
 * Returns the problem of a value, as the rest of a sentence that begins with the option's name; `undefined` if the value is valid. A check
 * of the parts of a value returns one whole sentence for each problem.
 */
export interface Check {
  (value: unknown): string | readonly (string | Problem)[] | undefined;
  /** Schema of the accepted values, for editors. `undefined` for values that a file cannot contain, such as a function. */
  readonly schema?: JsonSchema;
}

/** A check with a schema of the values that it accepts. */
export const described = (accepts: (value: unknown) => ReturnType<Check>, schema: JsonSchema): Check =>
  // A new function, because the given one may have another schema elsewhere.
  Object.assign((value: unknown) => accepts(value), { schema });

/** One check per option. The compiler requires a check for each new option. */
export type Checks<T> = { readonly [K in keyof Required<T>]: Check };

/** Options of other libraries, each with its replacement here: the end of a sentence that begins with `unknown option "max": `. */
export type ForeignOptions = Readonly<Record<string, string>>;

/** Bad options. Every problem is in `problems`, and all of them are in the message. */
export class OptionsError extends GatewayError {
  readonly problems: readonly string[];
  /** The same problems, each with the place in the options. */
  readonly details: readonly Problem[];

  constructor(subject: string, problems: readonly (string | Problem)[]) {
    const details = problems.map(problemOf);
    const texts = details.map(({ text }) => text);
    super('ERR_EXPRESSWAY_OPTIONS', `${subject}: ${texts.join('; ')}`);
    this.name = 'OptionsError';
    this.problems = texts;
    this.details = details;
  }
}

const problemOf = (problem: string | Problem): Problem =>
  typeof problem === 'string' ? { path: [], text: problem } : problem;

/** Rules about several options of one set. */
type Whole<T> = (options: T) => readonly (string | Problem)[];

/**
 * Fills in defaults and checks every option; an explicit `undefined` means the default.
 *
 * @param foreign Names of options in other libraries. A misspelt name needs no entry: the closest one is found.
 * @param whole Rules about several options. They are skipped if an option has an invalid value.
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function resolveOptions<T extends object, D extends Partial<T>>(
  subject: string,
  given: T | undefined,
  defaults: D,
  checks: Checks<T>,
  foreign: ForeignOptions = {},
  whole?: Whole<T & D>,
): T & D {
  const { resolved, problems } = resolve(given, defaults, checks, foreign, whole as Whole<never>);
  if (problems.length > 0) throw new OptionsError(subject, problems);
  return resolved as T & D;
}

/** Checks an option that is itself a set of options, so that its problems appear among all the others. */
export function group<T extends object, D extends Partial<T>>(
  defaults: D,
  checks: Checks<T>,
  foreign: ForeignOptions = {},
  whole?: Whole<T & D>,
): Check {
  const accepts = (value: unknown) => resolve(value, defaults, checks, foreign, whole as Whole<never>).problems;
  return described(accepts, objectSchema(defaults, checks));
}

function objectSchema(defaults: object, checks: Readonly<Record<string, Check>>): JsonSchema {
  const properties = Object.entries(checks).flatMap(([key, { schema }]) => {
    const standard = (defaults as Readonly<Record<string, unknown>>)[key];
    return schema === undefined
      ? []
      : [[key, standard === undefined ? schema : { ...schema, default: standard }] as const];
  });
  const names = properties.map(([key]) => key as string);
  const required = names.filter((key) => {
    const isGiven = (defaults as Readonly<Record<string, unknown>>)[key] !== undefined;
    return !isGiven && checks[key]?.(undefined) !== undefined;
  });
  return {
    type: 'object',
    properties: Object.fromEntries(properties),
    ...(required.length === 0 ? {} : { required }),
    additionalProperties: false,
  };
}

/** Checks each member of a list. */
export const listOf = (what: string, member: Check, minimum = 0): Check =>
  described(
    (value) => {
      if (!Array.isArray(value) || value.length < minimum) {
        return minimum === 0 ? `must be a list of ${what}s` : `must be a list of at least ${minimum} ${what}`;
      }
      return value.flatMap((one, index) => problemsWithin(`${what} ${index + 1}`, index, one, member));
    },
    { type: 'array', items: member.schema ?? {}, ...(minimum === 0 ? {} : { minItems: minimum }) },
  );

/** Whether a value is a plain object: not a list, and not an object of a class. */
export const isPlainObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && [Object.prototype, null].includes(Object.getPrototypeOf(value));

/** Checks each value of an object, whose keys are names of the user's. */
export const recordOf = (what: string, member: Check, name: RegExp, named: string): Check =>
  described(
    (value) => {
      if (!isPlainObject(value)) return `must be an object: a ${what} for each name`;
      return Object.entries(value).flatMap(([key, one]) =>
        name.test(key)
          ? problemsWithin(`"${key}"`, key, one, member, false)
          : [{ path: [key], text: `"${key}" must be ${named}` }],
      );
    },
    { type: 'object', additionalProperties: member.schema ?? {}, propertyNames: { pattern: name.source } },
  );

/** @param isShown Whether a bad value is shown. If users choose the names, the value may be a secret that `shownValue()` does not detect. */
function problemsWithin(
  label: string,
  key: string | number,
  value: unknown,
  member: Check,
  isShown = true,
): readonly Problem[] {
  const found = member(value);
  if (found === undefined) return [];
  if (typeof found === 'string')
    return [{ path: [key], text: `${label} ${found}${isShown ? `, got ${shownValue(value)}` : ''}` }];
  return found.map(problemOf).map(({ path, text }) => ({ path: [key, ...path], text: `${label}: ${text}` }));
}

function resolve(
  given: unknown,
  defaults: object,
  checks: Readonly<Record<string, Check>>,
  foreign: ForeignOptions,
  whole: Whole<never> | undefined,
): { resolved: Record<string, unknown>; problems: Problem[] } {
  const resolved: Record<string, unknown> = { ...defaults };
  if (isRequest(given)) return { resolved, problems: [problemOf(UNCALLED)] };
  if (given !== undefined && (typeof given !== 'object' || given === null || Array.isArray(given))) {
    // Not the text itself: if users choose the names of options, it may be a secret in the wrong place.
    const shown = typeof given === 'string' ? 'a text' : shownValue(given);
    return { resolved, problems: [problemOf(`options must be an object, got ${shown}`)] };
  }
  const problems: Problem[] = [];
  for (const [key, value] of Object.entries(given ?? {})) {
    if (!Object.hasOwn(checks, key))
      problems.push({ path: [key], text: unknownOption(key, Object.keys(checks), foreign) });
    else if (value !== undefined) resolved[key] = value;
  }
  for (const [key, one] of Object.entries(checks)) problems.push(...problemsWithin(key, key, resolved[key], one));
  if (problems.length === 0 && whole !== undefined) problems.push(...whole(resolved as never).map(problemOf));
  return { resolved, problems };
}

const UNCALLED =
  'got a request instead of options: call it, and mount what it returns, as in app.use(roundRobinProxy({ … }))';

const isRequest = (given: unknown): boolean =>
  typeof given === 'object' && given !== null && 'httpVersion' in given && 'headers' in given;

/** The problem of an unknown option, with the name of the most similar one. */
export function unknownOption(key: string, known: readonly string[], foreign: ForeignOptions = {}): string {
  const problem = `unknown option "${key}"`;
  if (Object.hasOwn(foreign, key)) return `${problem}: ${foreign[key]}`;
  const closest = closestWord(key, known);
  return closest === undefined ? problem : `${problem}: did you mean "${closest}"?`;
}

export const integer = (minimum: number, maximum: number = Number.MAX_SAFE_INTEGER): Check => {
  const isOpen = maximum === Number.MAX_SAFE_INTEGER;
  return described(
    (value) =>
      Number.isSafeInteger(value) && (value as number) >= minimum && (value as number) <= maximum
        ? undefined
        : `must be an integer ${isOpen ? `of at least ${minimum}` : `from ${minimum} to ${maximum}`}`,
    { type: 'integer', minimum, ...(isOpen ? {} : { maximum }) },
  );
};

/** A duration that must be more than nothing. */
export const durationMs: Check = integer(1, MAX_DELAY_MS);

/** A duration for which 0 means "off". */
export const optionalDurationMs: Check = integer(0, MAX_DELAY_MS);

export const ratio: Check = described(
  (value) => (typeof value === 'number' && value > 0 && value <= 1 ? undefined : 'must be a number over 0 and up to 1'),
  { type: 'number', exclusiveMinimum: 0, maximum: 1 },
);

/** A ratio for which 0 means "none". */
export const optionalRatio: Check = described(
  (value) => (typeof value === 'number' && value >= 0 && value <= 1 ? undefined : 'must be a number from 0 to 1'),
  { type: 'number', minimum: 0, maximum: 1 },
);

export const boolean: Check = described((value) => (typeof value === 'boolean' ? undefined : 'must be true or false'), {
  type: 'boolean',
});

export const func: Check = (value) => (typeof value === 'function' ? undefined : 'must be a function');

export const nonEmptyString: Check = described(
  (value) => (typeof value === 'string' && value.length > 0 ? undefined : 'must be a non-empty string'),
  { type: 'string', minLength: 1 },
);

export const nonEmptyStrings: Check = (value) =>
  Array.isArray(value) && value.every((one) => typeof one === 'string' && one !== '')
    ? undefined
    : 'must be an array of non-empty strings';

/** A text of a certain form. */
export const text = (form: RegExp, problem: string): Check =>
  described((value) => (typeof value === 'string' && form.test(value) ? undefined : problem), {
    type: 'string',
    pattern: form.source,
  });

export const oneOf = (...allowed: readonly unknown[]): Check =>
  described(
    (value) =>
      allowed.includes(value) ? undefined : `must be one of ${allowed.map((one) => shownValue(one)).join(', ')}`,
    { enum: allowed },
  );

/** Accepts a missing value, and the values that `accepted` accepts. */
export const optional = (accepted: Check): Check =>
  Object.assign((value: unknown) => (value === undefined ? undefined : accepted(value)), schemaOf(accepted));

const schemaOf = ({ schema }: Check): { schema?: JsonSchema } => (schema === undefined ? {} : { schema });

/** For options whose check lies elsewhere (a callback's result, an object checked by its own class). */
export const anything: Check = () => undefined;

/** Options without those that are `undefined`, so that they do not replace others. */
export function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as T;
}
