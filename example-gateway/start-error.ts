/** A start that failed for a reason that the operator can mend: shown as plain lines, without a stack. */
export class StartError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(problems.join('\n'), options);
    this.name = new.target.name;
    this.problems = problems;
  }
}

/** Ends the process when the gateway cannot start; anything but a `StartError` is a bug and keeps its stack. */
export function exitOnStartError(error: unknown): never {
  if (!(error instanceof StartError)) throw error;
  for (const problem of error.problems) process.stderr.write(`${problem}\n`);
  process.exit(1);
}
