import { closestWord } from './closest-word.ts';
import { GatewayError } from './errors.ts';
import { shownValue } from './shown-value.ts';

/**
 * Says what is wrong with a value, as the rest of a sentence that begins with the option's name; or nothing when
 * it is fine. A group of options says it with one whole sentence for each of its own.
 */
export type Check = (value: unknown) => string | readonly string[] | undefined;

/** One check per option: the compiler asks for a check where an option is added. */
export type Checks<T> = { readonly [K in keyof Required<T>]: Check };

/** Options of other libraries, each with what to use here: the end of a sentence that begins with `unknown option "max": `. */
export type ForeignOptions = Readonly<Record<string, string>>;

/** Bad options. Every problem is in `problems`, and all of them are in the message. */
export class OptionsError extends GatewayError {
  readonly problems: readonly string[];

  constructor(subject: string, problems: readonly string[]) {
    super('ERR_EXPRESSWAY_OPTIONS', `${subject}: ${problems.join('; ')}`);
    this.name = 'OptionsError';
    this.problems = problems;
  }
}

/**
 * Fills in defaults and checks every option; an explicit `undefined` means the default.
 *
 * @param foreign Names that people bring along from other libraries. A misspelt name needs no entry: the closest one is found.
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function resolveOptions<T extends object, D extends Partial<T>>(
  subject: string,
  given: T | undefined,
  defaults: D,
  checks: Checks<T>,
  foreign: ForeignOptions = {},
): T & D {
  const { resolved, problems } = resolve(given, defaults, checks, foreign);
  if (problems.length > 0) throw new OptionsError(subject, problems);
  return resolved as T & D;
}

/** Checks an option that is itself a set of options, so that its problems appear among all the others. */
export const group =
  <T extends object, D extends Partial<T>>(defaults: D, checks: Checks<T>): Check =>
  (value) =>
    resolve(value, defaults, checks).problems;

function resolve(
  given: unknown,
  defaults: object,
  checks: Readonly<Record<string, Check>>,
  foreign: ForeignOptions = {},
): { resolved: Record<string, unknown>; problems: string[] } {
  const resolved: Record<string, unknown> = { ...defaults };
  if (isRequest(given)) return { resolved, problems: [UNCALLED] };
  if (given !== undefined && (typeof given !== 'object' || given === null || Array.isArray(given))) {
    return { resolved, problems: [`options must be an object, got ${shownValue(given)}`] };
  }
  const problems: string[] = [];
  for (const [key, value] of Object.entries(given ?? {})) {
    if (!Object.hasOwn(checks, key)) problems.push(unknownOption(key, Object.keys(checks), foreign));
    else if (value !== undefined) resolved[key] = value;
  }
  for (const [key, check] of Object.entries(checks)) {
    const problem = check(resolved[key]);
    if (typeof problem === 'string') problems.push(`${key} ${problem}, got ${shownValue(resolved[key])}`);
    else if (problem !== undefined) for (const part of problem) problems.push(`${key}: ${part}`);
  }
  return { resolved, problems };
}

const UNCALLED =
  'got a request instead of options: call it, and mount what it returns, as in app.use(roundRobinProxy({ … }))';

const isRequest = (given: unknown): boolean =>
  typeof given === 'object' && given !== null && 'httpVersion' in given && 'headers' in given;

/** Says that there is no such option, and which one was meant if that can be told. */
export function unknownOption(key: string, known: readonly string[], foreign: ForeignOptions = {}): string {
  const problem = `unknown option "${key}"`;
  if (Object.hasOwn(foreign, key)) return `${problem}: ${foreign[key]}`;
  const closest = closestWord(key, known);
  return closest === undefined ? problem : `${problem}: did you mean "${closest}"?`;
}

/** Node's timers hold 31 bits: a longer delay would fire at once. */
export const MAX_DELAY_MS = 2 ** 31 - 1;

export const integer =
  (minimum: number, maximum: number = Number.MAX_SAFE_INTEGER): Check =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) >= minimum && (value as number) <= maximum
      ? undefined
      : `must be an integer ${maximum === Number.MAX_SAFE_INTEGER ? `of at least ${minimum}` : `from ${minimum} to ${maximum}`}`;

/** A duration that must be more than nothing. */
export const durationMs: Check = integer(1, MAX_DELAY_MS);

/** A duration for which 0 means "off". */
export const optionalDurationMs: Check = integer(0, MAX_DELAY_MS);

export const ratio: Check = (value) =>
  typeof value === 'number' && value > 0 && value <= 1 ? undefined : 'must be a number over 0 and up to 1';

/** A ratio for which 0 means "none". */
export const optionalRatio: Check = (value) =>
  typeof value === 'number' && value >= 0 && value <= 1 ? undefined : 'must be a number from 0 to 1';

export const boolean: Check = (value) => (typeof value === 'boolean' ? undefined : 'must be true or false');

export const func: Check = (value) => (typeof value === 'function' ? undefined : 'must be a function');

export const nonEmptyString: Check = (value) =>
  typeof value === 'string' && value.length > 0 ? undefined : 'must be a non-empty string';

export const oneOf =
  (...allowed: readonly unknown[]): Check =>
  (value) =>
    allowed.includes(value) ? undefined : `must be one of ${allowed.map((one) => shownValue(one)).join(', ')}`;

/** Accepts a missing value beside what `check` accepts. */
export const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined ? undefined : check(value);

/** For options whose check lies elsewhere (a callback's result, an object checked by its own class). */
export const anything: Check = () => undefined;
