import { jittered } from '../core/jitter.ts';
import { type Checks, durationMs, integer, optional, optionalRatio } from '../core/options.ts';
import { type CircuitOptions, circuitChecks, circuitDefaults } from './circuit-options.ts';
import type { OpenMs } from './open-period.ts';

/** The circuit of one backend: notices a sudden failure, and stays open for longer from one failed round of trials to the next. */
export interface BackendCircuitOptions extends CircuitOptions {
  /**
   * Failures in a row, within the window, that open the circuit whatever the ratio is: a backend that has answered
   * thousands of requests and then hangs would else stay in use until most of those are forgotten (Envoy's
   * `consecutive_5xx`). 0 for never. Default: as many as `minimumRequests`.
   */
  consecutiveFailures?: number;
  /**
   * Milliseconds at which `openMs` stops doubling with each opening in a row, before jitter. Not above `openMs`, it
   * never grows. Default 300 000.
   */
  maxOpenMs?: number;
  /**
   * Share by which the second and later times in a row are shortened or lengthened at random, so that several
   * gateways do not send their trials at the same moment. The first time is exact. Default 0.1.
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

/** A run of failures that needs no ratio; a minimum that is asked for says nothing of one backend. */
export function consecutiveFailures({
  consecutiveFailures,
  minimumRequests,
}: Required<CircuitOptions> & BackendCircuitOptions): number {
  return consecutiveFailures ?? (typeof minimumRequests === 'number' ? minimumRequests : 0);
}

/** How long a circuit is open, by how many times in a row it has opened. */
export function openBackoff({
  openMs,
  maxOpenMs,
  openJitter,
}: Required<Omit<BackendCircuitOptions, 'consecutiveFailures'>>): OpenMs {
  const longest = Math.max(openMs, maxOpenMs);
  return (attempt) => {
    // Callers are told when the first one ends, and operators count on it; what jitter prevents begins with repetition.
    if (attempt <= 1) return openMs;
    return jittered(Math.min(longest, openMs * 2 ** (attempt - 1)), openJitter);
  };
}
