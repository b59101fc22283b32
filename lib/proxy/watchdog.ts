/** Something that must make progress before its deadline. */
export interface Watched {
  /** `Date.now()` at which it counts as stalled; `Infinity` while nothing is due. */
  readonly deadline: number;
  /** Called when the deadline has passed: end it, or set a later deadline. */
  expired(now: number): void;
}

/** Sweeps this many times within the shortest time-out, so that a time-out is at most 5 % late. */
const SWEEPS = 20;
const MAX_PERIOD_MS = 500;
const MIN_PERIOD_MS = 5;

/**
 * One coarse timer for the time-outs of all requests in flight: a timer of its own for each phase of each
 * request would cost the request path more than everything else that watches over it.
 */
export class Watchdog {
  readonly #periodMs: number;
  readonly #watched = new Set<Watched>();
  #timer: NodeJS.Timeout | undefined;

  constructor(shortestTimeoutMs: number) {
    this.#periodMs = Math.max(MIN_PERIOD_MS, Math.min(MAX_PERIOD_MS, Math.floor(shortestTimeoutMs / SWEEPS)));
  }

  watch(watched: Watched): void {
    this.#watched.add(watched);
    this.#timer ??= setInterval(() => this.#sweep(), this.#periodMs).unref();
  }

  unwatch(watched: Watched): void {
    this.#watched.delete(watched);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#watched.clear();
  }

  #sweep(): void {
    const now = Date.now();
    for (const watched of this.#watched) if (watched.deadline <= now) watched.expired(now);
    if (this.#watched.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }
}
