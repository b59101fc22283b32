import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import { StartError } from '../start-error.ts';
import type { Failed, LastWords, Plan, Ready } from './messages.ts';
import { Peer } from './peer.ts';

export type WorkerState = 'starting' | 'ready' | 'stopping' | 'ended';

/** How a process ended: with a code, or by a signal. */
export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** A worker that ended before it was ready. */
export class WorkerStartError extends StartError {}

/** One process that serves traffic, as its primary sees it. */
export class WorkerProcess {
  /** Of its place among the workers: its successor has the same. */
  readonly place: number;
  readonly plan: Plan;
  readonly peer: Peer;
  readonly startedAt = Date.now();
  /** Resolves when it serves. Rejects when it ends before. */
  readonly ready: Promise<Ready>;
  readonly exited: Promise<Exit>;
  /** Whether it was told what to serve with. */
  hasBegun = false;
  /** What it said when it ended in order. */
  lastWords: LastWords | undefined;
  readonly #worker: Worker;
  #state: WorkerState = 'starting';

  constructor(place: number, plan: Plan) {
    this.place = place;
    this.plan = plan;
    const worker = cluster.fork();
    this.#worker = worker;
    this.peer = new Peer(worker.process);
    // Both: what it said last may be read after it has ended.
    this.exited = Promise.all([once(worker, 'exit'), once(worker, 'disconnect')]).then(([[code, signal]]) => {
      this.#state = 'ended';
      this.peer.close();
      return { code, signal };
    });
    // A channel that breaks is seen as the end of the process; without a listener it would be the end of this one.
    worker.on('error', () => {});
    this.ready = this.#whenReady();
    // Whoever waits for it is told; who does not need not know.
    this.ready.catch(() => {});
    this.peer.on<LastWords>('lastWords', (words) => {
      this.lastWords = words;
    });
    this.peer.on('beat', () => {});
  }

  get pid(): number | undefined {
    return this.#worker.process.pid;
  }

  get state(): WorkerState {
    return this.#state;
  }

  /** Serves no more, answers what it has, and ends. */
  stop(): void {
    if (this.#state === 'ended') return;
    this.#state = 'stopping';
    this.peer.tell('stop');
  }

  kill(): void {
    this.#worker.process.kill('SIGKILL');
  }

  #whenReady(): Promise<Ready> {
    return new Promise((resolve, reject) => {
      let problems: readonly string[] | undefined;
      this.peer.on<Failed>('failed', (failed) => {
        problems = failed.problems;
      });
      this.peer.on<Ready>('ready', (ready) => {
        if (this.#state === 'starting') this.#state = 'ready';
        resolve(ready);
      });
      void this.exited.then(({ code, signal }) => {
        reject(new WorkerStartError(problems ?? [`a worker ended with ${signal ?? code} before it was ready`]));
      });
    });
  }
}
