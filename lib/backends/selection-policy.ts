import type { Exchange } from '../core/exchange.ts';
import type { Backend } from './backend.ts';

/**
 * Picks one of the available backends. Knows nothing of circuits, health or limits: it may ask a backend
 * only whether it `isAvailable()`.
 */
export interface SelectionPolicy {
  /** @param tried Backends already asked on behalf of this exchange: never picked again. */
  select(backends: readonly Backend[], exchange: Exchange, tried: readonly Backend[]): Backend | undefined;
}

export function isCandidate(backend: Backend, tried: readonly Backend[]): boolean {
  return (tried.length === 0 || !tried.includes(backend)) && backend.isAvailable();
}
