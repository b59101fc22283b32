/** How important a request is: `low` is shed first, `high` last. */
export type Priority = 'high' | 'normal' | 'low';

/** The most important first. */
export const PRIORITIES: readonly Priority[] = ['high', 'normal', 'low'];

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

/** So many samples in a row show that requests queue: one or two may be a garbage collection and the requests that waited for it. */
const LEAST_SAMPLES = 3;
/** A part of the time since the last sample: an event loop with so much time to spare has no queue. */
const MOST_IDLE = 0.1;
/** One slow request at a time is no queue: others would have come meanwhile, and be read in the same turn. */
const QUEUED_REQUESTS_PER_TURN = 2;
/**
 * A part of `maxDelayMs`: once requests are rejected, the delay is to be shorter, as those that are let in wait for two or three turns. A process that has just
 * started is as late as this when it is not overloaded at all.
 */
const AIM = 0.5;
/** The least part of the requests that is let in: they show when the load is gone. */
const LEAST_SHARE = 0.05;
/** How fast the share comes back: from nothing to all in 1.5 s. */
const RAISED_PER_MS = 1 / 1_500;
/** A long gap between samples is no proof of so much time without load. */
const MOST_RAISED_MS = 100;
/** What is kept of the counted requests from one sample to the next. */
const MEMORY = 0.8;

/**
 * Decides which part of the requests is let in, by how long the event loop makes things wait. As in CoDel (RFC 8289), a delay is an
 * overload only when it stays above `maxDelayMs` for `intervalMs`. Then the share of admitted requests falls until it does not. Important
 * requests get their part of that share first, as in DAGOR (Zhou et al., 2018).
 */
export class SheddingGate {
  readonly #bounds: SheddingBounds;
  #share = 1;
  /** When the delay rose above the bound, or the share was last lowered for it. */
  #aboveSince: number | undefined;
  #samplesAbove = 0;
  #sampledAt: number | undefined;
  /** Since the last sample. */
  #requests = 0;
  readonly #arrived: Record<Priority, number> = { high: 0, normal: 0, low: 0 };
  /** The part of each kind that is let in. */
  readonly #part: Record<Priority, number> = { high: 1, normal: 1, low: 1 };
  /** Parts of a request that add up to whole ones: a random choice would let in more at some times than at others. */
  readonly #due: Record<Priority, number> = { high: 0, normal: 0, low: 0 };

  constructor(bounds: SheddingBounds) {
    this.#bounds = bounds;
  }

  /** The part of all requests that is let in; 1 when none is shed. */
  get share(): number {
    return this.#share;
  }

  /** Counts a request, and says whether it is let in. */
  admits(priority: Priority): boolean {
    this.#arrived[priority] += 1;
    this.#requests += 1;
    if (this.#share === 1) return true;
    this.#due[priority] += this.#part[priority];
    if (this.#due[priority] < 1) return false;
    this.#due[priority] -= 1;
    return true;
  }

  sample(sample: LoopSample): void {
    const { now } = sample;
    const elapsedMs = Math.min(MOST_RAISED_MS, Math.max(0, now - (this.#sampledAt ?? now)));
    this.#sampledAt = now;
    const excess = this.#excess(sample);
    if (excess > 0) this.#above(excess, now);
    else this.#below(elapsedMs);
    this.#requests = 0;
    this.#shareOut();
  }

  /** By how much more is waited than allowed, as a part of that; 0 or less for no more. */
  #excess({ delayMs, acceptDelayMs, idleShare, turns, cpuMs }: LoopSample): number {
    if (idleShare > MOST_IDLE) return 0;
    const areRequestsQueued = this.#requests >= QUEUED_REQUESTS_PER_TURN * turns;
    // What is longer than the processor time of a turn was spent waiting for other programs: to reject requests would not shorten it.
    const turnMs = areRequestsQueued ? Math.min(delayMs, cpuMs / turns) : 0;
    return Math.max(turnMs, acceptDelayMs) / (this.#bounds.maxDelayMs * (this.#share < 1 ? AIM : 1)) - 1;
  }

  #above(excess: number, now: number): void {
    this.#samplesAbove += 1;
    this.#aboveSince ??= now;
    // A clock that was set back would make it wait.
    if (now < this.#aboveSince) this.#aboveSince = now;
    if (now - this.#aboveSince < this.#bounds.intervalMs || this.#samplesAbove < LEAST_SAMPLES) return;
    this.#aboveSince = now;
    this.#share = Math.max(LEAST_SHARE, this.#share * Math.max(0.6, 1 - 0.15 * excess));
  }

  #below(elapsedMs: number): void {
    this.#samplesAbove = 0;
    this.#aboveSince = undefined;
    this.#share = Math.min(1, this.#share + elapsedMs * RAISED_PER_MS);
  }

  #shareOut(): void {
    let places = this.#share * PRIORITIES.reduce((sum, priority) => sum + this.#arrived[priority], 0);
    for (const priority of PRIORITIES) {
      const arrived = this.#arrived[priority];
      // Of what has not come lately, the next one is let in when there is room.
      this.#part[priority] = arrived < 1 ? Math.min(1, places) : Math.min(1, places / arrived);
      places = Math.max(0, places - arrived);
      this.#arrived[priority] *= MEMORY;
    }
  }
}
