import { deadline } from '../core/delay.ts';
import { type Checks, durationMs, integer } from '../core/options.ts';

/** Option `queue` of `roundRobinProxy()`: requests that wait while all backends are full. */
export interface QueueOptions {
  /** Requests that may wait while every suitable backend is full. 0 for none. Default 0. */
  size?: number;
  /** Longest wait of a request, in milliseconds. Default 1 000. */
  timeoutMs?: number;
}

/** Defaults of {@link QueueOptions}. */
export const queueDefaults = Object.freeze({ size: 0, timeoutMs: 1_000 });

export const queueChecks: Checks<QueueOptions> = { size: integer(0, 1_000_000), timeoutMs: durationMs };

/** The part about the queue in `load()` of a proxy. */
export interface QueueLoad {
  /** Requests that wait in the queue for a backend. */
  readonly waiting: number;
}

/** The load of a proxy without a queue. */
export const NO_QUEUE: QueueLoad = Object.freeze({ waiting: 0 });

/** A request that waits for a slot at a backend. */
export interface Waiter {
  /** Takes a slot if there is one for it, in the same tick. */
  tryEnter(): boolean;
  /** Called when it has waited for `timeoutMs`. */
  expired(): void;
}

/** The slots that requests wait for. */
export interface Slots {
  /** Whether any backend has a slot for a request without an earlier attempt. */
  hasAny(): boolean;
  /** Milliseconds until a backend may become available by time alone; `Infinity` when that is unknown. */
  nextChangeMs(): number;
}

/** Longest pause, in milliseconds, between two searches for a free slot, because clocks may be set and checks may be late. */
const MAX_PAUSE_MS = 100;

/**
 * Requests that wait for a slot, first come, first served. Their number and time are limited. A request that cannot use a free slot, because
 * it failed at that backend before, does not hold up later ones.
 */
export class RequestQueue {
  readonly #size: number;
  readonly #timeoutMs: number;
  readonly #slots: Slots;
  /** In order of arrival. */
  readonly #waiting = new Map<Waiter, () => void>();
  #wake: NodeJS.Timeout | undefined;
  #isAdvancing = false;
  #looksAgain = false;
  #isClosed = false;

  constructor({ size, timeoutMs }: Required<QueueOptions>, slots: Slots) {
    this.#size = size;
    this.#timeoutMs = timeoutMs;
    this.#slots = slots;
  }

  get load(): QueueLoad {
    return { waiting: this.#waiting.size };
  }

  /** @returns False when the queue is full. */
  join(waiter: Waiter): boolean {
    if (this.#isClosed || this.#waiting.size >= this.#size) return false;
    const stopTimer = deadline(this.#timeoutMs, () => {
      this.leave(waiter);
      waiter.expired();
    });
    this.#waiting.set(waiter, stopTimer);
    this.#wakeInTime();
    return true;
  }

  leave(waiter: Waiter): void {
    this.#waiting.get(waiter)?.();
    this.#waiting.delete(waiter);
  }

  /** Call it when a slot may be free. The first waiting request that can use the slot takes it. */
  advance(): void {
    this.#looksAgain = true;
    // A request that enters may free a slot at once.
    if (this.#isAdvancing || this.#waiting.size === 0) return;
    this.#isAdvancing = true;
    try {
      while (this.#looksAgain) this.#admit();
    } finally {
      this.#isAdvancing = false;
      this.#wakeInTime();
    }
  }

  /** All waiting requests expire. */
  close(): void {
    this.#isClosed = true;
    for (const waiter of [...this.#waiting.keys()]) {
      this.leave(waiter);
      waiter.expired();
    }
    clearTimeout(this.#wake);
  }

  #admit(): void {
    this.#looksAgain = false;
    for (const waiter of this.#waiting.keys()) {
      if (!this.#slots.hasAny()) return;
      if (waiter.tryEnter()) this.leave(waiter);
    }
  }

  /** Sets a timer, because open periods and rests end without an event. */
  #wakeInTime(): void {
    clearTimeout(this.#wake);
    if (this.#waiting.size === 0) return;
    const pauseMs = Math.max(1, Math.min(MAX_PAUSE_MS, Math.ceil(this.#slots.nextChangeMs())));
    this.#wake = setTimeout(() => this.advance(), pauseMs).unref();
  }
}
