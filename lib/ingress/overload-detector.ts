/** What the event loop did since the sample before. */
export interface LoopSample {
  /** How much later than it was due the sample was taken. */
  readonly delayMs: number;
  /** How long new connections wait to be accepted, without the time for which other programs had the processor. */
  readonly acceptDelayMs: number;
  /** The part of the time in which the event loop had nothing to do. */
  readonly idleShare: number;
  /** Turns of the event loop, at least 1. */
  readonly turns: number;
  /** Milliseconds of processor time that the process used. */
  readonly cpuMs: number;
  /** Milliseconds, as of `Date.now()`. */
  readonly now: number;
}

export interface SheddingBounds {
  readonly maxDelayMs: number;
  readonly intervalMs: number;
}

/** So many samples in a row show that requests queue: one may be a garbage collection. */
const LEAST_SAMPLES = 2;
/** For so long connections must wait: a few hundred that come at once, as at the start of a load test, are accepted within that time. */
const ACCEPT_INTERVAL_MS = 1_000;
/** A queue that is so much shorter than at both samples before is gone soon, without rejections. One turn has the requests, and the next one their responses. */
const SHRINKS = 0.75;
/** A part of the time since the last sample: an event loop with so much time to spare has no queue. */
const MOST_IDLE = 0.1;
/** One slow request at a time is no queue: others would have come meanwhile, and be read in the same turn. */
const QUEUED_REQUESTS_PER_TURN = 2;
/** A process that has just started is slow for so many requests, until its code is compiled, and for no longer than so long: it may run later then. */
const YOUNG_REQUESTS = 20_000;
const YOUNG_MS = 10_000;
const YOUNG_FACTOR = 4;

/**
 * Sees that more requests come than the event loop can serve. As in CoDel (RFC 8289), a delay is an overload only when it stays above
 * `maxDelayMs` for `intervalMs`.
 */
export class OverloadDetector {
  readonly #bounds: SheddingBounds;
  readonly #late = new Lasting();
  #samplesLate = 0;
  /** Connections that wait to be accepted. */
  readonly #waiting = new Lasting();
  /** At the last two samples, whatever the reason. */
  readonly #lastDelays: [number, number] = [0, 0];
  #sampledAt = 0;
  #firstAt: number | undefined;
  #requests = 0;

  constructor(bounds: SheddingBounds) {
    this.#bounds = bounds;
  }

  /** @param requests That have come since the sample before. */
  sees(sample: LoopSample, requests: number): boolean {
    const { intervalMs } = this.#bounds;
    const maxDelayMs = this.#bounds.maxDelayMs * (this.#isYoung(sample.now, requests) ? YOUNG_FACTOR : 1);
    const turnMs = this.#turnMs(sample, requests);
    const isLate = turnMs > maxDelayMs && sample.delayMs >= SHRINKS * Math.min(...this.#lastDelays);
    this.#samplesLate = isLate ? this.#samplesLate + 1 : 0;
    const doConnectionsWait = sample.idleShare <= MOST_IDLE && sample.acceptDelayMs > maxDelayMs;
    const lateFor = this.#late.lasts(isLate, sample.now);
    const waitsFor = this.#waiting.lasts(doConnectionsWait, sample.now);
    this.#lastDelays[0] = this.#lastDelays[1];
    this.#lastDelays[1] = sample.delayMs;
    return (lateFor >= intervalMs && this.#samplesLate >= LEAST_SAMPLES) || waitsFor >= ACCEPT_INTERVAL_MS;
  }

  /** How late the event loop is because of requests, and not for other reasons. */
  #turnMs({ delayMs, idleShare, turns, cpuMs, now }: LoopSample, requests: number): number {
    const elapsedMs = Math.max(delayMs, now - this.#sampledAt);
    this.#sampledAt = now;
    const areRequestsQueued = requests >= QUEUED_REQUESTS_PER_TURN * turns;
    if (idleShare > MOST_IDLE || !areRequestsQueued || delayMs === 0) return 0;
    // For the rest of the time other programs had the processor: to reject requests would not shorten that.
    return delayMs * Math.min(1, cpuMs / elapsedMs);
  }

  #isYoung(now: number, requests: number): boolean {
    this.#firstAt ??= now;
    this.#requests += requests;
    return this.#requests < YOUNG_REQUESTS && Math.abs(now - this.#firstAt) < YOUNG_MS;
  }

  /** Forgets what it has seen, at the end of an overload. */
  reset(): void {
    this.#samplesLate = 0;
    this.#late.reset();
    this.#waiting.reset();
  }
}

/** For how long something is so. */
class Lasting {
  #since: number | undefined;

  lasts(isSo: boolean, now: number): number {
    // A clock that was set back would make it wait.
    this.#since = isSo ? Math.min(this.#since ?? now, now) : undefined;
    return this.#since === undefined ? -1 : now - this.#since;
  }

  reset(): void {
    this.#since = undefined;
  }
}
