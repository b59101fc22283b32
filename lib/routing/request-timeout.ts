import type { IncomingMessage, ServerResponse } from 'node:http';
import type { GatewayEvents } from '../core/events.ts';
import { exchangeOf } from '../core/exchange.ts';
import type { Middleware, Next } from '../core/http.ts';
import type { Failed } from '../core/outcome.ts';
import { reject } from '../core/reject.ts';

/**
 * Ends requests that take longer than a time in all: with 504, or by cutting the connection when the response has begun. Event streams
 * and upgrades have no such end.
 */
export function requestTimeout(timeoutMs: number, events: GatewayEvents): Middleware {
  const detail = `The request took longer than ${timeoutMs} ms (requestTimeoutMs).`;
  return function expresswayRequestTimeout(req: IncomingMessage, res: ServerResponse, next: Next): void {
    const exchange = exchangeOf(req, res);
    const timer = setTimeout(() => {
      const failed: Failed = {
        kind: 'failed',
        cause: 'handler_timeout',
        error: Object.assign(new Error(detail), { code: 'ETIMEDOUT' }),
        sent: true,
        headSent: res.headersSent,
        detail,
      };
      exchange.scope.runInAsyncScope(() => {
        exchange.settle(failed);
        // The proxy, if it works on the response, sends this outcome itself.
        exchange.working?.abort();
        if (!res.writableEnded && !res.destroyed) reject(exchange, failed, events);
      });
    }, timeoutMs).unref();
    exchange.observe({ settled: () => clearTimeout(timer) });
    next();
  };
}
