import type { Store } from 'express-rate-limit';
import type { LimiterMode } from '../core/events.ts';

/** Where the hits of each client are counted. `increment()` never rejects. */
export interface LimiterStore extends Store {
  readonly mode: LimiterMode;
  close(): void;
}

/** Is told once per change, with the error that caused it, if one did. */
export type ModeListener = (from: LimiterMode, to: LimiterMode, error: Error | undefined) => void;
