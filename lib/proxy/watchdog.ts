/** Something that must make progress. It reports progress without reading a clock, which would be costly on the request path. */
export interface Watched {
  /** Milliseconds for which it may be silent; `Infinity` for any time. */
  readonly timeoutMs: number;
  /** Set to 0 at each sign of progress. The next sweep replaces 0 by the time of the watchdog's clock. */
  silentSince: number;
  /** Its index among those that are watched; only the watchdog sets it. */
  index: number;
  /** Called at each sweep that finds it silent for too long. It may end itself or go on. */
  expired(silentMs: number): void;
}

/** Sweeps within the shortest timeout, so that a timeout is at most a tenth late. */
const SWEEPS = 20;
const MAX_PERIOD_MS = 500;
const MIN_PERIOD_MS = 5;

/**
 * One coarse timer for the timeouts of all requests in flight. A timer for each phase of each request would cost the request path much more.
 */
export class Watchdog {
  readonly #periodMs: number;
  // No `Set`: V8 replaces its table after every few dozen additions, and each old table refers to the next one and to its entries. Once a table
  // has outlived two collections of young objects, it keeps all later requests in memory, although they have ended.
  readonly #watched: Watched[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** Milliseconds in which something was watched. It starts at 1, because 0 stands for progress. */
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

  /** Milliseconds from its last sign of progress to the last sweep. */
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
   * After a process was held up, its timers run before it reads the bytes that arrived meanwhile. So the sweep waits for one turn of reading:
   * a connection with unread bytes is not silent.
   */
  #due(): void {
    const now = Date.now();
    // No request must end because the wall clock was set or the process was stopped.
    this.#clock += Math.max(0, Math.min(now - this.#dueAt, 2 * this.#periodMs));
    this.#dueAt = now;
    setImmediate(() => this.#sweep());
  }

  #sweep(): void {
    // From the end, because `unwatch()` moves the last entry, which was checked already, into the freed slot.
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
