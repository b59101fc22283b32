/** Everything about one variable of the environment. */
export interface Variable<T = unknown> {
  /** Its description for `.env.example`, in whole sentences. White space between words does not matter. */
  readonly text: string;
  /** Text used for an absent or empty variable. Default: empty. */
  readonly default?: string;
  /**
   * Parses a text.
   *
   * @throws {Error} whose message says what is wrong. It has no name of the variable, and never a secret.
   */
  readonly read: (text: string) => T;
  /**
   * When a changed value takes effect: `reload` at SIGHUP, `restart` only when the gateway starts again. Default: at a restart, or when
   * SIGUSR2 replaces the workers.
   */
  readonly takesEffect?: 'reload' | 'restart';
  /** Whether a variable that is set to the empty text differs from an absent one. Default false. */
  readonly isEmptyValue?: boolean;
  /** Whether it configures the single service. With `GATEWAY_CONFIG`, the file has an option for it instead. Default false. */
  readonly isOfOneService?: boolean;
  /** Whether its value must never be shown or logged. Default false. */
  readonly isSecret?: boolean;
}

export type Variables = Readonly<Record<string, Variable>>;

/** The values of variables. */
export type Values<V extends Variables> = { readonly [Name in keyof V]: ReturnType<V[Name]['read']> };

/** A group of variables, and the part of the configuration that they make. */
export interface Section<V extends Variables, C> {
  /** Its heading in `.env.example`. */
  readonly title: string;
  readonly variables: V;
  /** Problems of combined variables, each beginning with the name of one. `given` has the texts of variables that are set. */
  problems?(given: Readonly<Record<string, string>>): readonly string[];
  config(values: Values<V>): C;
}

/**
 * @param config Makes the part of the configuration.
 * @param problems See {@link Section}.
 */
export const section = <const V extends Variables, C>(
  title: string,
  variables: V,
  config: (values: Values<V>) => C,
  problems?: (given: Readonly<Record<string, string>>) => readonly string[],
): Section<V, C> => ({ title, variables, config, ...(problems === undefined ? {} : { problems }) });

/** Marks all variables with `isOfOneService`. */
export const ofOneService = <const V extends Variables>(variables: V): V =>
  Object.fromEntries(Object.entries(variables).map(([name, one]) => [name, { ...one, isOfOneService: true }])) as V;

/** Parses a text. */
type Read<T> = Variable<T>['read'];

/** Node's timers have 31 bits. A longer delay would fire at once. */
const MAX_DELAY_MS = 2 ** 31 - 1;

/** Far above any use, and far below the limit of exact integers. */
const MAX_COUNT = 1_000_000_000;

export const got = (text: string): string => `got ${JSON.stringify(text)}`;

/** An empty text gives `undefined`. */
export const optional =
  <T>(read: Read<T>): Read<T | undefined> =>
  (text) =>
    text === '' ? undefined : read(text);

export const integer =
  (minimum: number, maximum: number = MAX_COUNT): Read<number> =>
  (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= minimum && value <= maximum) return value;
    throw new Error(`must be an integer from ${minimum} to ${maximum}, ${got(text)}`);
  };

export const durationMs: Read<number> = integer(1, MAX_DELAY_MS);

/** Also accepts 0, which has a special meaning, like no limit. */
export const durationMsOrZero: Read<number> = integer(0, MAX_DELAY_MS);

export const port: Read<number> = integer(0, 65_535);

/** A number from `from`, or over `over`, up to `to`. */
export const decimal =
  ({ from, over, to }: { from?: number; over?: number; to?: number }): Read<number> =>
  (text) => {
    const value = /^(?:\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : Number.NaN;
    const isAbove = over === undefined ? value >= (from ?? 0) : value > over;
    if (isAbove && !(value > (to ?? Number.POSITIVE_INFINITY))) return value;
    const range =
      to === undefined
        ? `of at least ${from}`
        : over === undefined
          ? `from ${from} to ${to}`
          : `over ${over} and up to ${to}`;
    throw new Error(`must be a number ${range}, ${got(text)}`);
  };

export const oneOf =
  <const T extends string>(...allowed: readonly T[]): Read<T> =>
  (text) => {
    const found = allowed.find((one) => one === text);
    if (found !== undefined) return found;
    throw new Error(`must be one of ${allowed.join(', ')}, ${got(text)}`);
  };

export const onOrOff: Read<boolean> = (text) => oneOf('on', 'off')(text) === 'on';

export const file: Read<string> = (text) => text;

export const secret =
  (minimumLength: number): Read<string> =>
  (text) => {
    if (text.length >= minimumLength) return text;
    throw new Error(`must have at least ${minimumLength} characters: openssl rand -hex 32 makes one`);
  };

/** The items of a comma-separated list; an empty text has none. */
export const list: Read<readonly string[]> = (text) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
