import type { LimiterMode } from '../core/events.ts';
import type { Meter } from './meter.ts';

/** A meter whose `take()` never rejects. */
export interface LimiterMeter extends Meter {
  readonly mode: LimiterMode;
  /** Never rejects. */
  close(): void | Promise<void>;
}

/** Is told once per change, with the error that caused it, if one did. */
export type ModeListener = (from: LimiterMode, to: LimiterMode, error: Error | undefined) => void;
