const [SECOND, MINUTE, HOUR, DAY] = [1_000, 60_000, 3_600_000, 86_400_000];
/** Each length is a multiple of the one before, so rows can be merged when the log turns out longer. */
const WIDTHS_MS = [SECOND, 5 * SECOND, 15 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY];
const MOST_ROWS = 48;

export interface TimeRow {
  /** Start in epoch milliseconds. */
  readonly from: number;
  requests: number;
  limited: number;
}

/** Requests over time, in at most 48 rows, whose length depends on the log. */
export class TimeHistogram {
  #widthMs = WIDTHS_MS[0] as number;
  #rows = new Map<number, TimeRow>();
  #first = Number.POSITIVE_INFINITY;

  get widthMs(): number {
    return this.#widthMs;
  }

  /** The rows with requests, in order of time. */
  get rows(): readonly TimeRow[] {
    return [...this.#rows.values()];
  }

  /** @param now Not earlier than in the call before. */
  count(allowed: boolean, now: number): void {
    if (now < this.#first) this.#first = now;
    while (this.#index(now) - this.#index(this.#first) >= MOST_ROWS) this.#widen();
    const row = this.#row(now);
    row.requests++;
    if (!allowed) row.limited++;
  }

  #index(time: number): number {
    return Math.floor(time / this.#widthMs);
  }

  #row(time: number): TimeRow {
    const index = this.#index(time);
    let row = this.#rows.get(index);
    if (row === undefined) {
      row = { from: index * this.#widthMs, requests: 0, limited: 0 };
      this.#rows.set(index, row);
    }
    return row;
  }

  #widen(): void {
    const rows = this.rows;
    this.#widthMs = WIDTHS_MS.find((width) => width > this.#widthMs) ?? 2 * this.#widthMs;
    this.#rows = new Map();
    for (const { from, requests, limited } of rows) {
      const row = this.#row(from);
      row.requests += requests;
      row.limited += limited;
    }
  }
}

const WAITS_MS = [SECOND, 5 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, DAY, Infinity];

export interface WaitRow {
  /** Milliseconds; the last has no end. */
  readonly upToMs: number;
  count: number;
}

/** `Retry-After` of the rejected requests. */
export class WaitHistogram {
  readonly #rows: WaitRow[] = WAITS_MS.map((upToMs) => ({ upToMs, count: 0 }));
  #longestMs = 0;

  get rows(): readonly WaitRow[] {
    return this.#rows.filter(({ count }) => count > 0);
  }

  get longestMs(): number {
    return this.#longestMs;
  }

  count(waitMs: number): void {
    (this.#rows.find(({ upToMs }) => waitMs <= upToMs) as WaitRow).count++;
    if (waitMs > this.#longestMs) this.#longestMs = waitMs;
  }
}
