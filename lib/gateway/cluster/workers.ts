import type { Logger } from '../logging/logger.ts';
import { problemsIn } from '../reload/prepared-reload.ts';
import type { Plan } from './messages.ts';
import { RestartBackoff } from './restart-backoff.ts';
import { SpareProcess } from './spare-process.ts';
import { type Exit, START_TIMEOUT_MS, WorkerProcess } from './worker-process.ts';

const LOOK_EVERY_MS = 1_000;

export interface WorkersParts {
  readonly count: number;
  /** Milliseconds without a message after which a worker is killed; 0 is never. */
  readonly hangTimeoutMs: number;
  /** Milliseconds after which a worker that is stopping is killed. */
  readonly stopTimeoutMs: number;
  /** Variables, in addition to those of this process, for all processes except the first workers. */
  readonly environment: NodeJS.ProcessEnv;
  /** Whether a spare process waits to replace a worker that dies. */
  readonly hasSpare: boolean;
  readonly log: Logger;
  /** Gives the plan of the next worker. */
  readonly plan: () => Plan;
  /** Called with each new process, before anything else happens to it. */
  readonly created: (worker: WorkerProcess) => void;
  readonly ready: (worker: WorkerProcess) => void;
  readonly exited: (worker: WorkerProcess, isCrash: boolean, exit: Exit) => void;
  /** Its last messages have arrived. */
  readonly ended: (worker: WorkerProcess) => void;
}

interface Place {
  readonly index: number;
  readonly backoff: RestartBackoff;
  worker: WorkerProcess | undefined;
  timer: NodeJS.Timeout | undefined;
}

/** Keeps the configured number of workers running: a worker that crashes is replaced. */
export class Workers {
  readonly #parts: WorkersParts;
  readonly #places: readonly Place[];
  /** All processes that have not ended, including those that are being replaced. */
  readonly #alive = new Set<WorkerProcess>();
  readonly #spare: SpareProcess;
  #isStopping = false;
  #watch: NodeJS.Timeout | undefined;
  #lookedAt = Date.now();

