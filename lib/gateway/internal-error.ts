import type { ErrorRequestHandler } from 'express';
import type { Logger } from './logging/logger.ts';

/** Answers what nobody foresaw. The client learns nothing of it, the log everything. */
export function internalErrorHandler(log: Logger): ErrorRequestHandler {
  // Express tells an error handler by its four parameters.
  return (error, req, res, _next) => {
    log.error({ error, method: req.method }, 'internal error');
    // With the head gone, only a cut connection tells the client that the answer is not whole.
    if (res.headersSent) return void res.destroy();
    const content = JSON.stringify({ type: 'about:blank', title: 'Internal error', status: 500 });
    res.statusCode = 500;
    res.setHeader('Content-Type', 'application/problem+json');
    res.setHeader('Cache-Control', 'no-store');
    res.setHeader('Content-Length', Buffer.byteLength(content));
    res.end(content);
  };
}
