import { LOOK_EVERY_MS } from './problem-monitor.ts';

/** Problems concern this many looks. */
export const WINDOW_MS = 10_000;
/** Requests in that time that a share of them needs to be meaningful. */
export const LEAST_REQUESTS = 20;
const LOOKS = WINDOW_MS / LOOK_EVERY_MS;

/** The latest readings of a counter, one per look. */
export class Readings<T> {
  readonly #read: () => T;
  readonly #all: T[];

  constructor(read: () => T) {
    this.#read = read;
    this.#all = [read()];
  }

  /** Adds a reading. Gives the readings of ten seconds ago, of two looks ago, and of now. */
  next(): { readonly before: T; readonly lately: T; readonly now: T } {
    const now = this.#read();
    this.#all.push(now);
    if (this.#all.length > LOOKS + 1) this.#all.shift();
    return { before: this.#all[0] as T, lately: this.#all.at(-3) ?? (this.#all[0] as T), now };
  }
}

/** Counts events of the last ten seconds by subject and reason. For rare events, such as errors. */
export class RecentCounts {
  #slots: Map<string, Map<string, number>>[] = [new Map()];
  readonly #maxSubjects: number;
  readonly #maxReasons: number;

  /** Further subjects and reasons are not counted. */
  constructor(maxSubjects = 1_000, maxReasons = 8) {
    this.#maxSubjects = maxSubjects;
    this.#maxReasons = maxReasons;
  }

  add(subject: string, reason = ''): void {
    const slot = this.#slots.at(-1) as Map<string, Map<string, number>>;
    let reasons = slot.get(subject);
    if (reasons === undefined) {
      if (slot.size >= this.#maxSubjects) return;
      reasons = new Map();
      slot.set(subject, reasons);
    }
    const known = reasons.get(reason);
    if (known !== undefined || reasons.size < this.#maxReasons) reasons.set(reason, (known ?? 0) + 1);
  }

  /** The events of the last ten seconds. */
  recent(): Map<string, Map<string, number>> {
    const all = new Map<string, Map<string, number>>();
    for (const slot of this.#slots) {
      for (const [subject, reasons] of slot) {
        const sums = all.get(subject) ?? new Map<string, number>();
        for (const [reason, count] of reasons) sums.set(reason, (sums.get(reason) ?? 0) + count);
        all.set(subject, sums);
      }
    }
    return all;
  }

  /** Starts the next interval. Call it after each look. */
  turn(): void {
    this.#slots = [...this.#slots, new Map<string, Map<string, number>>()].slice(-LOOKS);
  }
}

/** `3.2 s`, `120 ms` */
export const duration = (ms: number): string => (ms >= 1_000 ? `${(ms / 1_000).toFixed(1)} s` : `${Math.round(ms)} ms`);

/** When a circuit that is open admits a request again. */
export const nextTrial = (ms: number): string =>
  ms > 0 ? `next trial in ${duration(Math.ceil(ms))}` : 'the next request is a trial';

export const percent = (part: number, all: number): string => `${Math.round((100 * part) / Math.max(1, all))} %`;
