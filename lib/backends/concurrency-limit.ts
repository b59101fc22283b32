import { jittered } from '../core/delay.ts';
import type { AdaptiveConcurrencyOptions } from './concurrency-options.ts';

/** Least milliseconds between two decisions, and least responses for each one. */
const WINDOW_MS = 100;
const MIN_SAMPLES = 10;
/** Upper bound of a response time, as a multiple of the latency without load. So a long poll among other requests changes little. */
const MOST_TIMES = 8;
/** Part of the limit that a probe allows. With half of it, a full backend would only be half as slow, which proves nothing. */
const PROBED_PART = 1 / 4;
/** Responses that a probe needs for each request in flight, and in total. The first responses are the fast ones, so it needs several. */
const PROBE_ROUNDS = 4;
const PROBE_SAMPLES = 200;
/** Milliseconds after which a probe ends that gets too few responses. */
const PROBE_MS = 4_000;
/** Milliseconds after which a probe ends that gets no response, because long polls or a long queue take all of its places. */
const DRAIN_MS = 200;
/** Least milliseconds from one probe to the next. */
const PROBE_PAUSE_MS = 1_000;
/** Lower bound of the part to which a limit shrinks in one step. */
const STEEPEST = 1 / 4;
/** Responses over which the latency without load is averaged. */
const MEMORY = 600;
/** Milliseconds after which a backend no longer counts as limited, if no request was held back. */
const LIMITED_MS = 10_000;

/**
 * Limits the requests that one backend works on at a time, by a gradient as in Netflix's `Gradient2Limit` and Envoy's adaptive
 * concurrency filter: the limit grows while the latency stays near the latency without load, and shrinks in proportion to their
 * ratio. Latency is the time from the end of a request to the response head.
 */
export class ConcurrencyLimit {
  readonly #options: Required<AdaptiveConcurrencyOptions>;
  readonly #freed: (() => void) | undefined;
  #limit: number;
  #inFlight = 0;
  /** The window: its begin, its responses, the sum of their times, and the most requests in flight. */
  #windowAt = 0;
  #count = 0;
  #sumMs = 0;
  #peak = 0;
  /** Latency without load, in milliseconds; 0 before the first window. */
  #unloadedMs = 0;
  /** When the latency without load was measured, and the highest limit since. */
  #measuredAt = 0;
  #highest = 0;
  /** Time of the next probe, unless the load is low before. */
  #probeAt = 0;
  #probingSince: number | undefined;
  /** Responses to requests from before this time are ignored, because they say nothing about the present limit. */
  #ignoresBefore = Number.NEGATIVE_INFINITY;
  /** Whether the limit still doubles, which it does until it shrinks for the first time. */
  #isStarting = true;
  /** `Date.now()` when a request first and last reached the limit. */
  #limitedFrom = 0;
  #limitedAt = Number.NEGATIVE_INFINITY;

  /** @param freed Called when one more request may be sent. */
  constructor(options: Required<AdaptiveConcurrencyOptions>, freed?: (() => void) | undefined) {
    this.#options = options;
    this.#freed = freed;
    this.#limit = options.initialLimit;
  }

