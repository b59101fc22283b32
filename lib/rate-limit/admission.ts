import type { GatewayEvents } from '../core/events.ts';
import type { Exchange } from '../core/exchange.ts';
import { sendProblem } from '../core/problem.ts';
import type { RateLimitFields } from './rate-limit-fields.ts';

/** What all admissions of one limiter have in common. */
export interface AdmissionDesk {
  readonly name: string;
  readonly limit: number;
  readonly fields: RateLimitFields;
  readonly events: GatewayEvents;
}

/** The part of express-rate-limit's verdict that is read. */
export interface RateLimitVerdict {
  readonly remaining: number;
  readonly resetTime?: Date | undefined;
}

/**
 * One request before its limiter. express-rate-limit takes this for the request: it asks for `key`, then
 * assigns its verdict to `rateLimit`, then calls either `next` or `refuse()`. So neither a closure per request
 * is needed, nor a property on the real request, whose `ip` it would read (and Express compute) for its debug log.
 */
export class Admission {
  readonly key: string;
  readonly #exchange: Exchange;
  readonly #desk: AdmissionDesk;
  #resetMs = 0;

  constructor(exchange: Exchange, key: string, desk: AdmissionDesk) {
    this.#exchange = exchange;
    this.key = key;
    this.#desk = desk;
  }

  /** For `DEBUG=express-rate-limit`. */
  get ip(): string {
    return this.key;
  }

  /** For `DEBUG=express-rate-limit`. */
  get originalUrl(): string | undefined {
    return this.#exchange.req.originalUrl;
  }

  set rateLimit({ remaining, resetTime }: RateLimitVerdict) {
    if (resetTime !== undefined) this.#resetMs = Math.max(0, resetTime.getTime() - Date.now());
    this.#desk.fields.write(this.#exchange.res, remaining, this.#resetMs);
  }

  /** Over the limit. */
  refuse(): void {
    const { events, name, limit } = this.#desk;
    const exchange = this.#exchange;
    const retryAfterMs = this.#resetMs;
    exchange.settle({ kind: 'rejected', cause: 'rate_limited', retryAfterMs });
    sendProblem(exchange.res, 'rate_limited', { retryAfterMs });
    if (events.listenerCount('limited') > 0) {
      events.emit('limited', { exchange, limiter: name, key: this.key, limit, retryAfterMs });
    }
  }
}
