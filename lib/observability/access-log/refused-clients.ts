import { CAUSES } from '../../core/causes.ts';
import { foldAddress } from '../../core/connection.ts';
import { type ClientRefusedEvent, type GatewayEvents, subscribe } from '../../core/events.ts';
import type { RejectionCause } from '../../core/outcome.ts';

/** A client that lost its connection before there was a request for the middlewares. */
export interface Refusal {
  /** `Date.now()` when it happened. */
  readonly time: number;
  readonly client: string | undefined;
  /** As in the status map: some connections are closed without a response. */
  readonly status: number;
  readonly cause: RejectionCause;
  readonly detail?: string | undefined;
}

/** Where refusals are written. */
export interface RefusalOutput {
  refusal(refusal: Refusal): void;
  /** How many were not logged, because there were too many within a second. */
  omitted(count: number): void;
}

const WINDOW_MS = 1_000;

/**
 * Logs refused clients, at most so many within a second: a flood of bad connections costs its senders
 * nothing, and must not become a flood of lines. What is left out is counted.
 */
export class RefusedClients {
  readonly #perSecond: number;
  readonly #output: RefusalOutput;
  readonly #unsubscribe: () => void;
  #logged = 0;
  #omitted = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(events: GatewayEvents, perSecond: number, output: RefusalOutput) {
    this.#perSecond = perSecond;
    this.#output = output;
    this.#unsubscribe = subscribe(events, { clientRefused: (event) => this.#refused(event) });
  }

  /** Stops listening, and logs the last count. */
  close(): void {
    this.#unsubscribe();
    clearTimeout(this.#timer);
    this.#next();
  }

  #refused({ cause, detail, address, exchange }: ClientRefusedEvent): void {
    // A request with a record has its own line.
    if (exchange?.recorder !== undefined) return;
    this.#timer ??= setTimeout(() => this.#next(), WINDOW_MS).unref();
    if (this.#logged >= this.#perSecond) {
      this.#omitted += 1;
      return;
    }
    this.#logged += 1;
    this.#output.refusal({
      time: Date.now(),
      client: foldAddress(address),
      status: CAUSES[cause].status,
      cause,
      detail,
    });
  }

  #next(): void {
    const omitted = this.#omitted;
    this.#timer = undefined;
    this.#logged = 0;
    this.#omitted = 0;
    if (omitted > 0) this.#output.omitted(omitted);
  }
}
