import { OptionsError } from '../index.ts';

/** A start that failed for a reason that the operator can mend: shown as plain lines, without a stack. */
export class StartError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(problems.join('\n'), options);
    this.name = new.target.name;
    this.problems = problems;
  }
}

/** Ends the process when the gateway cannot start; anything that an operator cannot mend is a bug and keeps its stack. */
export function exitOnStartError(error: unknown): never {
  const problems = problemsOf(error);
  if (problems === undefined) throw error;
  for (const problem of problems) process.stderr.write(`${problem}\n`);
  process.exit(1);
}

/** Options that are good one by one, and that a middleware refuses together, come from the configuration as well. */
export function problemsOf(error: unknown): readonly string[] | undefined {
  if (error instanceof StartError) return error.problems;
  return error instanceof OptionsError ? [error.message] : undefined;
}
