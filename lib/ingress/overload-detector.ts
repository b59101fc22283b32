/** Measurements of the event loop since the last sample. */
export interface LoopSample {
  /** By how many milliseconds the sample was late. */
  readonly delayMs: number;
  /** Milliseconds that new connections wait to be accepted, without the time in which other programs had the processor. */
  readonly acceptDelayMs: number;
  /** The part of the time in which the event loop was idle. */
  readonly idleShare: number;
  /** Turns of the event loop, at least 1. */
  readonly turns: number;
  /** Milliseconds of processor time that the process used. */
  readonly cpuMs: number;
  /** Milliseconds, as of `Date.now()`. */
  readonly now: number;
}

/** A turn of the event loop that has not ended. */
export interface TurnSoFar {
  /** By how many milliseconds the next sample is late. */
  readonly delayMs: number;
  /** Requests since the last sample. */
  readonly requests: number;
  /** Milliseconds, as of `Date.now()`. */
  readonly now: number;
  /** Gives the processor time since the last sample, in milliseconds. */
  cpuMs(): number;
}

export interface SheddingBounds {
  readonly maxDelayMs: number;
  readonly intervalMs: number;
}

/** Late samples in a row that prove a queue of requests. A single one may be a garbage collection. */
const LEAST_SAMPLES = 2;
/** Milliseconds for which connections must wait. A few hundred that open at once, as at the start of a load test, are accepted sooner. */
const ACCEPT_INTERVAL_MS = 1_000;
/** A queue that shrinks by this factor, compared with the last two samples, ends soon by itself. Requests and responses take alternate turns. */
const SHRINKS = 0.75;
/** Idle part of the time since the last sample that proves that there is no queue. */
const MOST_IDLE = 0.1;
/** Requests per turn that prove a queue. One slow request alone proves none: with a queue, the same turn reads several requests. */
const QUEUED_REQUESTS_PER_TURN = 2;
/** A new process is slow until its code is compiled. So a longer delay is allowed for its first requests, and at most this many milliseconds. */
const YOUNG_REQUESTS = 20_000;
const YOUNG_MS = 10_000;
const YOUNG_FACTOR = 4;

/** Time between two looks at a turn that counts as a pause, as a part of `maxDelayMs`: a garbage collection, or a slow request. */
const PAUSE = 0.5;

/**
 * Detects that more requests come than the event loop can serve. As in CoDel (RFC 8289), a delay is an overload only if it stays above
 * `maxDelayMs` for `intervalMs`.
 */
export class OverloadDetector {
  readonly #bounds: SheddingBounds;
  readonly #late = new Lasting();
  #samplesLate = 0;
  /** How long connections have waited to be accepted. */
  readonly #waiting = new Lasting();
  /** Delay at the last two samples, for any reason. */
  readonly #lastDelays: [number, number] = [0, 0];
  #sampledAt = 0;
  /** Last look at the present turn, and the pauses in it. */
  #lookedAt = 0;
  #pausedMs = 0;
  #firstAt: number | undefined;
  #requests = 0;

  constructor(bounds: SheddingBounds) {
    this.#bounds = bounds;
  }

  /** @param requests Number of requests since the last sample. */
  sees(sample: LoopSample, requests: number): boolean {
    const { intervalMs } = this.#bounds;
    this.#firstAt ??= sample.now;
    this.#requests += requests;
    this.#lookedAt = sample.now;
    this.#pausedMs = 0;
    const maxDelayMs = this.#maxDelayMs(sample.now, 0);
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

  /** The part of the delay that requests cause. */
  #turnMs({ delayMs, idleShare, turns, cpuMs, now }: LoopSample, requests: number): number {
    const elapsedMs = Math.max(delayMs, now - this.#sampledAt);
    this.#sampledAt = now;
    const areRequestsQueued = requests >= QUEUED_REQUESTS_PER_TURN * turns;
    if (idleShare > MOST_IDLE || !areRequestsQueued || delayMs === 0) return 0;
    // In the rest of the time other programs had the processor. Rejections would not change that.
    return delayMs * Math.min(1, cpuMs / elapsedMs);
  }

  /**
   * Whether the present turn is an overload already. If requests come faster than they are read, the turn lasts for seconds: libuv reads
   * up to 48 times 1,024 sockets in it, and no timer runs.
   */
  seesTurn({ delayMs, requests, now, cpuMs }: TurnSoFar): boolean {
    const pauseMs = now - Math.max(this.#lookedAt, now - delayMs);
    this.#lookedAt = now;
    if (pauseMs > PAUSE * this.#bounds.maxDelayMs) this.#pausedMs += pauseMs;
    // Requests that came during a pause, or during a longer turn before, are a queue that shrinks.
    const least = Math.max(this.#maxDelayMs(now, requests), this.#bounds.intervalMs);
    const mostMs = Math.max(least, ...this.#lastDelays, this.#pausedMs);
    const readingMs = delayMs - this.#pausedMs;
    return readingMs > mostMs && readingMs * Math.min(1, cpuMs() / delayMs) > mostMs;
  }

  /** @param requests Requests since the last sample. */
  #maxDelayMs(now: number, requests: number): number {
    const isYoung = this.#requests + requests < YOUNG_REQUESTS && Math.abs(now - (this.#firstAt ?? now)) < YOUNG_MS;
    return this.#bounds.maxDelayMs * (isYoung ? YOUNG_FACTOR : 1);
  }

  /** Call it at the end of an overload. */
  reset(): void {
    this.#samplesLate = 0;
    this.#late.reset();
    this.#waiting.reset();
  }
}

/** Measures for how long a condition has held. */
class Lasting {
  #since: number | undefined;

  lasts(isSo: boolean, now: number): number {
    // The clock was set back.
    this.#since = isSo ? Math.min(this.#since ?? now, now) : undefined;
    return this.#since === undefined ? -1 : now - this.#since;
  }

  reset(): void {
    this.#since = undefined;
  }
}
