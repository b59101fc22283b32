import { countedClient } from '../core/address-key.ts';
import type { Exchange } from '../core/exchange.ts';
import type { Rejected, RejectionCause } from '../core/outcome.ts';
import type { InFlightCaps } from './in-flight-caps.ts';
import type { Tunnels } from './tunnel/tunnels.ts';

/** `Retry-After` during an overload; its end is unknown. */
const OVERLOAD_WAIT_MS = 1_000;

export const overload = (cause: RejectionCause): Rejected => ({
  kind: 'rejected',
  cause,
  retryAfterMs: OVERLOAD_WAIT_MS,
});

/** The share of one exchange in the caps of requests and tunnels. */
export class RequestCaps {
  readonly #caps: InFlightCaps | undefined;
  readonly #tunnels: Tunnels;
  readonly #exchange: Exchange;
  #isCounted = false;
  /** The client that was admitted. The app may change its view of the client later. */
  #client: string | undefined;

  constructor(caps: InFlightCaps | undefined, tunnels: Tunnels, exchange: Exchange) {
    this.#caps = caps;
    this.#tunnels = tunnels;
    this.#exchange = exchange;
  }

  /** Admits the exchange until `leave()`, or returns the rejection. Call `leave()` in both cases. */
  enter(): Rejected | undefined {
    const exchange = this.#exchange;
    this.#client = this.#caps && countedClient(exchange);
    const problem = this.#caps?.enter(this.#client);
    if (problem !== undefined) return overload(problem);
    this.#isCounted = true;
    const noTunnel = exchange.upgrade && this.#tunnels.enter(exchange);
    return noTunnel && overload(noTunnel);
  }

  /** Ends what `enter()` began. Further calls have no effect. */
  leave(): void {
    if (this.#isCounted) this.#caps?.leave(this.#client);
    this.#isCounted = false;
    if (this.#exchange.upgrade !== undefined) this.#tunnels.leave(this.#exchange);
  }
}