  constructor(parts: WorkersParts) {
    this.#parts = parts;
    this.#spare = new SpareProcess(() => this.#create(), parts.log);
    this.#places = Array.from({ length: parts.count }, (_, index) => ({
      index: index + 1,
      backoff: new RestartBackoff(),
      worker: undefined,
      timer: undefined,
    }));
  }

  /** The workers that have not ended. */
  get alive(): readonly WorkerProcess[] {
    return [...this.#alive];
  }

  /** The workers that serve. */
  get serving(): readonly WorkerProcess[] {
    return this.alive.filter(({ state }) => state === 'ready');
  }

  /** Starts all workers. Rejects if any of them cannot start. */
  async start(): Promise<readonly WorkerProcess[]> {
    // Without the compile cache: it is still empty, and a worker writes it at its end, when it may be killed.
    const workers = this.#places.map((place) => this.#fork(place, this.#parts.plan(), this.#create({})));
    if (this.#parts.hangTimeoutMs > 0) {
      this.#watch = setInterval(() => this.#look(), LOOK_EVERY_MS).unref();
    }
    await Promise.all(workers.map(({ ready }) => ready));
    for (const [index, place] of this.#places.entries()) this.#keep(place, workers[index] as WorkerProcess);
    this.#makeSpare(0);
    return workers;
  }

  /**
   * Replaces all workers, one after the other. Each new worker serves before the old one begins to stop.
   *
   * @param firstIsUp Called when the first new worker serves, which proves that the plan works.
   * @throws {WorkerStartError} when a worker cannot start. The workers that were not replaced yet stay.
   */
  async roll(plan: Plan, firstIsUp: () => void): Promise<void> {
    // It has loaded the code of before.
    this.#spare.end();
    try {
      await this.#rollAll(plan, firstIsUp);
    } finally {
      this.#makeSpare(0);
    }
  }

  async #rollAll(plan: Plan, firstIsUp: () => void): Promise<void> {
    for (const [index, place] of this.#places.entries()) {
      if (this.#isStopping) return;
      const next = this.#fork(place, plan);
      await next.ready;
      if (index === 0) firstIsUp();
      // Not the one of before, when that crashed meanwhile; or no worker yet.
      const old = place.worker;
      clearTimeout(place.timer);
      this.#keep(place, next);
      if (old !== undefined && old.state !== 'ended') await this.#stop(old);
    }
  }

  /** Stops all workers. @returns how many had to be killed, or ended with an error. */
  async stop(): Promise<number> {
    this.#isStopping = true;
    clearInterval(this.#watch);
    for (const { timer } of this.#places) clearTimeout(timer);
    this.#spare.end();
    const inOrder = await Promise.all(this.alive.map((worker) => this.#stop(worker)));
    return inOrder.filter((one) => !one).length;
  }

  /** Kills all workers at once. */
  kill(): void {
    this.#isStopping = true;
    this.#spare.end();
    for (const worker of this.#alive) worker.kill();
  }

  #create(environment = this.#parts.environment): WorkerProcess {
    const worker = new WorkerProcess(environment);
    this.#parts.created(worker);
    return worker;
  }

  #makeSpare(delayMs: number): void {
    if (this.#parts.hasSpare && !this.#isStopping) this.#spare.make(delayMs);
  }

  #fork(place: Place, plan: Plan, worker = this.#create()): WorkerProcess {
    this.#alive.add(worker);
    worker.begin(place.index, plan);
    const late = setTimeout(() => {
      this.#parts.log.error({ worker: place.index, pid: worker.pid }, 'worker does not become ready');
      worker.kill();
    }, START_TIMEOUT_MS).unref();
    worker.ready.then(
      () => this.#parts.ready(worker),
      () => {},
    );
    void Promise.race([worker.ready.catch(() => {}), worker.exited]).then(() => clearTimeout(late));
    void worker.exited.then(() => this.#alive.delete(worker));
    return worker;
  }

  /** From now on, this worker is replaced when it ends by itself. */
  #keep(place: Place, worker: WorkerProcess): void {
    place.worker = worker;
    void worker.exited.then((exit) => {
      const wasStopped = this.#isStopping || place.worker !== worker;
      this.#parts.exited(worker, !wasStopped, exit);
      if (!wasStopped) this.#replace(place, worker, exit);
    });
    void worker.ended.then(() => this.#parts.ended(worker));
  }

  #replace(place: Place, worker: WorkerProcess, exit: Exit): void {
    const delayMs = place.backoff.delayMs(worker.servedMs);
    const { log } = this.#parts;
    const spare = this.#spare.take();
    const waitMs = spare === undefined ? delayMs : 0;
    log.error(
      { worker: place.index, pid: worker.pid, ...exit, delayMs: waitMs },
      'worker ended: the gateway starts another one',
    );
    if (spare === undefined) {
      place.timer = setTimeout(() => this.#succeed(place), delayMs);
      return;
    }
    this.#succeed(place, spare);
    // A spare process replaces only workers that had served. Workers that cannot start would use up one spare process after another.
    const refillDelayMs = worker.servedMs === undefined ? delayMs : 0;
    const refill = (): void => this.#makeSpare(refillDelayMs);
    void spare.ready.then(refill, refill);
  }

  #succeed(place: Place, spare?: WorkerProcess): void {
    const { log } = this.#parts;
    const failed = (error: unknown): void =>
      log.error({ worker: place.index, problems: problemsIn(error) }, 'worker cannot start');
    let next: WorkerProcess;
    try {
      next = this.#fork(place, this.#parts.plan(), spare);
    } catch (error) {
      // The machine cannot start another process.
      failed(error);
      place.timer = setTimeout(() => this.#succeed(place), place.backoff.delayMs(undefined));
      return;
    }
    this.#keep(place, next);
    next.ready.then(
      () => log.info({ worker: place.index, pid: next.pid }, 'worker is back'),
      (error) => next.isStopped || failed(error),
    );
  }

  /** @returns whether it ended regularly. */
  async #stop(worker: WorkerProcess): Promise<boolean> {
    const { hasBegun } = worker;
    worker.stop();
    const timer = setTimeout(() => {
      const what =
        worker.finalReport === undefined ? 'worker did not stop in time' : 'worker stopped, but did not exit in time';
      this.#parts.log.error({ worker: worker.place, pid: worker.pid }, `${what}: killed`);
      worker.kill();
    }, this.#parts.stopTimeoutMs);
    const { code } = await worker.ended;
    clearTimeout(timer);
    return code === 0 || !hasBegun;
  }

  /** Kills workers that have sent no message for too long: they hang. */
  #look(): void {
    const now = Date.now();
    const { hangTimeoutMs, log } = this.#parts;
    // This process itself, or the whole machine, stood still, so no message could be read.
    const stoodStill = now - this.#lookedAt > 3 * LOOK_EVERY_MS || now < this.#lookedAt;
    this.#lookedAt = now;
    const { process: spare } = this.#spare;
    for (const worker of spare === undefined ? this.#alive : [...this.#alive, spare]) {
      if (worker.greetedAt === undefined || worker.state === 'stopping') continue;
      if (stoodStill) worker.peer.heardAt = now;
      const silentMs = now - worker.peer.heardAt;
      if (silentMs < hangTimeoutMs) continue;
      log.error({ worker: worker.place, pid: worker.pid, silentMs }, 'worker hangs: killed');
      worker.kill();
    }
  }
}
