import cluster, { type Worker } from 'node:cluster';
import { setTimeout as delay } from 'node:timers/promises';
import { StartError } from '../start-error.ts';
import type { Failed, FinalReport, Plan, Ready } from './messages.ts';
import { Peer } from './peer.ts';

/** Milliseconds that the last messages of an ended process may take to arrive. */
const LAST_MESSAGES_MS = 100;

/** Milliseconds after which a worker that does not serve yet, or a spare process that has not loaded the program, has failed. */
export const START_TIMEOUT_MS = 60_000;

const kOwner = Symbol('expressway.worker');

/** A connection on its way to a worker. A second `close()` does nothing. */
interface ConnectionHandle {
  close(): void;
  [kOwner]?: WorkerProcess;
}

export type WorkerState = 'starting' | 'ready' | 'stopping' | 'ended';

/** How a process ended: with a code, or by a signal. */
export interface Exit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** A worker that ended before it was ready. */
export class WorkerStartError extends StartError {}

/** One worker process, as its primary sees it. */
export class WorkerProcess {
  /** Number of the worker. A replacement has the same number. 0 for a spare process. */
  place = 0;
  /** The plan that it serves with. */
  plan: Plan | undefined;
  readonly peer: Peer;
  /** Resolves when it serves. Rejects if it ends before that. */
  readonly ready: Promise<Ready>;
  /** Resolves when the process has ended. Its last messages may still arrive. */
  readonly exited: Promise<Exit>;
  /** Resolves when no more messages of it can arrive. */
  readonly ended: Promise<Exit>;
  /** Resolves when it has its number. */
  readonly placed: Promise<void>;
  /** `Date.now()` when it had loaded the program. From then on it sends a message every second. */
  greetedAt: number | undefined;
  /** Whether it has got its plan. */
  hasBegun = false;
  /** Whether it ends because it was stopped. */
  isStopped = false;
  /** Its last report, if it ended regularly. */
  finalReport: FinalReport | undefined;
  readonly #worker: Worker;
  #state: WorkerState = 'starting';
  #readyAt: number | undefined;
  #handedOver: ConnectionHandle | undefined;
  readonly #resolvePlaced: () => void;

  /** @param environment Variables in addition to those of this process. */
  constructor(environment: NodeJS.ProcessEnv) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.placed = promise;
    this.#resolvePlaced = resolve;
    const worker = cluster.fork(environment);
    this.#worker = worker;
    this.peer = new Peer(worker.process);
    this.#followConnections();
    this.exited = this.#whenExited();
    this.ended = this.#whenEnded();
    this.ready = this.#whenReady();
    // Without a handler, a rejection would end this process.
    this.ready.catch(() => {});
    this.peer.on<FinalReport>('finalReport', (words) => {
      this.finalReport = words;
    });
    this.peer.on('beat', () => {});
  }

  get pid(): number | undefined {
    return this.#worker.process.pid;
  }

  /** Milliseconds since it became ready; `undefined` if it has not. */
  get servedMs(): number | undefined {
    return this.#readyAt === undefined ? undefined : Math.max(0, Date.now() - this.#readyAt);
  }

  get state(): WorkerState {
    return this.#state;
  }

  /** Makes it serve. */
  begin(place: number, plan: Plan): void {
    this.place = place;
    this.plan = plan;
    this.#resolvePlaced();
  }

  /** Makes it finish its requests and end. One that has not begun has no clients and is ended at once. */
  stop(): void {
    if (this.#state === 'ended') return;
    this.#state = 'stopping';
    this.isStopped = true;
    if (this.hasBegun) void this.peer.send('stop');
    else this.kill();
  }

  kill(): void {
    this.#worker.process.kill('SIGKILL');
  }

  /**
   * Settles on `exit`. `disconnect` only says that the last messages were read: Node does not emit it for a worker that dies before it has
   * acknowledged a connection.
   */
  async #whenExited(): Promise<Exit> {
    const worker = this.#worker;
    const exit = await new Promise<Exit>((resolve) => {
      worker.once('exit', (code, signal) => resolve({ code, signal }));
      // Without a listener, an error of the channel would end this process. A process that could not be started emits no `exit`.
      worker.on('error', () => {
        if (this.pid === undefined) resolve({ code: null, signal: null });
      });
    });
    this.#state = 'ended';
    return exit;
  }

  async #whenEnded(): Promise<Exit> {
    const disconnected = new Promise<void>((resolve) => this.#worker.once('disconnect', resolve));
    const exit = await this.exited;
    await Promise.race([disconnected, delay(LAST_MESSAGES_MS)]);
    this.peer.close();
    if (this.#handedOver?.[kOwner] === this) this.#handedOver.close();
    return exit;
  }

  /**
   * Node gives a worker one connection at a time, and keeps it open here until the worker has acknowledged it. If the worker dies before
   * that, Node forgets the connection, and its client would wait until its own timeout.
   */
  #followConnections(): void {
    const { process: child } = this.#worker;
    const { send } = child;
    child.send = (...message: unknown[]) => {
      const handle = message[1] as ConnectionHandle | undefined;
      if (handle !== undefined && handle !== null) {
        handle[kOwner] = this;
        this.#handedOver = handle;
      }
      return Reflect.apply(send, child, message);
    };
  }

  #whenReady(): Promise<Ready> {
    return new Promise((resolve, reject) => {
      let problems: readonly string[] | undefined;
      this.peer.on<Failed>('failed', (failed) => {
        problems = failed.problems;
      });
      this.peer.on<Ready>('ready', (ready) => {
        this.#readyAt = Date.now();
        if (this.#state === 'starting') this.#state = 'ready';
        resolve(ready);
      });
      void this.ended.then(({ code, signal }) => {
        reject(new WorkerStartError(problems ?? [`a worker ended with ${signal ?? code} before it was ready`]));
      });
    });
  }
}
