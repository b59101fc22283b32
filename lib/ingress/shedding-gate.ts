import { type LoopSample, OverloadDetector, type SheddingBounds } from './overload-detector.ts';

/** How important a request is: `low` is rejected first, `high` last. */
export type Priority = 'high' | 'normal' | 'low';

/** In order, the most important first. */
export const PRIORITIES: readonly Priority[] = ['high', 'normal', 'low'];

/** Longest turn while requests are rejected, as a part of `maxDelayMs`. An admitted request waits for two or three turns. */
const AIM = 0.3;
/** Lower bound of the turn, as a part of the longest one. Turns become shorter while connections wait, because Node accepts one per turn. */
const LEAST_AIM = 0.1;
/** A turn is long if it takes this many times as long as intended. */
const LONG = 2;
/** Lower bound of the window, as a part of the time since the last turn. Many requests come after a pause: not all of them are rejected. */
const LEAST_PART = 0.1;
/** Lower bound of the window, as a part of the intended turn. A shorter window would not shorten the turn. */
const LEAST_WINDOW = 0.02;
/** The time that `high` requests may take in a turn, as a multiple of the longest turn. */
const HIGH = 2;
/** Factors by which the window changes from one turn to the next. */
const NARROWED = 0.7;
const WIDENED = 1.05;
/** An overload is over after this time without a rejection. */
const CALM_MS = 1_000;
/** It is over as well when the event loop was idle for this part of that time: requests come in bursts, and the loop can serve them. */
const SPARE = 0.3;
/** Factor by which older counts fade at each sample. */
const MEMORY = 0.9;

/**
 * Decides which requests are admitted, by the delay of the event loop. As in CoDel (RFC 8289), a delay is an overload only when it stays above
 * `maxDelayMs` for `intervalMs`. From then on, each turn of the event loop admits only the requests of its first milliseconds, the window. So
 * the length of a turn is bounded, however many requests come. The window shrinks while turns are too long, and grows while they are short.
 */
export class SheddingGate {
  readonly #detector: OverloadDetector;
  #isShedding = false;
  /** Requests since the last sample. */
  #requests = 0;
  #hasRejected = false;
  #rejectedAt = 0;
  /** Requests of the last samples; older samples count less. */
  #arrivedLately = 0;
  #admittedLately = 0;
  /** Longest turn, and the turn that is intended at present. */
  readonly #longestMs: number;
  #aimMs: number;
  #windowMs: number;
  /** Parts of the window in which less important requests are admitted. */
  readonly #part = { normal: 1, low: 1 };
  #turnFrom = 0;
  /** Milliseconds that the admitted `high` requests of this turn took. Only these count for `high` requests, so others cannot use up their time. */
  #highMs = 0;
  /** When the last request was admitted, if that one was `high`. It takes the time until the next request. */
  #highAt: number | undefined;
  /** Lower bound of the window in this turn. */
  #leastMs = 0;
  /** Time since the last turn with requests in which the event loop was idle. */
  #idleMs = 0;
  /** Part of its busy time in which the process had the processor. */
  #processorShare = 1;
  #idleLately = 0;
  #sampledAt = 0;
  /** Rejections in this turn. */
  readonly #rejected: Record<Priority, number> = { high: 0, normal: 0, low: 0 };

  constructor(bounds: SheddingBounds) {
    this.#detector = new OverloadDetector(bounds);
    this.#longestMs = AIM * bounds.maxDelayMs;
    this.#aimMs = this.#longestMs;
    this.#windowMs = this.#aimMs;
  }

  /** Whether there is an overload, so that requests may be rejected. */
  get isShedding(): boolean {
    return this.#isShedding;
  }

  /** Part of the recent requests that was admitted. */
  get share(): number {
    return this.#isShedding && this.#arrivedLately > 0 ? this.#admittedLately / this.#arrivedLately : 1;
  }

