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
  'A request came back to the proxy that had forwarded it, and got 508: one of the backends leads back here. Take it off the ' +
  'list of backends, or out of the way of the server that sends it here.';
const NOT_ALLOWED: Rejected = Object.freeze({ kind: 'rejected', cause: 'method_not_allowed' });

/** More than any chain of proxies is long; RFC 9110 §7.6.2 lets a proxy have a highest value. */
const MOST_FORWARDS = 2 ** 31 - 1;

/** A whole server, not one of its paths: as `*`, or in absolute form without a path (RFC 9112 §3.2.4). */
const WHOLE_SERVER = /^(?:\*|https?:\/\/[^/?#]*)$/i;

/** Why a request may not go on, whoever would be asked. */
export function refusedHere(exchange: Exchange, paths: AmbiguousPaths, via: Via | undefined): Rejected | undefined {
  const { req } = exchange;
  const refusal = refusalOf(exchange, paths);
  if (refusal !== undefined) return refusal;
  if (via !== undefined && req.headers.via !== undefined && via.isIn(String(req.headers.via))) {
    warnOnce(req, 'WARN_EXPRESSWAY_LOOP', LOOPED);
    return LOOP;
  }
  // What comes back from a TRACE is the request itself, with all that was to be kept from scripts (RFC 9110 §9.3.8).
  return req.method === 'TRACE' ? NOT_ALLOWED : undefined;
}

/**
 * Whether a request with the method OPTIONS ends here: asked of the server itself, or not to be forwarded any further. One
 * that goes on may go one hop less far from here (RFC 9110 §7.6.2); a value that is no number is left as it is.
 */
export function endsHere({ url = '', headers }: IncomingMessage): boolean {
  if (WHOLE_SERVER.test(url)) return true;
  const left = headers['max-forwards'];
  if (typeof left !== 'string' || !/^\d+$/.test(left)) return false;
  const forwards = Math.min(Number(left), MOST_FORWARDS);
  if (forwards === 0) return true;
  headers['max-forwards'] = String(forwards - 1);
  return false;
}

/** What this server does, as far as it can be said of whatever is behind it (RFC 9110 §9.3.7). */
export function answerOptions(res: ServerResponse): void {
  res.statusCode = 204;
  res.setHeader('Allow', ALLOWED_METHODS);
  leaveUnread(res);
  res.end();
}
