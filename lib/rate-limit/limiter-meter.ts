import type { LimiterMode } from '../core/events.ts';
import type { Meter } from './meter.ts';

/** A meter whose `take()` never rejects. */
export interface LimiterMeter extends Meter {
  readonly mode: LimiterMode;
  /** Where there is something to wait for at a start. Never rejects. */
  ready?(): Promise<void>;
  /** Never rejects. */
  close(): void | Promise<void>;
}

/** Is told once per change, with the error that caused it, if one did. */
export type ModeListener = (from: LimiterMode, to: LimiterMode, error: Error | undefined) => void;
