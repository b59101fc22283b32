import type { Backend } from '../backends/backend.ts';
import type { GatewayEvents } from '../core/events.ts';
import type { Exchange } from '../core/exchange.ts';
import type { Outcome } from '../core/outcome.ts';
import type { RequestHead } from './request/request-head.ts';

/** The events of one exchange on its way through the backends; built only when somebody listens. */
export class ForwardingReports {
  readonly #events: GatewayEvents;
  readonly #exchange: Exchange;
  readonly #proxy: string;
  #pickedAt = 0;

  /** @param proxy Name of the proxy. */
  constructor(events: GatewayEvents, exchange: Exchange, proxy: string) {
    this.#events = events;
    this.#exchange = exchange;
    this.#proxy = proxy;
  }

  /** A backend was picked: its time counts from now. */
  picked({ origin }: Backend, head: RequestHead): void {
    const exchange = this.#exchange;
    exchange.proxy = this.#proxy;
    exchange.recorder?.attemptStarted(origin, head);
    if (this.#events.listenerCount('forwarded') > 0) this.#pickedAt = Date.now();
  }

  attemptFailed({ origin }: Backend, outcome: Outcome, retried: boolean): void {
    this.#exchange.recorder?.attemptEnded(origin, outcome);
    if (this.#events.listenerCount('attemptFailed') === 0) return;
    this.#events.emit('attemptFailed', {
      exchange: this.#exchange,
      proxy: this.#proxy,
      backend: origin,
      outcome,
      retried,
    });
  }

  forwarded({ origin }: Backend, outcome: Outcome): void {
    this.#exchange.recorder?.attemptEnded(origin, outcome);
    if (this.#events.listenerCount('forwarded') === 0) return;
    const durationMs = Math.max(0, Date.now() - (this.#pickedAt || this.#exchange.startedAt));
    this.#events.emit('forwarded', {
      exchange: this.#exchange,
      proxy: this.#proxy,
      backend: origin,
      outcome,
      durationMs,
    });
  }
}
