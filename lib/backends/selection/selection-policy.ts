import type { Exchange } from '../../core/exchange.ts';

/** What a selection policy may know of a backend. */
export interface BackendView {
  /** Its origin, `http://host:port`: names it as long as it stays in the pool. */
  readonly origin: string;
  /** Its configured share of the traffic; 0 when it is out of rotation. */
  readonly weight: number;
  /** `weight`, or a part of it while the backend is on its slow start. More than 0 unless `weight` is 0. */
  readonly effectiveWeight: number;
  /** Requests that it is answering now. */
  readonly inFlight: number;
  /**
   * Milliseconds that it takes to begin an answer: a moving average that follows a rise at once and fades while nothing
   * is measured. 0 when nothing was measured yet, or the policy does not ask for it by `observesLatency`.
   */
  readonly latencyMs: number;
  /** Whether it may get a request now: whatever keeps it out (circuit, health, limits, weight 0), this is the answer. */
  isAvailable(): boolean;
  /** Whether nothing but its cap on requests keeps it from taking one more: it is neither out nor gone. */
  isOnlyFull(): boolean;
}

/**
 * Picks one of the available backends. Knows nothing of circuits, health or limits: it may ask a backend
 * only whether it `isAvailable()`, and read its numbers.
 *
 * It must answer at once, without a promise: the pick and the entry into the backend's circuit are one step.
 */
export interface SelectionPolicy {
  /** Whether `latencyMs` is to be measured: two readings of a clock per request. Read once. Default false. */
  readonly observesLatency?: boolean;
  /** Whether all weights but 0 are the same to it: a list of backends that has several gives a process warning. Default false. */
  readonly ignoresWeights?: boolean;
  /**
   * @param backends The pool, in the order of its configuration. The same array until membership or weights change.
   * @param tried Backends already asked on behalf of this exchange: never picked again.
   * @returns One of `backends` that is available; nothing when there is none.
   */
  select<B extends BackendView>(backends: readonly B[], exchange: Exchange, tried: readonly B[]): B | undefined;
}

export function isCandidate(backend: BackendView, tried: readonly BackendView[]): boolean {
  return (tried.length === 0 || !tried.includes(backend)) && backend.isAvailable();
}
