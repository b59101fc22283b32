import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Exchange, type ExchangeObserver, exchangeOf } from '../core/exchange.ts';
import type { Next } from '../core/http.ts';

/**
 * Requests that the routes of a declaration have accepted but not forwarded yet, because authentication or a limiter still decides. They
 * may need parts that a new declaration removes, so those parts are closed only when no such request is left.
 */
export class UndecidedRequests implements ExchangeObserver {
  readonly #all = new Set<Exchange>();
  #waiting: (() => void)[] = [];

  /** A middleware before the steps that may take time. */
  readonly enter = (req: IncomingMessage, res: ServerResponse, next: Next): void => {
    const exchange = exchangeOf(req, res);
    this.#all.add(exchange);
    exchange.observe(this);
    next();
  };

  /** A middleware after these steps. The request counts until the next handlers have accepted it. A request that has ended stops here. */
  readonly leave = (req: IncomingMessage, res: ServerResponse, next: Next): void => {
    const exchange = exchangeOf(req, res);
    if (exchange.outcome !== undefined) return;
    next();
    this.#gone(exchange);
  };

  /** The request was rejected, took longer than `requestTimeoutMs`, or its client has left. */
  settled(_outcome: unknown, exchange: Exchange): void {
    this.#gone(exchange);
  }

  /** Waits until no request is undecided. */
  async none(): Promise<void> {
    if (this.#all.size > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #gone(exchange: Exchange): void {
    this.#all.delete(exchange);
    if (this.#all.size > 0) return;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
