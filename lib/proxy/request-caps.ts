import type { Exchange } from '../core/exchange.ts';
import type { Rejected, RejectionCause } from '../core/outcome.ts';
import type { InFlightCaps } from './in-flight-caps.ts';
import type { Tunnels } from './tunnel/tunnels.ts';

/** `Retry-After` of an overload, whose end cannot be known. */
const OVERLOAD_WAIT_MS = 1_000;

export const overload = (cause: RejectionCause): Rejected => ({
  kind: 'rejected',
  cause,
  retryAfterMs: OVERLOAD_WAIT_MS,
});

/** The places that one exchange holds among those that are capped: that of a request, and that of a tunnel. */
export class RequestCaps {
  readonly #caps: InFlightCaps | undefined;
  readonly #tunnels: Tunnels;
  readonly #exchange: Exchange;
  #isCounted = false;
  /** The client that was let in: the app may come to another view of it. */
  #client: string | undefined;

  constructor(caps: InFlightCaps | undefined, tunnels: Tunnels, exchange: Exchange) {
    this.#caps = caps;
    this.#tunnels = tunnels;
    this.#exchange = exchange;
  }

  /** Takes them until `leave()`, or says why not; what was taken by then is still to be left. */
  enter(): Rejected | undefined {
    const exchange = this.#exchange;
    this.#client = exchange.clientAddress;
    const problem = this.#caps?.enter(this.#client);
    if (problem !== undefined) return overload(problem);
    this.#isCounted = true;
    const noTunnel = exchange.upgrade && this.#tunnels.enter(exchange);
    return noTunnel && overload(noTunnel);
  }

  /** Once or more often: only what is held is left. */
  leave(): void {
    if (this.#isCounted) this.#caps?.leave(this.#client);
    this.#isCounted = false;
    if (this.#exchange.upgrade !== undefined) this.#tunnels.leave(this.#exchange);
  }
}
