import type { Exchange } from '../../core/exchange.ts';
import type { Checks } from '../../core/options.ts';

/** What a selection policy may know of a backend. */
export interface BackendView {
  /** Its origin, `http://host:port`: names it as long as it stays in the pool. */
  readonly origin: string;
  /** Its configured share of the traffic; 0 when it is out of rotation. */
  readonly weight: number;
  /** `weight`, or a part of it while the backend is on its slow start. More than 0 unless `weight` is 0. */
  readonly effectiveWeight: number;
  /** Requests in flight at the backend. */
  readonly inFlight: number;
  /**
   * Milliseconds to the head of a response: a moving average that follows a rise at once and fades while nothing is measured.
   * 0 before the first measurement, and when the policy does not set `observesLatency`.
   */
  readonly latencyMs: number;
  /** Whether it may get a request now. It covers everything that can keep a backend out: circuit, health, limits and weight 0. */
  isAvailable(): boolean;
  /** Whether it is not available for one reason alone: it has as many requests in flight as it may have. */
  isOnlyFull(): boolean;
}

/**
 * Picks one of the available backends. It knows nothing of circuits, health or limits: it may only call `isAvailable()` of a
 * backend and read its numbers.
 *
 * It must return a backend, not a promise: the pick and the entry into the backend's circuit happen in one tick.
 */
export interface SelectionPolicy {
  /** Whether the proxy measures `latencyMs`, which reads a clock twice per request. Read once. Default false. */
  readonly observesLatency?: boolean;
  /** Whether it treats all weights but 0 alike. Different weights in a list of backends then give a process warning. Default false. */
  readonly ignoresWeights?: boolean;
  /**
   * @param backends The pool, in the order of its configuration. The same array until membership or weights change.
   * @param tried Backends that this exchange was sent to before. It must not pick them again.
   * @returns One of `backends` that is available; `undefined` when there is none.
   */
  select<B extends BackendView>(backends: readonly B[], exchange: Exchange, tried: readonly B[]): B | undefined;
}

export function isCandidate(backend: BackendView, tried: readonly BackendView[]): boolean {
  return (tried.length === 0 || !tried.includes(backend)) && backend.isAvailable();
}

/**
 * A policy that `loadBalancing` accepts by name. The registry is `policies.ts`; the option, its errors and the table in
 * docs/proxy.md are made from the entries.
 *
 * @typeParam O The options beside `policy`.
 * @typeParam R Name of the option without a default.
 */
export interface PolicyEntry<N extends string = string, O extends object = object, R extends string = string> {
  readonly name: N;
  /** How it picks, in a few words: for `.env.example`. */
  readonly brief: string;
  /** How it picks: its line in the documentation. */
  readonly summary: string;
  /** Whether it respects the weights of backends; `fallback` when its fallback decides that. */
  readonly weights: 'respected' | 'ignored' | 'fallback';
  readonly defaults: Partial<O>;
  readonly checks: Checks<O>;
  /** The option without a default, if there is one: then the name alone is not enough. */
  readonly required?: R;
  /** Problems of several options together, one sentence each. */
  problems?(given: Partial<O>): string[];
  make(options: O): SelectionPolicy;
}
