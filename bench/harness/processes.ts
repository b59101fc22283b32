import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Child } from './child.ts';
import type { Cpus } from './placement.ts';

export interface SpawnOptions {
  /** Whether it is a child that answers questions. */
  readonly talks?: boolean;
  /** On top of the environment of the run. */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

export interface ChildSpec {
  readonly name: string;
  readonly script: URL;
  readonly args?: readonly string[];
  readonly cpus: Cpus;
}

/** Every process that a run started, so that none of them outlives it, however it ends. */
export class Processes {
  readonly #running = new Set<ChildProcess>();

  constructor() {
    process.once('exit', () => this.killAll());
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(signal, () => process.exit(130));
    }
  }

  start(spec: ChildSpec): Child {
    const command = [process.execPath, ...process.execArgv, fileURLToPath(spec.script), ...(spec.args ?? [])];
    return new Child(spec.name, this.spawn(command, spec.cpus, { talks: true }));
  }

  spawn(command: readonly string[], cpus: Cpus, { talks = false, env = {} }: SpawnOptions = {}): ChildProcess {
    // A prefix, not a later `taskset -p`: threads that Node starts early would stay where they were.
    const [file, ...args] = cpus === undefined ? command : ['taskset', '--cpu-list', cpus, ...command];
    const child = spawn(file as string, args, {
      stdio: ['ignore', talks ? 'ignore' : 'pipe', 'pipe', ...(talks ? (['ipc'] as const) : [])],
      env: { ...process.env, NODE_ENV: 'production', ...env },
    });
    this.#running.add(child);
    child.once('close', () => this.#running.delete(child));
    child.once('error', () => this.#running.delete(child));
    return child;
  }

  killAll(): void {
    for (const child of this.#running) child.kill('SIGKILL');
  }
}
