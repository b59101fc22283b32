import type { Logger } from '../logging/logger.ts';
import { RestartBackoff } from './restart-backoff.ts';
import { START_TIMEOUT_MS, type WorkerProcess } from './worker-process.ts';

/** A process that has loaded the program and waits. It replaces a worker that dies as fast as it can open a listener. */
export class SpareProcess {
  readonly #create: () => WorkerProcess;
  readonly #log: Logger;
  readonly #backoff = new RestartBackoff();
  #process: WorkerProcess | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(create: () => WorkerProcess, log: Logger) {
    this.#create = create;
    this.#log = log;
  }

  get process(): WorkerProcess | undefined {
    return this.#process;
  }

  /** Starts a spare process, unless there is one. */
  make(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#make(), delayMs).unref();
  }

  /** @returns the spare process, which may still be loading the program; `undefined` without one. */
  take(): WorkerProcess | undefined {
    const taken = this.#process;
    this.#process = undefined;
    return taken;
  }

  end(): void {
    clearTimeout(this.#timer);
    this.take()?.kill();
  }

  #make(): void {
    if (this.#process !== undefined) return;
    try {
      const made = this.#create();
      this.#process = made;
      // One that was taken is a worker, which has a timeout of its own.
      const late = setTimeout(() => {
        if (this.#process !== made || made.greetedAt !== undefined) return;
        this.#log.error({ pid: made.pid }, 'the spare process does not become ready: killed');
        made.kill();
      }, START_TIMEOUT_MS).unref();
      void made.exited.then((exit) => {
        clearTimeout(late);
        // One that was taken, or ended here, is none any more.
        if (this.#process !== made) return;
        this.#process = undefined;
        this.#again({ pid: made.pid, ...exit }, made.greetedAt);
      });
    } catch (error) {
      // The machine cannot start another process.
      this.#again({ error }, undefined);
    }
  }

  #again(facts: object, greetedAt: number | undefined): void {
    const delayMs = this.#backoff.delayMs(greetedAt && Date.now() - greetedAt);
    this.#log.warn({ ...facts, delayMs }, 'the spare process ended: the gateway starts another one');
    this.make(delayMs);
  }
}
