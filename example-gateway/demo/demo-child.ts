import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { StartError } from 'expressway/gateway';

/** One demo backend in a process of its own, so that it can be killed. */
export class DemoChild {
  readonly name: string;
  readonly url: string;
  readonly pid: number;
  readonly #process: ChildProcess;
  readonly #exited: Promise<unknown>;
  #stopping = false;

  private constructor(name: string, url: string, process: ChildProcess, exited: Promise<unknown>) {
    this.name = name;
    this.url = url;
    this.pid = process.pid as number;
    this.#process = process;
    this.#exited = exited;
  }

  /**
   * @throws {StartError} when it ended before it listened; it has said why itself.
   */
  static async start(name: string, port: number): Promise<DemoChild> {
    const child = fork(new URL('demo-backend.ts', import.meta.url), ['--name', name, '--port', String(port)]);
    const exited = once(child, 'exit');
    const url = await Promise.race([
      once(child, 'message').then(([message]) => (message as { url: string }).url),
      exited.then(() => undefined),
    ]);
    if (url === undefined) throw new StartError([`The demo backend ${name} did not start`]);
    return new DemoChild(name, url, child, exited);
  }

  /** Waits for the end of it; `true` when it ended without being stopped. */
  async gone(): Promise<boolean> {
    await this.#exited;
    return !this.#stopping;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#process.connected) this.#process.disconnect();
    await this.#exited;
  }
}
