import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Exchange, exchangeOf } from '../core/exchange.ts';
import { cut, endApart } from '../core/reject.ts';
import { leaveUnread } from '../core/unread-content.ts';
import type { Logger } from './logging/logger.ts';

/** Responds when the app does not: with 500 to errors, and with 404 to requests that no middleware handled. */
export function finalHandler(log: Logger): (req: IncomingMessage, res: ServerResponse, error: unknown) => void {
  return (req, res, error) => {
    const exchange = exchangeOf(req, res);
    if (error === undefined || error === null) {
      endApart(exchange, 'a request that no middleware handled', () => problem(exchange, 404, 'Not found'));
      return;
    }
    // The log gets the whole error, the client no part of it.
    log.error({ error, method: req.method }, 'internal error');
    endApart(exchange, 'an error of the app', () => problem(exchange, 500, 'Internal error'));
  };
}

function problem(exchange: Exchange, status: number, title: string): void {
  const { res } = exchange;
  if (res.headersSent) {
    cut(exchange);
    return;
  }
  const content = JSON.stringify({ type: 'about:blank', title, status });
  res.statusCode = status;
  res.setHeader('Content-Type', 'application/problem+json');
  res.setHeader('Cache-Control', 'no-store');
  res.setHeader('Content-Length', Buffer.byteLength(content));
  leaveUnread(res);
  res.end(content);
}
