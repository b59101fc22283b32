import { type LoopSample, OverloadDetector, type SheddingBounds } from './overload-detector.ts';

/** How important a request is: `low` is rejected first, `high` last. */
export type Priority = 'high' | 'normal' | 'low';

/** The most important first. */
export const PRIORITIES: readonly Priority[] = ['high', 'normal', 'low'];

/** A part of `maxDelayMs`: how long turns are to be while requests are rejected, as those that are let in wait for two or three of them. */
const AIM = 0.4;
/** The least part of that. While connections wait to be accepted, turns are this short: Node accepts one per turn. */
const LEAST_AIM = 0.1;
/** A part of the time since the turn before: a pause of the process brings many requests at once, and the next turn is not to reject all of them. */
const LEAST_PART = 0.1;
/** A part of the aim, below which it is of no use to let in fewer. */
const LEAST_WINDOW = 0.02;
/** How much longer a turn may become for important requests. */
const HIGH = 2;
/** How the window changes from one turn to the next. */
const NARROWED = 0.7;
const WIDENED = 1.05;
/** Without a rejection for so long the overload is over. */
const CALM_MS = 1_000;
/** It is over as well when the event loop has had so much time to spare in about that time: then requests come in bursts, which it can serve. */
const SPARE = 0.3;
/** What is kept of the counted requests from one sample to the next. */
const MEMORY = 0.9;

/**
 * Decides which requests are let in, by how long the event loop makes things wait. As in CoDel (RFC 8289), a delay is an overload only when it
 * stays above `maxDelayMs` for `intervalMs`. From then on each turn of the event loop lets in what comes in its first milliseconds, the window,
 * and no more. So a turn has a bounded length however many requests come, from the first turn on. The window follows the length of the turns.
 */
export class SheddingGate {
  readonly #detector: OverloadDetector;
  #isShedding = false;
  /** Since the last sample. */
  #requests = 0;
  #hasRejected = false;
  #rejectedAt = 0;
  /** Of the last samples, the older the less. */
  #arrivedLately = 0;
  #admittedLately = 0;
  /** How long turns may be, and how long they are to be at present. */
  readonly #longestMs: number;
  #aimMs: number;
  #windowMs: number;
  /** The part of the window in which requests that are less than `high` are let in. */
  readonly #part = { normal: 1, low: 1 };
  #turnFrom = 0;
  /** When the first important request of this turn came: their window begins there, whatever less important ones have taken. */
  #highFrom: number | undefined;
  /** The least window of this turn. */
  #leastMs = 0;
  /** The part of the time in which the process, when it had something to do, had the processor. */
  #processorShare = 1;
  #idleLately = 0;
  #sampledAt = 0;
  /** Of this turn. */
  readonly #rejected: Record<Priority, number> = { high: 0, normal: 0, low: 0 };

  constructor(bounds: SheddingBounds) {
    this.#detector = new OverloadDetector(bounds);
    this.#longestMs = AIM * bounds.maxDelayMs;
    this.#aimMs = this.#longestMs;
    this.#windowMs = this.#aimMs;
  }

  /** Whether it rejects requests when more come than can be served. */
  get isShedding(): boolean {
    return this.#isShedding;
  }

  /** The part of the requests that was let in lately. */
  get share(): number {
    return this.#isShedding && this.#arrivedLately > 0 ? this.#admittedLately / this.#arrivedLately : 1;
  }

  /**
   * Counts a request, and says whether it is let in.
   *
   * @param now As of `performance.now()`, while it is shedding.
   */
  admits(priority: Priority, now: number): boolean {
    this.#requests += 1;
    if (!this.#isShedding) return true;
    this.#arrivedLately += 1;
    if (priority === 'high') this.#highFrom ??= now;
    const from = (priority === 'high' ? this.#highFrom : undefined) ?? this.#turnFrom;
    // Without the time for which other programs had the processor: to let in fewer requests would not shorten that.
    if ((now - from) * this.#processorShare <= this.#windowOf(priority)) {
      this.#admittedLately += 1;
      return true;
    }
    this.#rejected[priority] += 1;
    return false;
  }

  /** The first request of a turn has come. */
  turnBegan(now: number): void {
    this.#leastMs = Math.min(this.#longestMs, LEAST_PART * (now - this.#turnFrom));
    this.#turnFrom = now;
    this.#highFrom = undefined;
  }

  /** All that came in a turn is read. */
  turnEnded(now: number): void {
    const { high, normal, low } = this.#rejected;
    const hasRejected = high + normal + low > 0;
    if (hasRejected) this.#hasRejected = true;
    this.#adjust((now - this.#turnFrom) * this.#processorShare, hasRejected);
    // Less important requests make room, until the more important ones are let in however late in a turn they come.
    this.#part.normal = yielding(this.#part.normal, high > 0);
    this.#part.low = yielding(this.#part.low, high + normal > 0);
    this.#rejected.high = 0;
    this.#rejected.normal = 0;
    this.#rejected.low = 0;
  }

  sample(sample: LoopSample): void {
    // A clock that was set tells nothing.
    const elapsedMs = Math.min(CALM_MS, Math.max(0, sample.now - this.#sampledAt));
    this.#sampledAt = sample.now;
    const busyMs = elapsedMs * (1 - sample.idleShare);
    if (busyMs > 0) this.#processorShare = Math.min(1, sample.cpuMs / busyMs);
    this.#idleLately += (sample.idleShare - this.#idleLately) * (elapsedMs / CALM_MS);
    if (this.#isShedding) this.#sampleShedding(sample);
    else if (this.#detector.sees(sample, this.#requests)) this.#begin(sample);
    this.#requests = 0;
    this.#hasRejected = false;
    this.#arrivedLately *= MEMORY;
    this.#admittedLately *= MEMORY;
  }

  #begin({ now }: LoopSample): void {
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
    // A clock that was set ends it, or makes it last a little longer.
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
