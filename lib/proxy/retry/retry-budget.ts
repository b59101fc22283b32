const BUCKETS = 10;
const BUCKET_MS = 1_000;

/**
 * Limits retries to a share of the requests of the last ten seconds, so that they do not multiply the load on failing backends (Finagle's
 * retry budgets). It does not count only the requests in progress: when a backend dies, most of those fail at once, although they are few
 * among the requests of ten seconds.
 */
export class RetryBudget {
  readonly #ratio: number;
  readonly #minimum: number;
  readonly #requests: number[] = new Array(BUCKETS).fill(0);
  readonly #retries: number[] = new Array(BUCKETS).fill(0);
  #bucket = 0;
  #totalRequests = 0;
  #totalRetries = 0;
  #requestsInProgress = 0;
  readonly #waiting: (() => void)[] = [];
  #retriesInProgress = 0;

  /**
   * @param ratio Retries per request; a retry is not counted as a request.
   * @param minimum Retries that may always be in progress, so that a quiet gateway can retry at all.
   */
  constructor(ratio: number, minimum: number) {
    this.#ratio = ratio;
    this.#minimum = minimum;
  }

  /** Retries that may begin now. */
  get left(): number {
    this.#roll(Date.now());
    const overTime = Math.floor(this.#ratio * this.#totalRequests) - this.#totalRetries;
    return Math.max(0, overTime, this.#minimum - this.#retriesInProgress);
  }

  /** Requests in progress. */
  get requests(): number {
    return this.#requestsInProgress;
  }

  /** @param at `Date.now()` when it began. That may be long ago if a middleware held it; then it counts in the newest bucket. */
  requestStarted(at: number): void {
    if (at >= (this.#bucket + 1) * BUCKET_MS) this.#roll(at);
    this.#requests[this.#bucket % BUCKETS]! += 1;
    this.#totalRequests += 1;
    this.#requestsInProgress += 1;
  }

  requestEnded(): void {
    this.#requestsInProgress -= 1;
    if (this.#requestsInProgress === 0) for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Waits until no request is in progress. */
  async none(): Promise<void> {
    if (this.#requestsInProgress > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Takes one retry out of the budget. The caller gives it back when the retry has ended. */
  tryTake(): boolean {
    if (this.left === 0) return false;
    this.#retries[this.#bucket % BUCKETS]! += 1;
    this.#totalRetries += 1;
    this.#retriesInProgress += 1;
    return true;
  }

  giveBack(): void {
    this.#retriesInProgress -= 1;
  }

  #roll(now: number): void {
    const bucket = Math.floor(now / BUCKET_MS);
    const steps = bucket - this.#bucket;
    // A request of a later second was counted before this one.
    if (steps <= 0 && steps > -BUCKETS) return;
    this.#bucket = bucket;
    // After a long pause, or a clock that was set back, all counts are outdated.
    for (let passed = 0; passed < (steps < 0 ? BUCKETS : Math.min(steps, BUCKETS)); passed += 1) {
      const slot = (bucket - passed) % BUCKETS;
      this.#totalRequests -= this.#requests[slot]!;
      this.#totalRetries -= this.#retries[slot]!;
      this.#requests[slot] = 0;
      this.#retries[slot] = 0;
    }
  }
}
