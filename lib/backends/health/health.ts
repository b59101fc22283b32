import type { HealthVerdict } from '../../core/events.ts';

/** `Retry-After` in milliseconds when only a health check can tell when the backend is back. */
const UNKNOWN_WAIT_MS = 1_000;

/** The health of one backend, apart from its circuit. */
export class Health {
  /** Written by the health check, and so is `lastCheckAt`. */
  verdict: HealthVerdict = 'unknown';
  /** `Date.now()` at the end of the latest check. */
  lastCheckAt: number | undefined;
  /** Whether the trials of an open circuit wait for a passing check. Written by the health check. */
  holdsTrials = false;
  /** Whether it gets no requests. Written by the pool's ejections, because it depends on the other backends too. */
  isEjected = false;
  /** `Date.now()` until which the backend asked for no requests (`Retry-After`); 0 when it did not. Written by the ejections. */
  restsUntil = 0;

  get allowsTraffic(): boolean {
    return !this.isEjected && !this.holdsTrials;
  }

  /** Milliseconds until traffic may be allowed again; 0 when it is allowed, at least 1 000 when it depends on a check. */
  waitMs(): number {
    return this.allowsTraffic ? 0 : Math.max(UNKNOWN_WAIT_MS, this.restsUntil - Date.now());
  }
}
