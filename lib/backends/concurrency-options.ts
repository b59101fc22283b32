import {
  boolean,
  type Check,
  type Checks,
  described,
  durationMs,
  group,
  integer,
  resolveOptions,
} from '../core/options.ts';

/**
 * Bounds of the limit that each backend gets from its latency. The limit counts requests until their response head: event streams, tunnels and
 * long downloads do not count.
 */
export interface AdaptiveConcurrencyOptions {
  /** Limit of a backend that has not been measured yet. Default 50. */
  initialLimit?: number;
  /** Lower bound of the limit. Default 4. */
  minLimit?: number;
  /** Upper bound. Default 1 000. */
  maxLimit?: number;
  /** Latency of a backend, as a multiple of its latency without load, above which its limit shrinks. At least 1. Default 1.5. */
  latencyTolerance?: number;
  /**
   * Milliseconds between two probes. A probe cuts the limit of a backend under constant load to a quarter for a moment, to measure its latency
   * without load again. The time is shortened or lengthened at random by up to a tenth. Default 10 000.
   */
  probeIntervalMs?: number;
}

/** Defaults of {@link AdaptiveConcurrencyOptions}. */
export const adaptiveConcurrencyDefaults = Object.freeze({
  initialLimit: 50,
  minLimit: 4,
  maxLimit: 1_000,
  latencyTolerance: 1.5,
  probeIntervalMs: 10_000,
});

const checks: Checks<AdaptiveConcurrencyOptions> = {
  initialLimit: integer(1, 1_000_000),
  minLimit: integer(1, 1_000_000),
  maxLimit: integer(1, 1_000_000),
  latencyTolerance: described(
    (value) =>
      typeof value === 'number' && value >= 1 && value < Infinity ? undefined : 'must be a number of at least 1',
    { type: 'number', minimum: 1 },
  ),
  probeIntervalMs: durationMs,
};

const inOrder = ({ minLimit, initialLimit, maxLimit }: Required<AdaptiveConcurrencyOptions>): string[] =>
  minLimit <= initialLimit && initialLimit <= maxLimit
    ? []
    : [
        `minLimit, initialLimit and maxLimit must be in ascending order, got ${minLimit}, ${initialLimit} and ${maxLimit}`,
      ];

const options = group(adaptiveConcurrencyDefaults, checks, {}, inOrder);

/** Checks the option `adaptiveConcurrency`. */
export const adaptiveConcurrency: Check = described(
  (value) => (typeof value === 'object' && value !== null ? options(value) : boolean(value)),
  { anyOf: [{ type: 'boolean' }, options.schema ?? {}] },
);

/** Fills in the defaults; `undefined` if the option is off. */
export function concurrencySettings(
  given: boolean | AdaptiveConcurrencyOptions,
): Required<AdaptiveConcurrencyOptions> | undefined {
  if (given === false) return undefined;
  return resolveOptions('adaptiveConcurrency', given === true ? {} : given, adaptiveConcurrencyDefaults, checks);
}
