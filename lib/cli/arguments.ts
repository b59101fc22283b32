import { readFileSync } from 'node:fs';
import { type ParseArgsConfig, parseArgs, parseEnv } from 'node:util';
import { closestWord } from '../core/closest-word.ts';
import { readFailure } from '../core/read-failure.ts';
import { InputError, UsageError } from './command.ts';

/**
 * Parses the arguments of a command with Node's `parseArgs()`, with error messages of our own.
 *
 * @throws {UsageError} for the first invalid argument
 */
export function readArguments<T extends NonNullable<ParseArgsConfig['options']>>(
  args: readonly string[],
  options: T,
  allowPositionals = false,
) {
  try {
    return parseArgs({ args: [...args], allowPositionals, options });
  } catch (error) {
    throw new UsageError(problemOf(error as NodeJS.ErrnoException, Object.keys(options)), { cause: error });
  }
}

function problemOf({ code, message }: NodeJS.ErrnoException, names: readonly string[]): string {
  const quoted = /'([^']*)'/.exec(message)?.[1] ?? '';
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') {
    const meant = closestWord(quoted.replace(/^-+/, ''), names);
    return `there is no option ${quoted}${meant === undefined ? '' : `; did you mean --${meant}?`}`;
  }
  if (code === 'ERR_PARSE_ARGS_UNEXPECTED_POSITIONAL') return `${JSON.stringify(quoted)} has no option before it`;
  return message;
}

/** @throws {UsageError} */
export function integer(name: string, text: string, least: number, most: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) throw new UsageError(`--${name} must be an integer from ${least} to ${most}`);
  return value;
}

/** Byte order marks of UTF-8 and UTF-16. */
const BYTE_ORDER_MARK = /^(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)/;

/**
 * Reads variables into the environment, as `node --env-file` does. A variable that is already set keeps its value.
 *
 * @throws {InputError} for a file that cannot be read
 */
export function readEnvFile(path: string): void {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new InputError(`cannot read ${path}: ${readFailure(error as Error)}`, { cause: error });
  }
  // Editors on Windows write them. Node would not know the first variable, or any.
  if (BYTE_ORDER_MARK.test(bytes.toString('latin1', 0, 3))) {
    throw new InputError(`${path} begins with a byte order mark (BOM): save it as UTF-8 without one`);
  }
  for (const [name, value] of Object.entries(parseEnv(bytes.toString()))) process.env[name] ??= value;
}
