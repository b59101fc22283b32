import { type Checks, durationMs, integer } from '../core/options.ts';

/** Who may wait while all backends are full: `queue` of `roundRobinProxy()`. */
export interface QueueOptions {
  /** Requests that may wait while every backend that would do is full; 0 for none. Default 0. */
  size?: number;
  /** Milliseconds that one waits at most. Default 1 000. */
  timeoutMs?: number;
}

/** Defaults of {@link QueueOptions}. */
export const queueDefaults = Object.freeze({ size: 0, timeoutMs: 1_000 });

export const queueChecks: Checks<QueueOptions> = { size: integer(0, 1_000_000), timeoutMs: durationMs };

/** A request that waits for a place at a backend. */
export interface Waiter {
  /** Takes a place if there is one for it, in the same tick. */
  tryEnter(): boolean;
  /** It has waited long enough. */
  expired(): void;
}

/** Requests that wait for a place, first come, first served; bounded in number and in time. */
export class WaitingLine {
  readonly #size: number;
  readonly #timeoutMs: number;
  /** In order of arrival. */
  readonly #waiting = new Map<Waiter, NodeJS.Timeout>();

  constructor({ size, timeoutMs }: Required<QueueOptions>) {
    this.#size = size;
    this.#timeoutMs = timeoutMs;
  }

  get length(): number {
    return this.#waiting.size;
  }

  /** @returns False when the line is full. */
  join(waiter: Waiter): boolean {
    if (this.#waiting.size >= this.#size) return false;
    const timer = setTimeout(() => {
      this.#waiting.delete(waiter);
      waiter.expired();
    }, this.#timeoutMs).unref();
    this.#waiting.set(waiter, timer);
    return true;
  }

  leave(waiter: Waiter): void {
    clearTimeout(this.#waiting.get(waiter));
    this.#waiting.delete(waiter);
  }

  /** A place has become free: the first in line takes it. */
  advance(): void {
    for (const waiter of this.#waiting.keys()) {
      if (!waiter.tryEnter()) return;
      this.leave(waiter);
    }
  }
}
