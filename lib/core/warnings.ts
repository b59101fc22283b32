import type { IncomingMessage } from 'node:http';
import type { Server } from 'node:net';
import { helpOf } from './errors.ts';

/** Stable, documented codes of the process warnings of this package, and the type that each comes with. */
const TYPES = Object.freeze({
  WARN_EXPRESSWAY_LISTENER: 'ExpresswayListenerWarning',
  WARN_EXPRESSWAY_IS_FAILURE: 'ExpresswayPredicateWarning',
  WARN_EXPRESSWAY_MINIMUM_REQUESTS: 'ExpresswayPredicateWarning',
  WARN_EXPRESSWAY_ROUTE: 'ExpresswayPredicateWarning',
  WARN_EXPRESSWAY_POLICY: 'ExpresswayPolicyWarning',
  WARN_EXPRESSWAY_REDIS_CLIENT: 'ExpresswayRedisWarning',
  WARN_EXPRESSWAY_MAX_KEYS: 'ExpresswayRateLimitWarning',
  WARN_EXPRESSWAY_LIMITER_NAME: 'ExpresswayRateLimitWarning',
  WARN_EXPRESSWAY_LIMITER_PREFIX: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_LIMITER_PER_REQUEST: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_TRUST_PROXY: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_TRACING: 'ExpresswayTracingWarning',
  WARN_EXPRESSWAY_GUARDED_STREAM: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_LOOP: 'ExpresswayMisuseWarning',
  ERR_EXPRESSWAY_BODY_ALREADY_READ: 'ExpresswayMisuseWarning',
} as const);

export type WarningCode = keyof typeof TYPES;

/**
 * Tells the operator of the process what goes wrong and nobody can be thrown at: as a process warning, with its code and
 * where `docs/errors.md` tells more.
 *
 * @param detail Shown below the message, like the stack of an error.
 */
export function warn(code: WarningCode, message: string, detail = ''): void {
  const help = `See ${helpOf(code)}`;
  process.emitWarning(message, { type: TYPES[code], code, detail: detail === '' ? help : `${detail}\n${help}` });
}

const kTold = Symbol('expressway.told');

type Telling = object & { [kTold]?: Set<WarningCode> };

/**
 * The same, once per server: several middlewares may see one mistake, and each sees it with every request. Nothing is kept
 * in this module; what was told is forgotten with the server.
 */
export function warnOnce(req: IncomingMessage, code: WarningCode, message: string): void {
  const socket = req.socket as (Telling & { readonly server?: Server }) | undefined;
  const place: Telling | undefined = socket?.server ?? socket;
  if (place !== undefined) {
    place[kTold] ??= new Set();
    if (place[kTold].has(code)) return;
    place[kTold].add(code);
  }
  warn(code, message);
}
