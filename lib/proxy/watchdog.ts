/** Something that must make progress. It says so without reading a clock: on the request path that would add up. */
export interface Watched {
  /** Milliseconds that it may be silent for; `Infinity` while nothing is due. */
  readonly timeoutMs: number;
  /** Set to 0 at each sign of progress; the first sweep after that notes the time of the watchdog's own clock. */
  silentSince: number;
  /** Its index among those that are watched; only the watchdog sets it. */
  index: number;
  /** Called at each sweep that finds it silent for too long: ends it, or bears with it. */
  expired(silentMs: number): void;
}

/** Sweeps this many times within the shortest time-out, so that a time-out is at most a tenth late. */
const SWEEPS = 20;
const MAX_PERIOD_MS = 500;
const MIN_PERIOD_MS = 5;

/**
 * One coarse timer for the time-outs of all requests in flight: a timer of its own for each phase of each
 * request would cost the request path more than everything else that watches over it.
 */
export class Watchdog {
  readonly #periodMs: number;
  // No `Set`: V8 makes a new table for it after every few dozen additions, and each old one points to the next and to what
  // it held. Once one of them has outlived two collections of young objects, all requests do, dead as they are.
  readonly #watched: Watched[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** Milliseconds that have passed while something was watched: from 1, since 0 stands for progress. */
  #clock = 1;
  #dueAt = 0;

  constructor(shortestTimeoutMs: number) {
    this.#periodMs = Math.max(MIN_PERIOD_MS, Math.min(MAX_PERIOD_MS, Math.floor(shortestTimeoutMs / SWEEPS)));
  }

  watch(watched: Watched): void {
    watched.index = this.#watched.length;
    this.#watched.push(watched);
    if (this.#timer !== undefined) return;
    this.#dueAt = Date.now();
    this.#timer = setInterval(() => this.#due(), this.#periodMs).unref();
  }

  /** Milliseconds since its last sign of progress, as far as sweeps have seen. */
  silentMs({ silentSince }: Watched): number {
    return silentSince === 0 ? 0 : this.#clock - silentSince;
  }

  unwatch(watched: Watched): void {
    if (this.#watched[watched.index] !== watched) return;
    const last = this.#watched.pop() as Watched;
    if (last === watched) return;
    this.#watched[watched.index] = last;
    last.index = watched.index;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#watched.length = 0;
  }

  /**
   * A process that was held up finds its timers due before it reads what came meanwhile. One turn of reading goes first:
   * a connection whose bytes have only not been read is not silent.
   */
  #due(): void {
    const now = Date.now();
    // A wall clock that was set, or a process that was stopped, ends no request.
    this.#clock += Math.max(0, Math.min(now - this.#dueAt, 2 * this.#periodMs));
    this.#dueAt = now;
    setImmediate(() => this.#sweep());
  }

  #sweep(): void {
    // From the end: the last one takes the slot of one that is unwatched meanwhile, and has had its turn.
    for (let index = this.#watched.length - 1; index >= 0; index -= 1) {
      const watched = this.#watched[index];
      if (watched === undefined) continue;
      const silentMs = this.silentMs(watched);
      if (watched.silentSince === 0) watched.silentSince = this.#clock;
      else if (silentMs >= watched.timeoutMs) watched.expired(silentMs);
    }
    if (this.#watched.length === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }
}