  /** Requests that may wait for their response head. */
  get limit(): number {
    const limit = this.#probingSince === undefined ? this.#limit : this.#limit * PROBED_PART;
    return Math.max(this.#options.minLimit, Math.floor(limit));
  }

  /** Latency without load, in milliseconds; 0 while it is unknown. */
  get unloadedMs(): number {
    return this.#unloadedMs;
  }

  /** Requests that wait for their response head. */
  get inFlight(): number {
    return this.#inFlight;
  }

  get hasRoom(): boolean {
    if (this.#probingSince !== undefined) this.#endLateProbe(this.#probingSince);
    if (this.#inFlight < this.limit) return true;
    const now = Date.now();
    if (!this.#isLimited(now)) this.#limitedFrom = now;
    this.#limitedAt = now;
    return false;
  }

  /** `Date.now()` since when requests keep reaching the limit; `undefined` if none has in the last ten seconds. */
  get limitedSince(): number | undefined {
    return this.#isLimited(Date.now()) ? this.#limitedFrom : undefined;
  }

  #isLimited(now: number): boolean {
    return Math.abs(now - this.#limitedAt) < LIMITED_MS;
  }

  enter(): void {
    this.#inFlight += 1;
    if (this.#inFlight > this.#peak) this.#peak = this.#inFlight;
  }

  /** Called once for each `enter()`, after `observe()` if the request has a response. */
  leave(): void {
    this.#inFlight -= 1;
    this.#freed?.();
  }

  /**
   * Notes a response head, or another end of a wait that took at least as long as a response.
   *
   * @param sentAt Time of `performance.now()`, like `now`.
   */
  observe(sentAt: number, now: number): void {
    if (sentAt < this.#ignoresBefore) return;
    this.#count += 1;
    this.#sumMs += Math.min(now - sentAt, this.#unloadedMs === 0 ? Infinity : MOST_TIMES * this.#unloadedMs);
    if (this.#count >= MIN_SAMPLES && this.#isWindowOver(now)) this.#decide(now);
  }

  /** Forgets all measurements, because the backend was out and is back. */
  forget(): void {
    this.#limit = this.#options.initialLimit;
    this.#unloadedMs = 0;
    this.#isStarting = true;
    this.#probingSince = undefined;
    this.#ignoresBefore = performance.now();
    this.#begin(this.#ignoresBefore);
  }

  #isWindowOver(now: number): boolean {
    const rounds = this.#unloadedMs === 0 || this.#probingSince !== undefined ? PROBE_ROUNDS : 1;
    if (this.#count < Math.min(PROBE_SAMPLES, rounds * this.#inFlight)) return false;
    return rounds > 1 || now - this.#windowAt >= Math.max(WINDOW_MS, 2 * this.#unloadedMs);
  }

  #begin(now: number): void {
    this.#windowAt = now;
    this.#count = 0;
    this.#sumMs = 0;
    this.#peak = this.#inFlight;
  }

  #decide(now: number): void {
    const ms = this.#sumMs / this.#count;
    const isLoaded = 2 * this.#peak > this.#limit;
    if (this.#probingSince !== undefined) this.#endProbe(ms, now);
    else if (this.#unloadedMs === 0) this.#measured(ms, now, isLoaded ? PROBE_PAUSE_MS : undefined);
    else if (isLoaded) this.#adapt(ms, now);
    else this.#learn(ms, now);
    this.#begin(now);
  }

  /** Learns the latency without load from a window with low load. */
  #learn(ms: number, now: number): void {
    // Suddenly twice as slow: this may also be a queue that begins to fill.
    if (ms > 2 * this.#unloadedMs) this.#probeSoon(now);
    else this.#measured(this.#blend(ms, MEMORY), now);
  }

  #adapt(ms: number, now: number): void {
    const { minLimit, maxLimit, latencyTolerance } = this.#options;
    const gradient = Math.max(STEEPEST, Math.min(1, (latencyTolerance * this.#unloadedMs) / ms));
    if (gradient < 0.8) this.#isStarting = false;
    // A little more than the gradient allows, because only a try shows whether the backend can do more.
    const more = this.#isStarting && gradient === 1 ? this.#limit : Math.sqrt(this.#limit);
    const limit = Math.max(minLimit, Math.min(maxLimit, this.#limit * gradient + more));
    if (limit < this.#limit) this.#ignoresBefore = now;
    this.#limit = limit;
    this.#highest = Math.max(this.#highest, limit);
    // Less than half of the limit: either the backend has become weaker, or its requests have become slower by themselves.
    if (now >= this.#probeAt) this.#beginProbe(now);
    else if (limit < this.#highest / 2 || (limit === minLimit && gradient < 1)) this.#probeSoon(now);
  }

  #measured(ms: number, now: number, nextProbeMs = this.#intervalMs(ms)): void {
    this.#unloadedMs = ms;
    this.#measuredAt = now;
    this.#highest = this.#limit;
    this.#probeAt = now + nextProbeMs;
  }

  /** Milliseconds until the next probe. A probe of a slow backend takes longer, so probes are rarer there. */
  #intervalMs(ms: number): number {
    return jittered(Math.max(this.#options.probeIntervalMs, 10 * PROBE_ROUNDS * ms), 0.1);
  }

  #blend(ms: number, memory: number): number {
    return this.#unloadedMs + ((ms - this.#unloadedMs) * this.#count) / (this.#count + memory);
  }

  #probeSoon(now: number): void {
    if (now - this.#measuredAt >= PROBE_PAUSE_MS) this.#beginProbe(now);
  }

  #beginProbe(now: number): void {
    this.#probingSince = now;
    this.#ignoresBefore = now;
  }

  #endProbe(ms: number, now: number): void {
    this.#probingSince = undefined;
    const change = ms / this.#unloadedMs;
    // A large difference means that the earlier value was wrong, and the new one may still be.
    const isNews = change < 0.75 || change > 1.5;
    this.#measured(this.#blend(ms, MIN_SAMPLES), now, isNews ? PROBE_PAUSE_MS : undefined);
  }

  /** Ends a probe with too few responses. The known latency stays. */
  #endLateProbe(since: number): void {
    const waited = performance.now() - since;
    if (waited < Math.max(this.#count === 0 ? DRAIN_MS : PROBE_MS, MOST_TIMES * this.#unloadedMs)) return;
    this.#probingSince = undefined;
    this.#measured(this.#unloadedMs, since + waited);
    this.#begin(since + waited);
  }
}
