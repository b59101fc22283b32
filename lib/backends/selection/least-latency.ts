import type { Exchange } from '../../core/exchange.ts';
import type { BackendView, PolicyEntry, SelectionPolicy } from './selection-policy.ts';
import { LeastOfTwo } from './weighted-draw.ts';

/** More than any measured cost: a backend that has its first request waits for the response before it gets another. */
const UNKNOWN = 1e12;

/** Expected time of one more request there: it waits for every request in flight. */
function expectedWait({ latencyMs, inFlight, effectiveWeight }: BackendView): number {
  // An idle backend without a measurement gets a request, one at a time, to get one.
  if (latencyMs === 0) return inFlight === 0 ? 0 : UNKNOWN * inFlight;
  return (latencyMs * (inFlight + 1)) / effectiveWeight;
}

/**
 * The lower latency of two drawn at random: "peak EWMA" times requests in flight, as in finagle and linkerd. Two in small
 * pools as well: otherwise the fastest backend would get all the traffic until it is no longer the fastest.
 */
export class LeastLatency implements SelectionPolicy {
  readonly observesLatency = true;
  readonly #ofTwo: LeastOfTwo;

  /** @param random Gives a number from 0 up to, but not including, 1. */
  constructor(random: () => number = Math.random) {
    this.#ofTwo = new LeastOfTwo(expectedWait, random);
  }

  select<B extends BackendView>(backends: readonly B[], _exchange: Exchange, tried: readonly B[]): B | undefined {
    return this.#ofTwo.pick(backends, tried);
  }
}

export const leastLatency: PolicyEntry<'latency'> = {
  name: 'latency',
  brief: 'the faster of two',
  summary: 'the faster of two drawn at random, by a moving average of their latency that follows peaks ("peak EWMA")',
  weights: 'respected',
  defaults: {},
  checks: {},
  make: () => new LeastLatency(),
};
