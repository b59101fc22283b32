import type { AlgorithmName } from '../algorithms/registry.ts';
import type { RoundTrip } from '../leases/grant.ts';
import type { Quota } from '../quota.ts';

/** Whose counts are meant: limiters that are alike in all of this share them. */
export interface CountedLimiter {
  readonly name: string;
  readonly algorithm: AlgorithmName;
  readonly quotas: readonly Quota[];
  readonly maxKeys: number;
  /** The part of what remains that a claim may take ahead. */
  readonly share: number;
}

/** A claim, the cost of claims that wait for it, and what is wished for later ones; `null` is the limiter's own limit. */
export type TakeQuestion = readonly ['take', key: string, cost: number, limit: number | null, ahead: AheadWish];
/** What was spent uncounted: units for each quota, and those that are charged even where they do not fit. */
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

/** What one limiter asks in one turn of its event loop. Plain data, so that it survives JSON and structured cloning. */
export interface CounterQuestion {
  readonly limiter: CountedLimiter;
  readonly all: readonly OneQuestion[];
}

/** One for each question, in their order: `null` where nothing is to be said but that it was done. */
export type CounterAnswer = readonly (RoundTrip | null)[];

/** The way from a limiter to the process that counts for it. */
export interface CounterLink {
  /** Processes that may ask there: each keeps to its part of the limits while it does not reply. */
  readonly processes: number;
  /**
   * Brings a question to `limiterCounter().answer()` of the other process, and what it gave back. May take its time, and may
   * reject.
   */
  ask(question: CounterQuestion): Promise<CounterAnswer>;
}
