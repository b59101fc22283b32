import { type Check, described, durationMs, group, integer, nonEmptyString } from '../../core/options.ts';

/** Sends copies of a route's requests to another service. Their responses are dropped. */
export interface MirrorOptions {
  /** Name of the service that gets the copies. */
  service: string;
  /** Share of the requests that are copied, in percent. Default 100. */
  percent?: number;
  /** Longest body of a request that is copied, in bytes; it is kept in memory until the copy is sent. Default 65_536. */
  maxBodyBytes?: number;
  /**
   * Copies in progress at the service at a time, including those of other routes; further ones are dropped. The same number may wait for the
   * rest of their bodies; then a new one replaces the oldest. Default 100.
   */
  maxInFlight?: number;
  /** Timeout of a copy from when it is sent, in milliseconds. Default 10_000. */
  timeoutMs?: number;
}

/** Limits of the copies of a route. */
export type MirrorLimits = Readonly<Required<Omit<MirrorOptions, 'service'>>>;

/** Defaults of {@link MirrorOptions}. */
export const mirrorDefaults = Object.freeze({
  percent: 100,
  maxBodyBytes: 65_536,
  maxInFlight: 100,
  timeoutMs: 10_000,
});

/** Checks of {@link MirrorOptions}. */
export const mirrorCheck: Check = group<MirrorOptions, typeof mirrorDefaults>(
  mirrorDefaults,
  {
    service: nonEmptyString,
    percent: described(
      (value) =>
        typeof value === 'number' && value > 0 && value <= 100 ? undefined : 'must be a number over 0 and up to 100',
      { type: 'number', exclusiveMinimum: 0, maximum: 100 },
    ),
    maxBodyBytes: integer(0),
    maxInFlight: integer(1),
    timeoutMs: durationMs,
  },
  { backendRef: 'use service', fraction: 'use percent', share: 'use percent', ratio: 'use percent' },
);
