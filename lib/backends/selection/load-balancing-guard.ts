import type { Exchange } from '../../core/exchange.ts';
import { warn } from '../../core/warnings.ts';
import { RoundRobin } from './round-robin.ts';
import { type BackendView, isCandidate, type SelectionPolicy } from './selection-policy.ts';

/** A policy with a bug has it on every request: once a minute is enough to say so. */
const QUIET_MS = 60_000;

/**
 * Stands before a policy that is not ours. When it throws, or picks what may not be picked, the request goes round
 * robin and the error becomes a process warning: by then nobody is left to throw it to.
 */
export class LoadBalancingGuard implements SelectionPolicy {
  readonly observesLatency: boolean;
  readonly ignoresWeights: boolean;
  readonly #guarded: SelectionPolicy;
  readonly #instead = new RoundRobin();
  #warnedAt = Number.NEGATIVE_INFINITY;

  constructor(guarded: SelectionPolicy) {
    this.observesLatency = guarded.observesLatency === true;
    this.ignoresWeights = guarded.ignoresWeights === true;
    this.#guarded = guarded;
  }

  select<B extends BackendView>(backends: readonly B[], exchange: Exchange, tried: readonly B[]): B | undefined {
    try {
      const backend = this.#guarded.select(backends, exchange, tried);
      if (backend === undefined || (backends.includes(backend) && isCandidate(backend, tried))) return backend;
      this.#warn('it picked something that is no available and untried backend of the pool');
    } catch (error) {
      this.#warn(error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    return this.#instead.select(backends, exchange, tried);
  }

  #warn(detail: string): void {
    const now = Date.now();
    if (now - this.#warnedAt < QUIET_MS && now >= this.#warnedAt) return;
    this.#warnedAt = now;
    warn('WARN_EXPRESSWAY_POLICY', 'The policy given as loadBalancing failed: requests go round robin instead', detail);
  }
}
