/** Writes moments as ISO 8601 does. Lines of one second have all but the milliseconds in common, which spares most of the work. */
export class IsoTime {
  #second = Number.NaN;
  /** Up to the point before the milliseconds. */
  #start = '';

  /** @param time As of `Date.now()`: whole milliseconds. */
  of(time: number): string {
    const second = Math.floor(time / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#start = new Date(second * 1_000).toISOString().slice(0, -'000Z'.length);
    }
    return `${this.#start}${String(time - second * 1_000).padStart(3, '0')}Z`;
  }
}
