import type { IncomingMessage } from 'node:http';
import type { Server } from 'node:net';
import { inspect } from 'node:util';
import { helpOf } from './errors.ts';
import { isPromise } from './http.ts';

/** Stable, documented codes of the process warnings of this package, and the type that each comes with. */
const TYPES = Object.freeze({
  WARN_EXPRESSWAY_LISTENER: 'ExpresswayListenerWarning',
  WARN_EXPRESSWAY_IS_FAILURE: 'ExpresswayPredicateWarning',
  WARN_EXPRESSWAY_MINIMUM_REQUESTS: 'ExpresswayPredicateWarning',
  WARN_EXPRESSWAY_ROUTE: 'ExpresswayPredicateWarning',
  WARN_EXPRESSWAY_POLICY: 'ExpresswayPolicyWarning',
  WARN_EXPRESSWAY_WEIGHTS: 'ExpresswayPolicyWarning',
  WARN_EXPRESSWAY_REDIS_CLIENT: 'ExpresswayRedisWarning',
  WARN_EXPRESSWAY_REDIS_KEY: 'ExpresswayRedisWarning',
  WARN_EXPRESSWAY_MAX_KEYS: 'ExpresswayRateLimitWarning',
  WARN_EXPRESSWAY_LIMITER_NAME: 'ExpresswayRateLimitWarning',
  WARN_EXPRESSWAY_LIMITER_PREFIX: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_LIMITER_PER_REQUEST: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_LIMITER_CLUSTER: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_PROXY_PER_REQUEST: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_TRUST_PROXY: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_TRUST_PROXY_HOPS: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_TRUST_MISMATCH: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_PATH_FILTER: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_ERROR_PAGE: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_API_KEYS: 'ExpresswayApiKeyWarning',
  WARN_EXPRESSWAY_CONSUMER: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_TRACING: 'ExpresswayTracingWarning',
  WARN_EXPRESSWAY_GUARDED_STREAM: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_COPIES: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_LOOP: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_RESOURCES: 'ExpresswayResourceWarning',
  WARN_EXPRESSWAY_NO_UPGRADE_HANDLER: 'ExpresswayMisuseWarning',
  WARN_EXPRESSWAY_UPGRADE_LISTENERS: 'ExpresswayMisuseWarning',
  ERR_EXPRESSWAY_BODY_ALREADY_READ: 'ExpresswayMisuseWarning',
} as const);

export type WarningCode = keyof typeof TYPES;

/**
 * Warns the operator of a problem that cannot be thrown at a caller. The process warning has a code, and names the place in
 * `docs/errors.md` that explains it.
 *
 * @param detail Shown below the message, like the stack of an error.
 */
export function warn(code: WarningCode, message: string, detail = ''): void {
  const help = `See ${helpOf(code)}`;
  process.emitWarning(message, { type: TYPES[code], code, detail: detail === '' ? help : `${detail}\n${help}` });
}

const kWarned = Symbol('expressway.warned');

type Warned = object & { [kWarned]?: Set<string> };

/** Whether a warning is the first one about an object. The object itself is marked, so a frozen one causes a warning each time. */
function isNews(place: Warned | undefined, what: string): boolean {
  if (place === undefined || !Object.isExtensible(place)) return true;
  // Not enumerable: the place may be a user's own.
  if (place[kWarned] === undefined) Object.defineProperty(place, kWarned, { value: new Set() });
  const warned = place[kWarned] as Set<string>;
  if (warned.has(what)) return false;
  warned.add(what);
  return true;
}

/**
 * The same, once per server: several middlewares may detect one mistake, and each detects it with every request.
 *
 * @param what Distinguishes warnings with the same code.
 */
export function warnOnce(req: IncomingMessage, code: WarningCode, message: string, what: string = code): void {
  const socket = req.socket as (Warned & { readonly server?: Server }) | undefined;
  if (isNews(socket?.server ?? socket, what)) warn(code, message);
}

/** The same, once per object that the mistake is about. */
export function warnOnceOf(place: object, code: WarningCode, message: string, what: string = code): void {
  if (isNews(place, what)) warn(code, message);
}

/**
 * Warns of a user's function that threw. Once per function, because it may throw for every request.
 *
 * @param message What was thrown is added at its end.
 */
export function warnOfThrow(given: object, code: WarningCode, message: string, error: unknown): void {
  if (!isNews(given, code)) return;
  warn(code, `${message}: ${thrown(error)}`, error instanceof Error ? error.stack : undefined);
}

/** Warns in the same way if a user's function returned a promise that is rejected. Without this, the rejection would end the process. */
export function warnOfRejection(returned: unknown, given: object, code: WarningCode, message: string): void {
  if (isPromise(returned)) returned.then(undefined, (error) => warnOfThrow(given, code, message, error));
}

/** A thrown value as text. It may be any value, even one that cannot be converted to a string. */
export const thrown = (error: unknown): string => (error instanceof Error ? String(error) : inspect(error));
