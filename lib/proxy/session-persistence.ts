import { createHash } from 'node:crypto';
import {
  cookieProblems,
  StickyCookie,
  type StickyCookieOptions,
  stickyCookieChecks,
  stickyDefaults,
} from '../backends/selection/sticky-cookie.ts';
import { type Check, group, optional } from '../core/options.ts';
import type { SharedProxy } from './round-robin-proxy.ts';

/** Keeps the clients of a route at their service and backend by a signed cookie, as the policy `sticky` does for a whole service. */
export interface SessionPersistence extends StickyCookieOptions {
  /**
   * Name of the cookie. Routes with the same services may give the same name, so that they share their sessions.
   * Default: `expressway-sticky-` and eight characters made from the name of the route.
   */
  cookie?: string;
}

/** Defaults of {@link SessionPersistence}. */
export const sessionPersistenceDefaults = Object.freeze({
  sameSite: stickyDefaults.sameSite,
  path: stickyDefaults.path,
  partitioned: stickyDefaults.partitioned,
});

/** Checks of {@link SessionPersistence}. */
export const sessionPersistenceCheck: Check = group<SessionPersistence, typeof sessionPersistenceDefaults>(
  sessionPersistenceDefaults,
  { ...stickyCookieChecks, cookie: optional(stickyCookieChecks.cookie) },
  { sessionName: 'use cookie', absoluteTimeout: 'use maxAgeMs', idleTimeout: 'is not supported: use maxAgeMs' },
  cookieProblems,
);

/** The policy for sessions of one route at one of its services. The policy of the service picks for clients without a session. */
export function sessions(
  { secret, cookie, ...attributes }: SessionPersistence,
  route: string,
  { proxy, policy }: SharedProxy,
): StickyCookie {
  const tag = createHash('sha256').update(route).digest('hex').slice(0, 8);
  return new StickyCookie({
    secrets: [secret].flat(),
    cookie: cookie ?? `${stickyDefaults.cookie}-${tag}`,
    scope: proxy.name,
    fallback: policy,
    attributes,
  });
}
