import type { Exchange } from '../../core/exchange.ts';
import { LeastOfTwo } from './least-of-two.ts';
import type { BackendView, SelectionPolicy } from './selection-policy.ts';

/** More than any measured cost: what has been asked once and not measured waits for the answer. */
const UNKNOWN = 1e12;

/** What a request more would take there: every request in flight is one to wait for. */
function expectedWait({ latencyMs, inFlight, effectiveWeight }: BackendView): number {
  // Nothing is known of an idle one: to ask it is the way to know, and one request at a time is enough for that.
  if (latencyMs === 0) return inFlight === 0 ? 0 : UNKNOWN * inFlight;
  return (latencyMs * (inFlight + 1)) / effectiveWeight;
}

/**
 * The lower latency of two drawn at random: "peak EWMA" times requests in flight, as finagle and linkerd do it.
 * Two also in small pools: the fastest of all would get all the traffic until it is no longer the fastest.
 */
export class LeastLatency implements SelectionPolicy {
  readonly observesLatency = true;
  readonly #ofTwo: LeastOfTwo;

  /** @param random From 0 up to, and without, 1. */
  constructor(random: () => number = Math.random) {
    this.#ofTwo = new LeastOfTwo(expectedWait, random);
  }

  select<B extends BackendView>(backends: readonly B[], _exchange: Exchange, tried: readonly B[]): B | undefined {
    return this.#ofTwo.pick(backends, tried);
  }
}
