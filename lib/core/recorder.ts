import type { Outcome } from './outcome.ts';

/**
 * Where a limiter counts: `memory`, or its shared store. While that store fails, it counts by itself (`local`), or not at all: then all
 * requests pass (`open`) or none (`closed`).
 */
export type LimiterMode = 'memory' | 'redis' | 'local' | 'open' | 'closed';

/** The decision of one limiter about one request. */
export interface LimiterDecision {
  readonly limiter: string;
  readonly mode: LimiterMode;
  readonly allowed: boolean;
  /** Whether the request passes even if it is over the limit. */
  readonly shadow: boolean;
  readonly limit: number;
  /** Remaining requests in the window with the least left; `undefined` if the hit could not be counted. */
  readonly remaining: number | undefined;
  /** Milliseconds until more is available. */
  readonly resetMs: number | undefined;
}

/** The request that is about to be sent to a backend. */
export interface AttemptHead {
  readonly path: string;
  /** Names (in any case) and values alternate. A recorder may add headers. */
  readonly fields: string[];
}

/** Is notified of the steps of one request, for logs, metrics and traces. It must not throw. */
export interface Recorder {
  limiterDecided(decision: LimiterDecision): void;
  /** @param httpVersion The version of HTTP that the backend gets. */
  attemptStarted(backend: string, head: AttemptHead, httpVersion: '1.1' | '2'): void;
  /** The head of a backend's response has arrived and goes to the client. */
  attemptAnswered(backend: string): void;
  attemptEnded(backend: string, outcome: Outcome): void;
  /** The response is closed, and the outcome is known. */
  ended(): void;
}
