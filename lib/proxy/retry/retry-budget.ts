const BUCKETS = 10;
const BUCKET_MS = 1_000;

/**
 * Keeps retries from multiplying the load on backends that are in trouble already: over the last ten seconds they are
 * at most a share of the requests (the idea of Finagle's retry budgets). Counted over time rather than over what is in
 * progress, because the requests that a backend takes down with it fail all at once: they are few among those
 * of ten seconds, and most of those in progress.
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
   * @param ratio Retries per request that is none.
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

  /** @param at `Date.now()` when it began: a while ago, if a middleware held it. The newest bucket takes it then. */
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

  /** Takes one retry out of the budget, to be given back when it has ended. */
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
    // A request that began in the second after this one came here first.
    if (steps <= 0 && steps > -BUCKETS) return;
    this.#bucket = bucket;
    // After a clock that was set back, as after a long pause, nothing that was counted is worth anything.
    for (let passed = 0; passed < (steps < 0 ? BUCKETS : Math.min(steps, BUCKETS)); passed += 1) {
      const slot = (bucket - passed) % BUCKETS;
      this.#totalRequests -= this.#requests[slot]!;
      this.#totalRetries -= this.#retries[slot]!;
      this.#requests[slot] = 0;
      this.#retries[slot] = 0;
    }
  }
}
