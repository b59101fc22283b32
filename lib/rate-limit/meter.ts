/** What one request wants of a limiter. */
export interface Claim {
  /** Who is counted. */
  readonly key: string;
  /** How much the request counts for, from 0 up. What is more than the limit counts as the limit. */
  readonly cost: number;
  /** In place of the limit of a meter's only quota. */
  readonly limit: number | undefined;
}

/** How a client stands with one quota. */
export interface QuotaState {
  /** What is left. */
  readonly remaining: number;
  /**
   * Milliseconds to wait. Where the claim was too much: until it would pass, if nothing else is spent meanwhile.
   * Where nothing is left: until a claim of 1 would pass. Else until the window is over, or the bucket full.
   */
  readonly resetMs: number;
}

/** What a meter says to one claim. */
export interface Decision {
  readonly allowed: boolean;
  /** Milliseconds after which the same claim would pass, if nothing else is spent meanwhile; 0 when it passed. */
  readonly retryAfterMs: number;
  /** One for each quota, in their order; none when nobody could count, and the claim passed or not for that reason. */
  readonly quotaStates: readonly QuotaState[];
}

/** Counts what clients spend, and says when it is too much. Either all quotas of a claim are charged, or none. */
export interface Meter {
  /** At once where nobody else has to be asked. */
  take(claim: Claim): Decision | Promise<Decision>;
  /** Forgets what one client has spent. */
  reset(key: string): void | Promise<void>;
}
