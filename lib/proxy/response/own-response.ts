import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Exchange } from '../../core/exchange.ts';
import type { Rejected } from '../../core/outcome.ts';
import { ALLOWED_METHODS } from '../../core/problem.ts';
import { leaveUnread } from '../../core/unread-content.ts';
import { warnOnce } from '../../core/warnings.ts';
import { type AmbiguousPaths, refusalOf } from '../../ingress/request-checks.ts';
import type { Via } from '../request/forwarding-headers.ts';

const LOOP: Rejected = Object.freeze({ kind: 'rejected', cause: 'loop_detected' });
const LOOPED =
  'A request came back to the proxy that had forwarded it, and got 508: one of the backends sends requests back to this proxy. ' +
  'Remove that backend, or correct the server that sends the requests here.';
const NOT_ALLOWED: Rejected = Object.freeze({ kind: 'rejected', cause: 'method_not_allowed' });

/** Longer than any chain of proxies. RFC 9110 §7.6.2 lets a proxy have a highest value. */
const MOST_FORWARDS = 2 ** 31 - 1;

/** A target that means the whole server: `*`, or absolute form without a path (RFC 9112 §3.2.4). */
const WHOLE_SERVER = /^(?:\*|https?:\/\/[^/?#]*)$/i;

/** Why the gateway rejects a request without a backend; `undefined` if a backend may get it. */
export function refusedHere(exchange: Exchange, paths: AmbiguousPaths, via: Via | undefined): Rejected | undefined {
  const { req } = exchange;
  const refusal = refusalOf(exchange, paths);
  if (refusal !== undefined) return refusal;
  if (via !== undefined && req.headers.via !== undefined && via.isIn(String(req.headers.via))) {
    warnOnce(req, 'WARN_EXPRESSWAY_LOOP', LOOPED);
    return LOOP;
  }
  // The response to TRACE contains the request, with headers that scripts must not see (RFC 9110 §9.3.8). CONNECT, which a middleware
  // may read from a header such as X-HTTP-Method-Override, would open a tunnel that no rule looks into.
  return req.method === 'TRACE' || req.method === 'CONNECT' ? NOT_ALLOWED : undefined;
}

/**
 * Counts this hop of an OPTIONS request: lowers `Max-Forwards` by one (RFC 9110 §7.6.2). A value that is no number stays as it is.
 *
 * @returns whether the proxy itself must respond, because the request is for the server itself, or has `Max-Forwards: 0`.
 */
export function countHop({ url = '', headers }: IncomingMessage): boolean {
  if (WHOLE_SERVER.test(url)) return true;
  const left = headers['max-forwards'];
  if (typeof left !== 'string' || !/^\d+$/.test(left)) return false;
  const forwards = Math.min(Number(left), MOST_FORWARDS);
  if (forwards === 0) return true;
  headers['max-forwards'] = String(forwards - 1);
  return false;
}

/** Responds to OPTIONS for the proxy itself (RFC 9110 §9.3.7). */
export function respondToOptions(res: ServerResponse): void {
  res.statusCode = 204;
  res.setHeader('Allow', ALLOWED_METHODS);
  leaveUnread(res);
  res.end();
}
