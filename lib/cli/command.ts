/** Where a command reads and writes. */
export interface Streams {
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly stderr: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

/** One command of `expressway`. */
export interface Command {
  readonly name: string;
  /** One line, for the list of commands. */
  readonly summary: string;
  /** The whole help, with examples. */
  readonly help: string;
  /**
   * Runs the command. @returns the exit code.
   *
   * @throws {UsageError} for invalid arguments
   * @throws {InputError} for input that cannot be read
   */
  run(args: readonly string[], streams: Streams): Promise<0 | 1>;
}

/** Exit code 2: the arguments are invalid. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Exit code 1: the input cannot be read. */
export class InputError extends Error {
  override readonly name = 'InputError';
}
