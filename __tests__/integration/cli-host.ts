import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Call } from './cli-host-process.ts';
import type { CliResult } from './cli-process.ts';

/**
 * One process for many commands, which saves the start of each: for what a command prints and gives as its exit code.
 * What only a process shows (terminals, signals, streams) needs a `CliProcess`.
 */
export class CliHost {
  readonly #child: ChildProcess = fork(fileURLToPath(new URL('cli-host-process.ts', import.meta.url)), {
    execArgv: ['--conditions=expressway-source'],
  });
  readonly #ended = once(this.#child, 'exit');

  /** One at a time. */
  async run(args: readonly string[], env: Readonly<Record<string, string>>): Promise<CliResult> {
    const result = once(this.#child, 'message');
    this.#child.send({ args, env } satisfies Call);
    const [message] = await Promise.race([result, this.#ended]);
    if (this.#child.exitCode !== null) throw new Error(`the command ended its process with ${this.#child.exitCode}`);
    return message as CliResult;
  }

  async close(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended;
  }
}
