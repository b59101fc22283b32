import { type Checks, durationMs, integer, optionalDurationMs, ratio } from '../core/options.ts';
import type { OpenMs } from './open-period.ts';

/** When a circuit opens and how it closes again. The defaults are those that sony/gobreaker users know. */
export interface CircuitOptions {
  /**
   * Share of failed calls, over 0 and up to 1, from which on the circuit opens: exactly this share is enough.
   * Looked at on each failure. Default 0.6.
   */
  failureRatio?: number;
  /**
   * Completed calls that must be in the window before the circuit may open. A function is asked on failures, at a time
   * when their share is large enough: for a minimum that follows the number of backends behind it. Where it throws, the
   * circuit stays closed, and a process warning says so, once. Default 5.
   */
  minimumRequests?: number | (() => number);
  /**
   * Milliseconds for which a completed call counts, rounded up to a multiple of 10; 0 for as long as the
   * circuit stays closed (gobreaker's zero `Interval`). Default 10 000.
   */
  windowMs?: number;
  /** Milliseconds that the circuit stays open before it admits a trial. Default 10 000. */
  openMs?: number;
  /**
   * Trials that a half-open circuit admits; when all have succeeded it closes, and the first that fails opens
   * it again for `openMs`. Calls beyond them are rejected at once. Default 3.
   */
  halfOpenRequests?: number;
}

/** What a {@link CircuitOptions} is once resolved; `openMs` may also grow from one opening to the next. */
export type ResolvedCircuitOptions = Readonly<
  Required<Omit<CircuitOptions, 'openMs'>> & { openMs: OpenMs; consecutiveFailures?: number | undefined }
>;

/** Defaults of {@link CircuitOptions}. */
export const circuitDefaults = Object.freeze({
  failureRatio: 0.6,
  minimumRequests: 5,
  windowMs: 10_000,
  openMs: 10_000,
  halfOpenRequests: 3,
});

export const circuitChecks: Checks<CircuitOptions> = {
  failureRatio: ratio,
  minimumRequests: (value) => (typeof value === 'function' ? undefined : integer(1)(value)),
  windowMs: optionalDurationMs,
  openMs: durationMs,
  halfOpenRequests: integer(1),
};
