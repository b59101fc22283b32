import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { CLI, LIBRARY_FLAGS } from '../support/library.ts';
import { eventually } from '../support/servers.ts';

export interface CliResult {
  readonly code: number | NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

/** `expressway` in a process of its own, which sees no variable but those that it is given. */
export class CliProcess {
  out = '';
  err = '';
  readonly #child: ChildProcessWithoutNullStreams;
  readonly done: Promise<CliResult>;

  constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.#child = spawn(process.execPath, [...LIBRARY_FLAGS, CLI, ...args], {
      env: { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE, ...env },
    });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.out += text;
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.err += text;
    });
    this.done = once(this.#child, 'close').then(() => ({
      code: this.#child.exitCode ?? this.#child.signalCode,
      out: this.out,
      err: this.err,
    }));
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Waits for its output; gives what the first group matched. */
  async said(pattern: RegExp): Promise<string> {
    const match = (): RegExpExecArray | null => pattern.exec(this.out);
    const ended = (): boolean => this.#child.exitCode !== null || this.#child.signalCode !== null;
    await eventually(`the output ${pattern}`, () => match() !== null || ended());
    const found = match();
    if (found === null) throw new Error(`it ended without ${pattern}:\n${this.out}\n${this.err}`);
    return found[1] ?? '';
  }

  /** For whoever cleans up: nothing outlives its test. */
  async close(): Promise<void> {
    this.kill('SIGKILL');
    await this.done;
  }
}

export const cli = (args: readonly string[], env?: Readonly<Record<string, string>>): Promise<CliResult> =>
  new CliProcess(args, env).done;
