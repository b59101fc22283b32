import { type Checks, durationMs, func, optional, optionalDurationMs } from '../core/options.ts';
import { type StopSignalsOptions, signalsCheck, stopSignalsDefaults } from './stop-signals.ts';

/**
 * The phase of a shutdown: `serving` before it, `leaving` during the lead time, `draining` while the server accepts no new connection and the
 * open ones end, `closing` while `close` runs, and `closed`.
 */
export type ShutdownPhase = 'serving' | 'leaving' | 'draining' | 'closing' | 'closed';

/** Options of `gracefulShutdown()`. */
export interface GracefulShutdownOptions extends StopSignalsOptions {
  /**
   * The signals that start the shutdown and then end the process, as `stopOnSignals()` does. With an empty list, only `close()` starts it,
   * and the process goes on. Default SIGTERM and SIGINT.
   */
  signals?: readonly NodeJS.Signals[];
  /**
   * Milliseconds of the phase `leaving`, in which the server still serves everything. Set the time that the load balancer needs to notice the
   * phase and to send new connections elsewhere. Default 0.
   */
  leadTimeMs?: number;
  /**
   * Milliseconds in which a connection without a request may send its next one, whose response then has `Connection: close` (RFC 9112 §9.6).
   * After that time, a silent connection is closed. Default 1 000.
   */
  idleGraceMs?: number;
  /**
   * Timeout of the whole shutdown, in milliseconds, `leadTimeMs` included. Requests, streams and upgraded connections
   * that still run are cut one second before its end, or a fifth of it before, whichever is shorter. The rest is for
   * `close`. Default 10 000.
   */
  timeoutMs?: number;
  /**
   * Called after the last connection has ended, to close resources of requests: Redis clients, pools, timers. May return a promise. Default:
   * none.
   */
  close?: () => unknown;
  /**
   * Called with each phase as it begins. The shutdown does not wait for a promise that it returns. The error of a rejected
   * promise counts like one that is thrown, or becomes a process warning if the shutdown is over by then. Default: none.
   */
  onPhase?: (phase: ShutdownPhase) => unknown;
}

/** Defaults of {@link GracefulShutdownOptions}. */
export const gracefulShutdownDefaults = Object.freeze({
  ...stopSignalsDefaults,
  leadTimeMs: 0,
  idleGraceMs: 1_000,
  timeoutMs: 10_000,
});

export type GracefulShutdownSettings = GracefulShutdownOptions & typeof gracefulShutdownDefaults;

export const gracefulShutdownChecks: Checks<GracefulShutdownOptions> = {
  signals: signalsCheck,
  leadTimeMs: optionalDurationMs,
  idleGraceMs: optionalDurationMs,
  timeoutMs: durationMs,
  close: optional(func),
  onPhase: optional(func),
};

const MOST_RESERVED_MS = 1_000;
const MOST_FLUSH_MS = 500;

/** The part of `timeoutMs` that is kept for `close`. */
export const reservedMs = (timeoutMs: number): number => Math.min(MOST_RESERVED_MS, timeoutMs / 5);

/** Whether the lead time leaves some of the timeout for the requests. */
export const leavesTime = (leadTimeMs: number, timeoutMs: number): boolean =>
  leadTimeMs < timeoutMs - reservedMs(timeoutMs);

/** Milliseconds in which a client may read the rest of a stream that is ended at the deadline. */
export const flushMs = (timeoutMs: number): number => Math.min(MOST_FLUSH_MS, reservedMs(timeoutMs) / 2);
