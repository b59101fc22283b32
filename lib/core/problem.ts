import type { ServerResponse } from 'node:http';
import { STATUS_MAP } from './errors.ts';
import type { Cause } from './outcome.ts';

export interface ProblemExtras {
  readonly retryAfterMs?: number | undefined;
  /** For the person who reads the answer; must name no internal address. */
  readonly detail?: string | undefined;
}

/** Whole seconds, never earlier than the moment meant and never 0 (RFC 9110 §10.2.3). */
export function retryAfterSeconds(ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000));
}

/**
 * Answers with a problem document (RFC 9457) and a `Proxy-Status` field (RFC 9209) that says why.
 * Does nothing when the head has already gone out: the caller must then cut the connection.
 */
export function sendProblem(res: ServerResponse, cause: Cause, extras: ProblemExtras = {}): void {
  if (res.headersSent || res.destroyed) return;
  const { status, title, proxyStatus } = STATUS_MAP[cause];
  const content = JSON.stringify({ type: 'about:blank', title, status, cause, detail: extras.detail });
  res.statusCode = status;
  res.setHeader('Content-Type', 'application/problem+json');
  res.setHeader('Content-Length', Buffer.byteLength(content));
  res.setHeader('Cache-Control', 'no-store');
  res.setHeader('Proxy-Status', `expressway; error=${proxyStatus}`);
  if (extras.retryAfterMs !== undefined) res.setHeader('Retry-After', String(retryAfterSeconds(extras.retryAfterMs)));
  res.end(content);
}
