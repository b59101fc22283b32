import { LOOK_EVERY_MS } from './problem-monitor.ts';

/** Problems are about this time. */
export const WINDOW_MS = 10_000;
const LOOKS = WINDOW_MS / LOOK_EVERY_MS;

/** The latest readings of something that only grows, one per look. */
export class Readings<T> {
  readonly #read: () => T;
  readonly #all: T[];

  constructor(read: () => T) {
    this.#read = read;
    this.#all = [read()];
  }

  /** Reads once more: what was ten seconds ago, what was two looks ago, and what is now. */
  next(): { readonly before: T; readonly lately: T; readonly now: T } {
    const now = this.#read();
    this.#all.push(now);
    if (this.#all.length > LOOKS + 1) this.#all.shift();
    return { before: this.#all[0] as T, lately: this.#all.at(-3) ?? (this.#all[0] as T), now };
  }
}

/** How often what happened in the last ten seconds, by subject and reason; for what is rare, like errors. */
export class RecentCounts {
  #slots: Map<string, Map<string, number>>[] = [new Map()];
  readonly #maxSubjects: number;
  readonly #maxReasons: number;

  /** What comes beyond these numbers is not counted. */
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

  /** Those of the last ten seconds. */
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

  /** After each look: what comes next is counted apart. */
  turn(): void {
    this.#slots = [...this.#slots, new Map<string, Map<string, number>>()].slice(-LOOKS);
  }
}

/** `3.2 s`, `120 ms` */
export const duration = (ms: number): string => (ms >= 1_000 ? `${(ms / 1_000).toFixed(1)} s` : `${Math.round(ms)} ms`);

export const percent = (part: number, all: number): string => `${Math.round((100 * part) / Math.max(1, all))} %`;
