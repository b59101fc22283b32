import type { IncomingMessage } from 'node:http';
import type { Server } from 'node:net';
import { type WarningCode, warnOnce } from './warnings.ts';

/** So many middlewares of one kind, made so soon one after the other while traffic flows, are made by the traffic. */
const LATE = 10;
const LATE_WITHIN_MS = 60_000;

/** What one server has seen of middlewares of one kind. */
interface Seen {
  /** When the first request came to one of them. */
  readonly since: number;
  lateSince: number;
  late: number;
}

const kSeen = Symbol('expressway.made-per-request');

type Place = Server & { [kSeen]?: Map<WarningCode, Seen> };

/**
 * To be called with the first request that a middleware gets: warns once per server where middlewares are made by requests.
 *
 * @param madeAt When the middleware was made.
 * @param code Also names the kind of middleware.
 * @param message Says what is wrong with it, behind the number of those that were made.
 */
export function noticeMaking(req: IncomingMessage, madeAt: number, code: WarningCode, message: string): void {
  const place = (req.socket as { server?: Place } | undefined)?.server;
  if (place === undefined) return;
  place[kSeen] ??= new Map();
  const now = Date.now();
  let seen = place[kSeen].get(code);
  if (seen === undefined) {
    seen = { since: now, lateSince: now, late: 0 };
    place[kSeen].set(code, seen);
  }
  if (madeAt <= seen.since) return;
  if (now - seen.lateSince > LATE_WITHIN_MS) {
    seen.lateSince = now;
    seen.late = 0;
  }
  seen.late += 1;
  if (seen.late === LATE) warnOnce(req, code, `${LATE} ${message}`);
}
