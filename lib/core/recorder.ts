import type { LimiterMode } from './events.ts';

/** What one limiter said to one request. */
export interface LimiterDecision {
  readonly limiter: string;
  readonly mode: LimiterMode;
  readonly allowed: boolean;
  /** Whether a refusal lets the request pass all the same. */
  readonly shadow: boolean;
  readonly limit: number;
  /** What is left in the tightest window; nothing when nobody could count. */
  readonly remaining: number | undefined;
  /** Milliseconds until there is more. */
  readonly resetMs: number | undefined;
}

/** Is told, as it happens, what logs and metrics want to know of one request. It must not throw. */
export interface Recorder {
  limiterDecided(decision: LimiterDecision): void;
  attemptStarted(): void;
  attemptEnded(backend: string): void;
}
