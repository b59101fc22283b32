import type { LimiterMode } from '../../core/events.ts';
import type { Claim, Decision } from '../meter.ts';
import type { Fallback } from './fallback.ts';

/** What clients are told to wait at least, and at most (they may be back much sooner than a pause in our asking ends). */
const LEAST_WAIT_MS = 1_000;
const MOST_WAIT_MS = 5_000;

const PASSED: Decision = Object.freeze({ allowed: true, retryAfterMs: 0, quotaStates: Object.freeze([]) });

/** Lets everybody pass, and counts nobody. */
export class OpenFallback implements Fallback {
  readonly mode: LimiterMode = 'open';
  readonly debts = undefined;

  take(): Decision {
    return PASSED;
  }

  owe(): void {}
  learn(): void {}
  shareWith(): void {}
  reset(): void {}
}

/** Refuses everybody until the store works again. */
export class ClosedFallback implements Fallback {
  readonly mode: LimiterMode = 'closed';
  readonly debts = undefined;

  take(_claim: Claim, waitMs: number): Decision {
    const retryAfterMs = Math.min(Math.max(waitMs, LEAST_WAIT_MS), MOST_WAIT_MS);
    return { allowed: false, retryAfterMs, quotaStates: [] };
  }

  owe(): void {}
  learn(): void {}
  shareWith(): void {}
  reset(): void {}
}
