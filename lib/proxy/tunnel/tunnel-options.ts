import { type Checks, durationMs, integer, optionalDurationMs } from '../../core/options.ts';

/** Bounds of upgraded connections, such as WebSockets. */
export interface TunnelOptions {
  /** Milliseconds without a byte in either direction; then both sides are closed. 0 for never. Default 3 600 000. */
  idleTimeoutMs?: number;
  /** Milliseconds of silence that the other side is given after one has closed, before it is cut off. Default 5 000. */
  closeTimeoutMs?: number;
  /** Upgraded connections at a time, those under way included; more get 503. 0 for any number. Default 10 000. */
  max?: number;
  /** Those of one client address; more get 429. 0 for any number. Default 1 000. */
  maxPerClient?: number;
}

/** Defaults of {@link TunnelOptions}. */
export const tunnelDefaults = Object.freeze({
  idleTimeoutMs: 3_600_000,
  closeTimeoutMs: 5_000,
  max: 10_000,
  maxPerClient: 1_000,
});

export const tunnelChecks: Checks<TunnelOptions> = {
  idleTimeoutMs: optionalDurationMs,
  closeTimeoutMs: durationMs,
  max: integer(0),
  maxPerClient: integer(0),
};
