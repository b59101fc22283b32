import { type Checks, integer } from '../core/options.ts';
import type { RejectionCause } from '../core/outcome.ts';

export interface InFlightCapOptions {
  /** Requests in progress in the whole proxy; more get 503. 0 for no limit. Default 0. */
  maxInFlight?: number;
  /** Requests in progress for each client address, or public IPv6 network (/56); more get 429. 0 for no limit. Default 0. */
  maxInFlightPerClient?: number;
}

export const inFlightCapDefaults = Object.freeze({ maxInFlight: 0, maxInFlightPerClient: 0 });

export const inFlightCapChecks: Checks<InFlightCapOptions> = {
  maxInFlight: integer(0),
  maxInFlightPerClient: integer(0),
};

/** Counts requests in flight, in total and by client, and applies the caps. */
export class InFlightCaps {
  readonly #max: number;
  readonly #maxPerClient: number;
  /** Bounded by the requests in flight: a client without any has no entry. */
  readonly #byClient = new Map<string, number>();
  #inFlight = 0;

  constructor({ maxInFlight, maxInFlightPerClient }: Required<InFlightCapOptions>) {
    this.#max = maxInFlight;
    this.#maxPerClient = maxInFlightPerClient;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Admits a request, or returns the cause of its rejection. Each admitted request needs one call of `leave()`. */
  enter(client: string | undefined): RejectionCause | undefined {
    if (this.#max > 0 && this.#inFlight >= this.#max) return 'overloaded';
    if (this.#maxPerClient > 0 && client !== undefined) {
      const own = this.#byClient.get(client) ?? 0;
      if (own >= this.#maxPerClient) return 'client_overload';
      this.#byClient.set(client, own + 1);
    }
    this.#inFlight += 1;
    return undefined;
  }

  leave(client: string | undefined): void {
    this.#inFlight -= 1;
    if (client === undefined) return;
    const own = this.#byClient.get(client) ?? 0;
    if (own > 1) this.#byClient.set(client, own - 1);
    else this.#byClient.delete(client);
  }
}
