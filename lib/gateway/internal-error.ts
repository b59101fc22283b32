import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from './logging/logger.ts';

/** Responds when the app does not: with 500 to errors, and with 404 to requests that no middleware handled. */
export function finalHandler(log: Logger): (req: IncomingMessage, res: ServerResponse, error: unknown) => void {
  return (req, res, error) => {
    if (error === undefined || error === null) {
      problem(res, 404, 'Not found');
      return;
    }
    // The log gets the whole error, the client no part of it.
    log.error({ error, method: req.method }, 'internal error');
    problem(res, 500, 'Internal error');
  };
}

function problem(res: ServerResponse, status: number, title: string): void {
  // The head was sent, so only a cut connection shows the client that the response is incomplete.
  if (res.headersSent) {
    res.destroy();
    return;
  }
  const content = JSON.stringify({ type: 'about:blank', title, status });
  res.statusCode = status;
  res.setHeader('Content-Type', 'application/problem+json');
  res.setHeader('Cache-Control', 'no-store');
  res.setHeader('Content-Length', Buffer.byteLength(content));
  res.end(content);
}
