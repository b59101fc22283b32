import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LIBRARY_FLAGS } from '../support/library.ts';
import { until } from './until.ts';

/** Fits into the limit of open files of any machine: a warning that it was lowered must not decide a test. */
const MAX_CONNECTIONS = '400';
/** Off: a busy machine must not decide a test either. */
const LOAD_SHEDDING_DELAY_MS = '0';

const running = new Set<Proc>();

/** One of the example's programs in a process of its own. */
export class Proc {
  stdout = '';
  stderr = '';
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #exited: Promise<unknown>;

  /**
   * The child sees `env` only: the machine's own variables must not decide a test.
   *
   * @param script Of the example, or any other by its absolute path.
   * @param openFiles Its limit of open files, `ulimit -n`.
   */
  constructor(
    script: string,
    env: Readonly<Record<string, string>> = {},
    args: readonly string[] = [],
    cwd?: string,
    openFiles?: number,
  ) {
    const path = resolve(fileURLToPath(new URL('../../example-gateway', import.meta.url)), script);
    // A script of the tests may import sources, too, and all modules must exist once.
    const flags = isAbsolute(script) ? ['--conditions=expressway-source'] : LIBRARY_FLAGS;
    const command = [process.execPath, ...flags, path, ...args];
    const limited = openFiles === undefined ? [] : ['sh', '-c', `ulimit -n ${openFiles}; exec "$0" "$@"`];
    const [program = '', ...words] = [...limited, ...command];
    this.#child = spawn(program, words, {
      env: { NODE_COMPILE_CACHE: process.env.NODE_COMPILE_CACHE, MAX_CONNECTIONS, LOAD_SHEDDING_DELAY_MS, ...env },
      cwd,
    });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
    });
    // 'close' and not 'exit': only then has all output arrived.
    this.#exited = once(this.#child, 'close').then(() => running.delete(this));
    running.add(this);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Waits for the pattern in its standard output, and gives what the first group matched. */
  async said(pattern: RegExp): Promise<string> {
    await until(() => {
      if (pattern.test(this.stdout)) return true;
      if (this.#child.exitCode === null && this.#child.signalCode === null) return false;
      throw new Error(`ended without saying ${pattern}:\n${this.stdout}\n${this.stderr}`);
    });
    const match = pattern.exec(this.stdout);
    return match?.[1] ?? '';
  }

  /** Its exit code, or the signal that ended it. */
  async exit(): Promise<number | NodeJS.Signals | null> {
    await this.#exited;
    return this.#child.exitCode ?? this.#child.signalCode;
  }
}

/** For `afterEach`: nothing outlives its test. */
export async function endAll(): Promise<void> {
  const left = [...running];
  for (const proc of left) proc.kill('SIGKILL');
  await Promise.all(left.map((proc) => proc.exit()));
}
