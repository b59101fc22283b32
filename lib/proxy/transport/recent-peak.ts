/** How long a peak is remembered: at least so many milliseconds, at most twice as many. */
const WINDOW_MS = 30_000;

/** The most of something that there was at a time, not long ago. */
export class RecentPeak {
  #now = 0;
  #before = 0;
  #since = Date.now();

  /** There are so many at present. */
  observe(count: number): void {
    if (count > this.#now) this.#now = count;
  }

  /** @param present How many there are at the moment: what a new window begins with. */
  of(present: number, now: number): number {
    const age = now - this.#since;
    // A wall clock set back must not make a window an hour longer.
    if (age >= WINDOW_MS || age < 0) {
      this.#before = age < 2 * WINDOW_MS ? this.#now : 0;
      this.#now = present;
      this.#since = now;
    }
    return Math.max(this.#now, this.#before);
  }
}
