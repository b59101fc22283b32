import { resetConnection } from './connection.ts';
import type { Exchange } from './exchange.ts';
import type { GatewayEventMap, GatewayEvents } from './gateway-events.ts';
import type { Failed, Rejected } from './outcome.ts';
import { endGrpcCall, sendProblem } from './problem.ts';
import { warnOfThrow } from './warnings.ts';

/** The events for a request that the gateway itself responded to. */
type RejectionEvent = 'rejected' | 'limited' | 'clientRefused';

/**
 * Rejects a request with a response of the gateway itself and the event `rejected`. The order is the same for all middlewares: the exchange
 * settles, the event is emitted, the response is sent. So a listener sees the outcome, and can still add a header.
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
  events?.emit<RejectionEvent>(name, ...(event as GatewayEventMap[RejectionEvent]));
  respond(exchange, outcome);
}

/** Sends the problem response for an outcome. A response that has already begun is cut instead, or a call of gRPC ended with a status. */
export function respond(exchange: Exchange, outcome: Failed | Rejected): void {
  // A middleware that keeps the body has not sent the head, but would join this response to the beginning.
  if (exchange.res.headersSent || (outcome.kind === 'failed' && outcome.headSent)) {
    if (!endGrpcCall(exchange.res, outcome.cause, outcome.detail)) cut(exchange);
    return;
  }
  const retryAfterMs = outcome.kind === 'rejected' ? outcome.retryAfterMs : undefined;
  const { cause, detail } = outcome;
  const { res, errorBody } = exchange;
  if (errorBody === undefined) {
    sendProblem(res, cause, { retryAfterMs, detail });
    return;
  }
  // A cache must not give the HTML page to a client that wants problem+json.
  res.appendHeader('Vary', 'Accept');
  sendProblem(res, cause, { retryAfterMs, detail, body: errorBody(exchange, cause, detail) });
}

/** Cuts the client's connection, so that the client notices that the response is incomplete. */
export function cut({ req, res }: Exchange): void {
  // A response to HTTP/1.0 may end with its connection, so only a reset shows that it is incomplete.
  if (req.httpVersion === '1.0' && req.socket) resetConnection(req.socket);
  res.destroy();
}

/**
 * Ends a request outside of any call of the app, such as in a timer. There, an error of a function of the app (a wrapped `writeHead()`, for example)
 * would end the process. So it becomes a process warning, once for each connection, and the connection is cut.
 *
 * @param occasion What the gateway responds to, for the warning.
 */
export function endApart(exchange: Exchange, occasion: string, end: () => void): void {
  try {
    end();
  } catch (error) {
    const { req } = exchange;
    const message = `A function of the app threw while the gateway responded to ${occasion}, and the connection was cut`;
    warnOfThrow(req.socket ?? req, 'WARN_EXPRESSWAY_LISTENER', message, error);
    cut(exchange);
  }
}
