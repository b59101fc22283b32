import { resetConnection } from './connection.ts';
import type { GatewayEventMap, GatewayEvents } from './events.ts';
import type { Exchange } from './exchange.ts';
import type { Failed, Rejected } from './outcome.ts';
import { sendProblem } from './problem.ts';

/** The events that tell of a request which the gateway answered by itself. */
type RejectionEvent = 'rejected' | 'limited' | 'clientRefused';

/**
 * Answers a request in the gateway's own name, with the event `rejected`. The order is the same for all middlewares: the exchange
 * settles, listeners hear of it, then the response goes out. So a listener finds the outcome known, and can still add a header.
 */
export function reject(exchange: Exchange, outcome: Failed | Rejected, events: GatewayEvents): void {
  rejectWith(exchange, outcome, events, 'rejected', { exchange, outcome });
}

/** The same with another event. */
export function rejectWith<K extends RejectionEvent>(
  exchange: Exchange,
  outcome: Failed | Rejected,
  events: GatewayEvents | undefined,
  name: K,
  ...event: GatewayEventMap[K]
): void {
  exchange.settle(outcome);
  events?.emit(name, ...event);
  respond(exchange, outcome);
}

/** Sends the problem response for an outcome. A response that has already begun is cut instead. */
export function respond(exchange: Exchange, outcome: Failed | Rejected): void {
  if (exchange.res.headersSent) {
    cut(exchange);
    return;
  }
  const retryAfterMs = outcome.kind === 'rejected' ? outcome.retryAfterMs : undefined;
  const { cause, detail } = outcome;
  const { res, errorBody } = exchange;
  if (errorBody === undefined) {
    sendProblem(res, cause, { retryAfterMs, detail });
    return;
  }
  // A cache must not give the page to a client that wants a document.
  res.appendHeader('Vary', 'Accept');
  sendProblem(res, cause, { retryAfterMs, detail, body: errorBody(exchange, cause, detail) });
}

/** Breaks the client's connection off, so that the part it got cannot pass for the whole response. */
export function cut({ req, res }: Exchange): void {
  // A response to HTTP/1.0 may end with its connection: only a reset shows that it is incomplete.
  if (req.httpVersion === '1.0' && req.socket) resetConnection(req.socket);
  res.destroy();
}
