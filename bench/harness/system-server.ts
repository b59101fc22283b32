import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Usage } from './child-side.ts';
import type { Cpus } from './placement.ts';
import { processUsage } from './process-usage.ts';
import type { Processes } from './processes.ts';

const START_MS = 10_000;
/** `start` measures with it. */
const POLL_MS = 5;
const STDERR_KEPT = 2_000;

export interface SystemServerSpec {
  readonly name: string;
  /** A program that stays in the foreground, in one process. */
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Where it will listen, on loopback. */
  readonly port: number;
  readonly cpus: Cpus;
}

/** A server that is no Node script of ours: it is ready when its port accepts, and `/proc` tells what it uses. */
export class SystemServer {
  readonly port: number;
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #stderr = '';

  private constructor({ name, port }: SystemServerSpec, child: ChildProcess) {
    this.#name = name;
    this.port = port;
    this.#child = child;
    this.#ended = once(child, 'close');
    child.stdout?.resume();
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_KEPT);
    });
  }

  /** @throws {Error} with what it said last, when it does not accept connections in time. */
  static async start(spec: SystemServerSpec, processes: Processes): Promise<SystemServer> {
    const child = processes.spawn(spec.command, spec.cpus, { env: spec.env });
    const server = new SystemServer(spec, child);
    try {
      await server.#accepting();
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
    return server;
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  usage(): Usage {
    return processUsage(this.pid);
  }

  /** @throws {Error} when it ended before it was told to. */
  async stop(): Promise<void> {
    if (this.#hasEnded()) throw new Error(`${this.#name} ended by itself: ${this.#stderr.trim()}`);
    this.#child.kill('SIGTERM');
    const patience = setTimeout(() => this.#child.kill('SIGKILL'), 2_000);
    await this.#ended;
    clearTimeout(patience);
  }

  #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async #accepting(): Promise<void> {
    const giveUpAt = performance.now() + START_MS;
    while (performance.now() < giveUpAt && !this.#hasEnded()) {
      const socket = connect(this.port, '127.0.0.1');
      const accepted = await once(socket, 'connect').then(
        () => true,
        () => false,
      );
      socket.destroy();
      if (accepted) return;
      await sleep(POLL_MS);
    }
    throw new Error(`${this.#name} did not start: ${this.#stderr.trim()}`);
  }
}
