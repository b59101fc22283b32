import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child } from '../harness/child.ts';
import type { Placement } from '../harness/placement.ts';
import type { Processes } from '../harness/processes.ts';
import type { Mode } from './backend-process.ts';
import { freePort } from './free-port.ts';
import type { Fault } from './scenario.ts';

const SCRIPT = fileURLToPath(new URL('./backend-process.ts', import.meta.url));

const MODES: Partial<Record<Fault, Mode>> = { resets: 'resets', 'answers 500': 'answers 500' };

export interface BackendContext {
  readonly processes: Processes;
  readonly placement: Placement;
  /** For its journal. */
  readonly folder: string;
}

/** One backend in a process of its own, which can fail and come back on the same port. */
export class Backend {
  readonly name: string;
  readonly origin: string;
  readonly #context: BackendContext;
  readonly #port: number;
  readonly #journal: string;
  #process: ChildProcess | undefined;
  #child: Child | undefined;
  #fault: Fault | undefined;

  private constructor(name: string, context: BackendContext, port: number) {
    this.name = name;
    this.origin = `http://127.0.0.1:${port}`;
    this.#context = context;
    this.#port = port;
    this.#journal = join(context.folder, `${name}.executions`);
  }

  static async start(name: string, context: BackendContext): Promise<Backend> {
    const backend = new Backend(name, context, await freePort());
    await backend.#start();
    return backend;
  }

  /** Resolves when it has failed as wanted. */
  async fail(fault: Fault): Promise<void> {
    this.#fault = fault;
    const mode = MODES[fault];
    if (mode !== undefined) await this.#child?.ask('become', mode);
    else if (fault === 'stopped') this.#process?.kill('SIGSTOP');
    else await this.stop();
  }

  /** Resolves when it would answer again. */
  async recover(): Promise<void> {
    const fault = this.#fault;
    this.#fault = undefined;
    if (fault === undefined) return;
    if (MODES[fault] !== undefined) await this.#child?.ask('become', 'answers' satisfies Mode);
    else if (fault === 'stopped') this.#process?.kill('SIGCONT');
    else await this.#start();
  }

  /** The nonces of the requests with content that it ever executed, one entry for each time. */
  executions(): string[] {
    return readFileSync(this.#journal, 'latin1').split('\n').slice(0, -1);
  }

  /** With SIGKILL, which ends a stopped process too. */
  async stop(): Promise<void> {
    this.#child?.kill();
    await this.#child?.stop();
  }

  async #start(): Promise<void> {
    const { processes, placement } = this.#context;
    const args = [SCRIPT, String(this.#port), this.name, this.#journal];
    // Not `start()`: signals other than SIGKILL need the process itself.
    this.#process = processes.spawn([process.execPath, ...process.execArgv, ...args], placement.load, { talks: true });
    this.#child = new Child(`backend ${this.name}`, this.#process);
    await this.#child.ready();
  }
}
