import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Exchange, type ExchangeObserver, exchangeOf } from '../core/exchange.ts';
import type { Next } from '../core/http.ts';

/**
 * Requests that a declaration's routes have let in and not forwarded yet: they wait for authentication or for a limiter. What a new
 * declaration removes is closed when there are none left, because they may still need it.
 */
export class UndecidedRequests implements ExchangeObserver {
  readonly #all = new Set<Exchange>();
  #waiting: (() => void)[] = [];

  /** A middleware for the begin of what may take time. */
  readonly enter = (req: IncomingMessage, res: ServerResponse, next: Next): void => {
    const exchange = exchangeOf(req, res);
    this.#all.add(exchange);
    exchange.observe(this);
    next();
  };

  /** A middleware for its end: the request counts until the handlers behind have taken it. One that has ended goes no further. */
  readonly leave = (req: IncomingMessage, res: ServerResponse, next: Next): void => {
    const exchange = exchangeOf(req, res);
    if (exchange.outcome !== undefined) return;
    next();
    this.#gone(exchange);
  };

  /** It was rejected, took longer than `requestTimeoutMs`, or its client has left. */
  settled(_outcome: unknown, exchange: Exchange): void {
    this.#gone(exchange);
  }

  /** Waits until there are none. */
  async none(): Promise<void> {
    if (this.#all.size > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #gone(exchange: Exchange): void {
    this.#all.delete(exchange);
    if (this.#all.size > 0) return;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
