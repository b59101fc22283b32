import type { LimiterMode } from '../../core/events.ts';
import type { Claim, Decision } from '../meter.ts';
import type { Debts } from './debts.ts';

/** What a limiter does while the store that gateways share fails. */
export type OnStoreError = 'local' | 'open' | 'closed';

export const ON_STORE_ERROR: readonly OnStoreError[] = ['local', 'open', 'closed'];

/** Rules in place of a shared store that fails, at once. */
export interface Fallback {
  readonly mode: LimiterMode;
  /** What it let pass and the store has to be told of; nothing where nobody counts. */
  readonly debts: Debts | undefined;
  /** @param waitMs Milliseconds until the store is asked again, as far as anybody knows. */
  take(claim: Claim, waitMs: number): Decision;
  /** The store was not told of a claim that was decided here, and will have to be. */
  owe(claim: Claim, allowed: boolean): void;
  /** Remembers what the store has just said of a client. */
  learn(claim: Claim, decision: Decision): void;
  /** Is told how many gateways share the limits. */
  shareWith(gateways: number): void;
  reset(key: string): void;
}