  /**
   * Counts a request, and decides whether it is admitted.
   *
   * @param now Time of `performance.now()`; only read during an overload.
   */
  admits(priority: Priority, now: number): boolean {
    this.#requests += 1;
    if (!this.#isShedding) return true;
    this.#arrivedLately += 1;
    if (this.#highAt !== undefined) this.#highMs += now - this.#highAt;
    this.#highAt = undefined;
    const takenMs = priority === 'high' ? this.#highMs : now - this.#turnFrom;
    // Time in which other programs had the processor does not count, because rejections would not shorten it.
    if (takenMs * this.#processorShare <= this.#windowOf(priority)) {
      this.#admittedLately += 1;
      if (priority === 'high') this.#highAt = now;
      return true;
    }
    this.#rejected[priority] += 1;
    return false;
  }

  /**
   * Call it after every few requests, because no sample is taken before the turn ends.
   *
   * @param delayMs By how much the next sample is late.
   * @param cpuMs Gives the processor time since the last sample.
   * @returns whether this is the begin of an overload.
   */
  look(delayMs: number, now: number, cpuMs: () => number): boolean {
    if (this.#isShedding || !this.#detector.seesTurn({ delayMs, requests: this.#requests, now, cpuMs })) return false;
    this.#begin(now);
    return true;
  }

  /** Whether the turn takes much longer than intended. Call it after `admits()`. */
  isLongTurn(now: number): boolean {
    return now - this.#turnFrom > LONG * this.#aimMs;
  }

  /** Call it before the first request of a turn. */
  turnBegan(now: number): void {
    this.#leastMs = Math.min(this.#longestMs, Math.max(this.#idleMs, LEAST_PART * (now - this.#turnFrom)));
    this.#idleMs = 0;
    this.#turnFrom = now;
    this.#highMs = 0;
    this.#highAt = undefined;
  }

  /** Call it when all requests of a turn have been read. */
  turnEnded(now: number): void {
    const { high, normal, low } = this.#rejected;
    const hasRejected = high + normal + low > 0;
    if (hasRejected) this.#hasRejected = true;
    this.#adjust((now - this.#turnFrom) * this.#processorShare, hasRejected);
    // While more important requests are rejected, less important ones get a smaller part of the window.
    this.#part.normal = yielding(this.#part.normal, high > 0);
    this.#part.low = yielding(this.#part.low, high + normal > 0);
    this.#rejected.high = 0;
    this.#rejected.normal = 0;
    this.#rejected.low = 0;
  }

  sample(sample: LoopSample): void {
    // The wall clock may have been set.
    const elapsedMs = Math.min(CALM_MS, Math.max(0, sample.now - this.#sampledAt));
    this.#sampledAt = sample.now;
    const busyMs = elapsedMs * (1 - sample.idleShare);
    this.#idleMs += elapsedMs - busyMs;
    if (busyMs > 0) this.#processorShare = Math.min(1, sample.cpuMs / busyMs);
    this.#idleLately += (sample.idleShare - this.#idleLately) * (elapsedMs / CALM_MS);
    if (this.#isShedding) this.#sampleShedding(sample);
    else if (this.#detector.sees(sample, this.#requests)) this.#begin(sample.now);
    this.#requests = 0;
    this.#hasRejected = false;
    this.#arrivedLately *= MEMORY;
    this.#admittedLately *= MEMORY;
  }

  #begin(now: number): void {
    this.#isShedding = true;
    this.#rejectedAt = now;
    this.#idleLately = 0;
    this.#aimMs = this.#longestMs;
    this.#windowMs = this.#longestMs;
    this.#part.normal = 1;
    this.#part.low = 1;
    this.#arrivedLately = 0;
    this.#admittedLately = 0;
  }

  #sampleShedding({ now, acceptDelayMs }: LoopSample): void {
    const longest = this.#longestMs;
    this.#aimMs =
      acceptDelayMs > longest
        ? Math.max(LEAST_AIM * longest, this.#aimMs * NARROWED)
        : Math.min(longest, this.#aimMs * WIDENED);
    if (this.#hasRejected) this.#rejectedAt = now;
    // If the wall clock was set, the overload ends at once, or a little later.
    if (Math.abs(now - this.#rejectedAt) < CALM_MS && this.#idleLately < SPARE) return;
    this.#isShedding = false;
    this.#detector.reset();
  }

  #windowOf(priority: Priority): number {
    if (priority === 'high') return HIGH * this.#longestMs;
    const normal = Math.max(this.#windowMs, this.#leastMs) * this.#part.normal;
    return priority === 'normal' ? normal : normal * this.#part.low;
  }

  #adjust(turnMs: number, hasRejected: boolean): void {
    if (turnMs > this.#aimMs) {
      const wanted = this.#windowMs * Math.max(NARROWED, this.#aimMs / turnMs);
      this.#windowMs = Math.max(LEAST_WINDOW * this.#aimMs, wanted);
    } else if (hasRejected) this.#windowMs = Math.min(this.#aimMs, this.#windowMs * WIDENED);
  }
}

function yielding(part: number, mustYield: boolean): number {
  return mustYield ? part * 0.5 : Math.min(1, part + 0.02);
}
