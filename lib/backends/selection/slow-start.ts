/** Share at the beginning of a slow start: Envoy's default for `min_weight_percent`. */
const FIRST_SHARE = 0.1;

/**
 * The slow start of one backend: its share of its weight rises in a straight line from a tenth to the whole. The caches, pools
 * and compilers of a backend that is new or back warm up under less than the full load.
 */
export class SlowStart {
  readonly #lastsMs: number;
  #startedAt = Number.NEGATIVE_INFINITY;

  /** @param lastsMs Milliseconds from the first share to the whole weight. */
  constructor(lastsMs: number) {
    this.#lastsMs = lastsMs;
  }

  /** Starts again if one is under way. */
  begin(): void {
    this.#startedAt = Date.now();
  }

  /** From 0.1 to 1; 1 when no slow start is under way. */
  get share(): number {
    if (this.#startedAt === Number.NEGATIVE_INFINITY) return 1;
    const now = Date.now();
    // If the wall clock is set back, the slow start must not last longer.
    if (now < this.#startedAt) this.#startedAt = now;
    const share = (now - this.#startedAt) / this.#lastsMs;
    if (share < 1) return Math.max(FIRST_SHARE, share);
    this.#startedAt = Number.NEGATIVE_INFINITY;
    return 1;
  }
}
