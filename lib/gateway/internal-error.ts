import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from './logging/logger.ts';

/** Answers what the app has not: its errors with 500, and requests that no middleware took with 404. */
export function finalHandler(log: Logger): (req: IncomingMessage, res: ServerResponse, error: unknown) => void {
  return (req, res, error) => {
    if (error === undefined || error === null) {
      problem(res, 404, 'Not found');
      return;
    }
    // The client learns nothing of it, the log everything.
    log.error({ error, method: req.method }, 'internal error');
    problem(res, 500, 'Internal error');
  };
}

function problem(res: ServerResponse, status: number, title: string): void {
  // With the head gone, only a cut connection tells the client that the response is not whole.
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
