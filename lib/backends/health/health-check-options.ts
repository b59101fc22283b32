import { CONNECTION_HEADERS, headerValues } from '../../core/header-values.ts';
import {
  type Check,
  type Checks,
  described,
  durationMs,
  func,
  integer,
  optional,
  optionalRatio,
} from '../../core/options.ts';

/** Active health checks: the gateway sends requests of its own to each backend. */
export interface HealthCheckOptions {
  /** Path, with query if needed, of the GET request. Checks are off until it is set. Default: none. */
  path?: string | undefined;
  /**
   * Headers of the request, such as `Host` or `Authorization`. Default: `Host` with the backend's own name, and `User-Agent` with
   * `expressway-health-check`.
   */
  headers?: Readonly<Record<string, string>>;
  /** Milliseconds from the end of a check to the next one. Default 10 000. */
  intervalMs?: number;
  /** Share by which each pause is shortened or lengthened at random, so that gateways do not check at the same moment. Default 0.2. */
  jitter?: number;
  /** Timeout of a whole check, in milliseconds: connection, response head and body. Default 2 000. */
  timeoutMs?: number;
  /** Failed checks in a row that make a backend unhealthy. Default 3. */
  unhealthyAfter?: number;
  /** Passed checks in a row that make an unhealthy backend healthy. A backend that was never checked needs one. Default 2. */
  healthyAfter?: number;
  /**
   * Milliseconds between checks while a backend is unhealthy or its circuit is open. When the circuit opens, a check
   * starts at once. Default 2 000.
   */
  unhealthyIntervalMs?: number;
  /**
   * Whether a response passes; only `true` does, and a thrown error is a failed check. It gets at most the first
   * 64 KiB of the content. Default: a status from 200 to 299; redirects are not followed.
   */
  isHealthy?: (status: number, content: string) => boolean;
}

/** Defaults of {@link HealthCheckOptions}. */
export const healthCheckDefaults = Object.freeze({
  headers: Object.freeze({}) as Readonly<Record<string, string>>,
  intervalMs: 10_000,
  jitter: 0.2,
  timeoutMs: 2_000,
  unhealthyAfter: 3,
  healthyAfter: 2,
  unhealthyIntervalMs: 2_000,
});

/** What {@link HealthCheckOptions} are once resolved and switched on. */
export type ResolvedHealthCheckOptions = Readonly<
  Required<Omit<HealthCheckOptions, 'isHealthy' | 'path'>> & Pick<HealthCheckOptions, 'isHealthy'> & { path: string }
>;

const path: Check = described(
  (value) =>
    typeof value === 'string' && /^\/[\x21-\x7e]*$/.test(value) && !value.includes('#')
      ? undefined
      : 'must be a path that starts with "/", percent-encoded where needed',
  { type: 'string', pattern: '^/[!"$-~]*$' },
);

/** undici refuses these. */
const REFUSED = new Set([...CONNECTION_HEADERS, 'expect', 'keep-alive', 'te', 'trailer']);

export const healthCheckChecks: Checks<HealthCheckOptions> = {
  path: optional(path),
  headers: headerValues(REFUSED, ': a check cannot have it'),
  intervalMs: durationMs,
  jitter: optionalRatio,
  timeoutMs: durationMs,
  unhealthyAfter: integer(1),
  healthyAfter: integer(1),
  unhealthyIntervalMs: durationMs,
  isHealthy: optional(func),
};
