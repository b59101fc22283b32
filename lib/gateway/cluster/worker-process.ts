import cluster, { type Worker } from 'node:cluster';
import { setTimeout as delay } from 'node:timers/promises';
import { StartError } from '../start-error.ts';
import type { Failed, FinalReport, Plan, Ready } from './messages.ts';
import { Peer } from './peer.ts';

/** After a process has ended, how long its last messages may take to arrive. */
const LAST_MESSAGES_MS = 100;

const kOwner = Symbol('expressway.worker');

/** A connection on its way to a worker. Closing one that is closed already does nothing. */
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

/** One process that serves traffic, as its primary sees it. */
export class WorkerProcess {
  /** Number of its place among the workers: its successor has the same. 0 for a spare process, which has none yet. */
  place = 0;
  /** What it was given to serve with. */
  plan: Plan | undefined;
  readonly peer: Peer;
  /** Resolves when it serves. Rejects when it ends before. */
  readonly ready: Promise<Ready>;
  /** Resolves as soon as the process has gone: its last messages may still arrive. */
  readonly exited: Promise<Exit>;
  /** Resolves when nothing of it will arrive any more. */
  readonly ended: Promise<Exit>;
  /** Resolves when it has a place. */
  readonly placed: Promise<void>;
  /** When it had loaded the program, as of `Date.now()`. From then on it is heard every second. */
  greetedAt: number | undefined;
  /** Whether it knows what to serve with. */
  hasBegun = false;
  /** Whether it ends because it was stopped. */
  isStopped = false;
  /** Its report, when it ended in order. */
  finalReport: FinalReport | undefined;
  readonly #worker: Worker;
  #state: WorkerState = 'starting';
  #readyAt: number | undefined;
  #handedOver: ConnectionHandle | undefined;
  readonly #resolvePlaced: () => void;

  /** @param environment Variables that it has besides those of this process. */
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
    // A rejection without a handler must not end this process.
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

  /** Has it serve. */
  begin(place: number, plan: Plan): void {
    this.place = place;
    this.plan = plan;
    this.#resolvePlaced();
  }

  /** Serves no more, answers what it has, and ends. One that has not begun has no client, and may be long in loading the program. */
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
   * Settles on `exit`. Node emits no `disconnect` for a worker that dies with a handed-over connection that it has not
   * acknowledged, so that event only says that the last messages were read.
   */
  async #whenExited(): Promise<Exit> {
    const worker = this.#worker;
    const exit = await new Promise<Exit>((resolve) => {
      worker.once('exit', (code, signal) => resolve({ code, signal }));
      // Without a listener, a channel that breaks would end this process. A process that could not be made has no exit.
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
   * Node hands a worker one connection at a time, and keeps it open here until the worker has acknowledged it. If the
   * worker dies before that, Node forgets the connection: its client would wait until its own timeout.
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
