import { jittered } from '../core/delay.ts';
import {
  type Checks,
  described,
  durationMs,
  integer,
  listOf,
  optional,
  optionalDurationMs,
  optionalRatio,
  ratio,
} from '../core/options.ts';
import type { OpenMs } from './open-period.ts';

/** When a circuit opens and how it closes again. Most defaults are those of sony/gobreaker. */
export interface CircuitOptions {
  /**
   * Share of failed calls, over 0 and up to 1, at which the circuit opens: exactly this share is enough. The circuit checks it
   * on each failure. Default 0.6.
   */
  failureRatio?: number;
  /**
   * Completed calls that must be in the window before the circuit may open. A function is called on a failure when the share of
   * failures is large enough: use it for a minimum that follows the number of backends. If it throws, the circuit stays closed,
   * and one process warning says so. Default 5.
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
   * Trials that a half-open circuit admits. When all have succeeded the circuit closes; the first that fails opens it again for
   * `openMs`. Other calls are rejected at once. Default 3.
   */
  halfOpenRequests?: number;
  /**
   * Statuses of responses that count as failures, from 500 to 599, such as `[502, 503, 504]`. Without it, one client that knows a URL with a
   * fault (500) can open the circuit for all clients. `isFailure` goes before it. Default: all.
   */
  failureStatuses?: readonly number[];
}

/** {@link CircuitOptions} with defaults filled in; `openMs` may also grow from one opening to the next. */
export type ResolvedCircuitOptions = Readonly<
  Required<Omit<CircuitOptions, 'openMs' | 'failureStatuses'>> & {
    openMs: OpenMs;
    consecutiveFailures?: number | undefined;
  }
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
  minimumRequests: described(
    (value) => (typeof value === 'function' ? undefined : integer(1)(value)),
    integer(1).schema ?? {},
  ),
  windowMs: optionalDurationMs,
  openMs: durationMs,
  halfOpenRequests: integer(1),
  failureStatuses: optional(listOf('status', integer(500, 599), 1)),
};

/** The circuit of one backend. It opens on a sudden failure too, and stays open for longer after each failed round of trials. */
export interface BackendCircuitOptions extends CircuitOptions {
  /**
   * Failures in a row, within the window, that open the circuit whatever the ratio is (Envoy's `consecutive_5xx`). Without this
   * rule, a backend that has responded to thousands of requests and then hangs would stay in use until most of those are
   * forgotten. 0 for never. Default: as many as `minimumRequests`.
   */
  consecutiveFailures?: number;
  /**
   * Milliseconds at which `openMs` stops doubling with each opening in a row, before jitter. At or below `openMs`, the open
   * period never grows. While no backend is available, a circuit is open for `openMs` only. Default 300 000.
   */
  maxOpenMs?: number;
  /**
   * Share by which the second and later open periods in a row are shortened or lengthened at random, so that several gateways do
   * not send their trials at the same moment. The first period is exact. Default 0.1.
   */
  openJitter?: number;
}

/** Defaults of {@link BackendCircuitOptions}. */
export const backendCircuitDefaults = Object.freeze({ ...circuitDefaults, maxOpenMs: 300_000, openJitter: 0.1 });

export const backendCircuitChecks: Checks<BackendCircuitOptions> = {
  ...circuitChecks,
  consecutiveFailures: optional(integer(0)),
  maxOpenMs: durationMs,
  openJitter: optionalRatio,
};

/** Failures in a row that open the circuit of one backend. A function as `minimumRequests` is not about one backend, so it gives no default. */
export function consecutiveFailures({
  consecutiveFailures,
  minimumRequests,
}: Required<Pick<CircuitOptions, 'minimumRequests'>> & BackendCircuitOptions): number {
  return consecutiveFailures ?? (typeof minimumRequests === 'number' ? minimumRequests : 0);
}

/** Length of an open period, by the number of openings in a row. */
export function openBackoff({
  openMs,
  maxOpenMs,
  openJitter,
}: Required<Pick<BackendCircuitOptions, 'openMs' | 'maxOpenMs' | 'openJitter'>>): OpenMs {
  const longest = Math.max(openMs, maxOpenMs);
  return (attempt) => {
    // The first period is exact, because operators rely on it, and only repetition would synchronise several gateways.
    if (attempt <= 1) return openMs;
    return jittered(Math.min(longest, openMs * 2 ** (attempt - 1)), openJitter);
  };
}
