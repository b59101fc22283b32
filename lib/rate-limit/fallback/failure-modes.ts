import type { LimiterMode } from '../../core/events.ts';
import type { Claim, Ruling } from '../meter.ts';
import type { StandIn } from './fallback.ts';

/** What clients are told to wait at least, and at most (they may be back much sooner than a pause in our asking ends). */
const LEAST_WAIT_MS = 1_000;
const MOST_WAIT_MS = 5_000;

const PASSED: Ruling = Object.freeze({ allowed: true, retryAfterMs: 0, standings: Object.freeze([]) });

/** Lets everybody pass, and counts nobody. */
export class OpenStandIn implements StandIn {
  readonly mode: LimiterMode = 'open';
  readonly debts = undefined;

  take(): Ruling {
    return PASSED;
  }

  owe(): void {}
  learn(): void {}
  shareWith(): void {}
  reset(): void {}
}

/** Refuses everybody until the store works again. */
export class ClosedStandIn implements StandIn {
  readonly mode: LimiterMode = 'closed';
  readonly debts = undefined;

  take(_claim: Claim, waitMs: number): Ruling {
    const retryAfterMs = Math.min(Math.max(waitMs, LEAST_WAIT_MS), MOST_WAIT_MS);
    return { allowed: false, retryAfterMs, standings: [] };
  }

  owe(): void {}
  learn(): void {}
  shareWith(): void {}
  reset(): void {}
}
