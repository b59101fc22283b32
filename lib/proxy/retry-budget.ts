/**
 * Keeps retries from multiplying the load on backends that are in trouble already: at any moment only a share of
 * the requests may be at a further attempt (the idea of Finagle's and Envoy's retry budgets).
 */
export class RetryBudget {
  readonly #ratio: number;
  readonly #minimum: number;
  #requests = 0;
  #retries = 0;

  /**
   * @param ratio Retries in progress, per request in progress that is none.
   * @param minimum Retries that may always be in progress, so that a quiet gateway can retry at all.
   */
  constructor(ratio: number, minimum: number) {
    this.#ratio = ratio;
    this.#minimum = minimum;
  }

  /** Retries that may begin now. */
  get left(): number {
    return Math.max(0, this.#limit - this.#retries);
  }

  /** Requests in progress. */
  get requests(): number {
    return this.#requests;
  }

  requestStarted(): void {
    this.#requests += 1;
  }

  requestEnded(): void {
    this.#requests -= 1;
  }

  /** Takes one retry out of the budget, to be given back when it has ended. */
  tryTake(): boolean {
    if (this.#retries >= this.#limit) return false;
    this.#retries += 1;
    return true;
  }

  giveBack(): void {
    this.#retries -= 1;
  }

  get #limit(): number {
    return Math.max(this.#minimum, Math.floor(this.#ratio * (this.#requests - this.#retries)));
  }
}
