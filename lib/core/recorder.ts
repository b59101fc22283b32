import type { Outcome } from './outcome.ts';

/**
 * What a limiter works with: `memory` or its shared store; while that store fails, counts of its own (`local`), or
 * nothing, so that it lets all requests pass (`open`) or none (`closed`).
 */
export type LimiterMode = 'memory' | 'redis' | 'local' | 'open' | 'closed';

/** What one limiter said to one request. */
export interface LimiterDecision {
  readonly limiter: string;
  readonly mode: LimiterMode;
  readonly allowed: boolean;
  /** Whether a refusal lets the request pass all the same. */
  readonly shadow: boolean;
  readonly limit: number;
  /** What is left in the tightest window; nothing when the hit could not be counted. */
  readonly remaining: number | undefined;
  /** Milliseconds until there is more. */
  readonly resetMs: number | undefined;
}

/** What a backend is about to be sent. */
export interface AttemptHead {
  readonly path: string;
  /** Names, in any case, and values in turn. A recorder may set fields of its own. */
  readonly fields: string[];
}

/** Hears, as it happens, what logs, metrics and traces need of one request. It must not throw. */
export interface Recorder {
  limiterDecided(decision: LimiterDecision): void;
  attemptStarted(backend: string, head: AttemptHead): void;
  /** The head of a backend's response is here, and goes to the client. */
  attemptAnswered(backend: string): void;
  attemptEnded(backend: string, outcome: Outcome): void;
  /** The response is closed, and the outcome known. */
  ended(): void;
}
