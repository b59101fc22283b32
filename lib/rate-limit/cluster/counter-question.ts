import type { AlgorithmName } from '../algorithms/registry.ts';
import type { RoundTrip } from '../leases/grant.ts';
import type { Quota } from '../quota.ts';

/** Identifies a limiter. Limiters that are equal in all of this share their counts. */
export interface CountedLimiter {
  readonly name: string;
  readonly algorithm: AlgorithmName;
  readonly quotas: readonly Quota[];
  readonly maxKeys: number;
  /** The part of what remains that may be charged in advance. */
  readonly share: number;
}

/** A claim, and what to charge in advance. A `limit` of `null` is the limiter's own. */
export type TakeQuestion = readonly ['take', key: string, cost: number, limit: number | null, ahead: AheadWish];
/** Units that were spent elsewhere, for each quota: `units` up to the limit, `over` even above it. */
export type ChargeQuestion = readonly [
  'charge',
  key: string,
  limit: number | null,
  units: readonly number[],
  over?: readonly number[],
];
export type ResetQuestion = readonly ['reset', key: string];

export interface AheadWish {
  readonly waiting: number;
  readonly wish: number;
}

export type OneQuestion = TakeQuestion | ChargeQuestion | ResetQuestion;

/** What one limiter asks in one turn of its event loop. Plain data, which survives JSON and structured cloning. */
export interface CounterQuestion {
  readonly limiter: CountedLimiter;
  readonly all: readonly OneQuestion[];
}

/** One for each question, in the same order; `null` for a charge or reset. */
export type CounterAnswer = readonly (RoundTrip | null)[];

/** The connection from a limiter to the process that counts for it. */
export interface CounterLink {
  /** Number of processes that count there. While it does not reply, each keeps to its part of the limits. */
  readonly processes: number;
  /**
   * Passes a question to `limiterCounter().answer()` in the other process, and gives what that returned. It may be slow, and may
   * reject.
   */
  ask(question: CounterQuestion): Promise<CounterAnswer>;
}
