import type { IncomingMessage } from 'node:http';
import type { Server } from 'node:net';
import { type WarningCode, warnOnce } from './warnings.ts';

/** This many middlewares of one kind, created within this time during traffic, are created by requests. */
const LATE = 10;
const LATE_WITHIN_MS = 60_000;

/** The middlewares of one kind that one server has used. */
interface Seen {
  /** Time of the first request to one of them. */
  readonly since: number;
  lateSince: number;
  late: number;
}

const kSeen = Symbol('expressway.made-per-request');

type Place = Server & { [kSeen]?: Map<WarningCode, Seen> };

/**
 * Warns once per server if requests create middlewares. Call it with the first request that a middleware gets.
 *
 * @param madeAt When the middleware was created.
 * @param code Also names the kind of middleware.
 * @param message Says what is wrong. The number of created middlewares comes before it.
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
