import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { IpRateLimitOptions } from '../../lib/rate-limit/ip-rate-limit-options.ts';
import { eventually } from './servers.ts';

const SCRIPT = fileURLToPath(new URL('./limiter-process.ts', import.meta.url));

/** What a limiter has let pass: its index, when it was asked, and when it had answered, in milliseconds. */
export type Passage = readonly [limiter: number, asked: number, passed: number];

/** Limiters in a process of their own. */
export class LimiterProcess {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #exited: Promise<unknown>;
  #output = '';
  #errors = '';

  constructor(limiters: readonly IpRateLimitOptions[]) {
    this.#child = spawn(process.execPath, [SCRIPT, JSON.stringify(limiters)], {
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    this.#exited = once(this.#child, 'close');
    this.#child.stdout.on('data', (chunk) => {
      this.#output += chunk;
    });
    this.#child.stderr.on('data', (chunk) => {
      this.#errors += chunk;
    });
  }

  /** Waits until it listens. */
  async url(): Promise<string> {
    const listens = () => {
      if (this.#child.exitCode !== null) throw new Error(this.#errors);
      return this.#output.includes('\n');
    };
    await eventually('a gateway listens', listens);
    const { port } = JSON.parse(this.#output.split('\n')[0] as string) as { port: number };
    return `http://127.0.0.1:${port}`;
  }

  /** Ends it; gives what it has let pass. */
  async end(): Promise<readonly Passage[]> {
    this.#child.stdin.end();
    await this.#exited;
    if (this.#errors !== '') throw new Error(this.#errors);
    return JSON.parse(this.#output.split('\n')[1] as string).passed;
  }

  /** SIGKILL, wherever it is. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  async close(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.kill();
  }
}
