import { foldAddress } from '../../core/connection.ts';
import type { ClientRefusedEvent, RejectedEarlyEvent } from '../../core/events.ts';
import { type GatewayEvents, subscribe } from '../../core/gateway-events.ts';
import type { RejectionCause } from '../../core/outcome.ts';

/** A client whose connection was ended before a request reached the middlewares. */
export interface Refusal {
  /** `Date.now()` when it happened. */
  readonly time: number;
  readonly client: string | undefined;
  /** `undefined` when the connection was closed without a response. */
  readonly status: number | undefined;
  readonly cause: RejectionCause;
  readonly detail?: string | undefined;
}

/** The output for refusals. */
export interface RefusalOutput {
  refusal(refusal: Refusal): void;
  /** Logs how many refusals have no line, because there were too many within a second. */
  omitted(count: number): void;
  /** Logs how many requests were rejected before they were parsed. */
  rejectedEarly(count: number, cause: RejectionCause): void;
}

const WINDOW_MS = 1_000;

/**
 * Logs refused clients, with a limit of lines per second: a flood of bad connections costs its senders nothing, and must not become a flood
 * of lines. Further refusals are counted. Requests that were rejected before they were parsed share one line a second.
 */
export class RefusedClients {
  readonly #perSecond: number;
  readonly #output: RefusalOutput;
  readonly #unsubscribe: () => void;
  /** Requests that were rejected early, since the last line of them. */
  readonly #early = new Map<RejectionCause, number>();
  #logged = 0;
  #omitted = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(events: GatewayEvents, perSecond: number, output: RefusalOutput) {
    this.#perSecond = perSecond;
    this.#output = output;
    this.#unsubscribe = subscribe(events, {
      clientRefused: (event) => this.#refused(event),
      rejectedEarly: (event) => this.#rejectedEarly(event),
    });
  }

  /** Stops listening, and logs the last count. */
  close(): void {
    this.#unsubscribe();
    clearTimeout(this.#timer);
    this.#next();
  }

  #refused({ cause, status, detail, address, exchange }: ClientRefusedEvent): void {
    // A request with a record gets its own line.
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
      status,
      cause,
      detail,
    });
  }

  #rejectedEarly({ cause, requests }: RejectedEarlyEvent): void {
    this.#timer ??= setTimeout(() => this.#next(), WINDOW_MS).unref();
    let count = this.#early.get(cause) ?? 0;
    for (const ofMethod of requests.values()) count += ofMethod;
    this.#early.set(cause, count);
  }

  #next(): void {
    const omitted = this.#omitted;
    this.#timer = undefined;
    this.#logged = 0;
    this.#omitted = 0;
    if (omitted > 0) this.#output.omitted(omitted);
    for (const [cause, count] of this.#early) this.#output.rejectedEarly(count, cause);
    this.#early.clear();
  }
}
