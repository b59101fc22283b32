import type { Exchange } from '../../core/exchange.ts';
import type { Failed, Rejected } from '../../core/outcome.ts';
import { sendProblem } from '../../core/problem.ts';

/** Answers in the backend's place; breaks off an answer of which the client has a part. */
export function refuse(exchange: Exchange, outcome: Failed | Rejected): void {
  if (exchange.res.headersSent) {
    cut(exchange);
    return;
  }
  const retryAfterMs = outcome.kind === 'rejected' ? outcome.retryAfterMs : undefined;
  sendProblem(exchange.res, outcome.cause, { retryAfterMs, detail: outcome.detail });
}

/** Breaks the client's connection off, so that what it got cannot pass for the whole answer. */
export function cut({ req, res }: Exchange): void {
  // An answer to HTTP/1.0 may have no other end than that of the connection: only a reset shows the break.
  if (req.httpVersion === '1.0') req.socket?.resetAndDestroy();
  res.destroy();
}
