import { anything, boolean, type Check, type Checks, durationMs, group, oneOf, optional } from '../../core/options.ts';
import { COOKIE_NAME } from './cookie-field.ts';
import { type HashBy, hashKey } from './hash-key.ts';
import { LeastLatency } from './least-latency.ts';
import { LeastRequests } from './least-requests.ts';
import { LoadBalancingGuard } from './load-balancing-guard.ts';
import { RendezvousHash } from './rendezvous-hash.ts';
import { RoundRobin } from './round-robin.ts';
import type { SelectionPolicy } from './selection-policy.ts';
import { StickyCookie } from './sticky-cookie.ts';
import { WeightedRoundRobin } from './weighted-round-robin.ts';

/** A policy that needs to know nothing of the request. */
export type SimplePolicyName = 'round-robin' | 'weighted' | 'least-requests' | 'latency';

/** The same key, the same backend. */
export interface HashOptions {
  /** Always `hash`. */
  policy: 'hash';
  /**
   * What the key is. Requests without it (no such header, cookie or query parameter) go round robin. A client that chooses
   * its key chooses its backend: `loadFactor` bounds what that can do. Default `ip`.
   */
  by?: HashBy;
  /**
   * How many times its even share of the requests in flight, rounded up, a backend may have; what is more goes to the
   * key's next choice. At least 1. A bound moves some requests of a client to another backend when that client has several
   * in flight, which breaks what relies on one backend, such as the polling of socket.io. Default `Infinity`: no bound.
   */
  loadFactor?: number;
}

/** A client keeps its backend, by a signed cookie. */
export interface StickyOptions {
  /** Always `sticky`. */
  policy: 'sticky';
  /**
   * Signs the cookies: at least 32 characters, the same on every gateway. Of several the first one signs and the
   * others are still believed, so that secrets can be changed without moving anybody.
   */
  secret: string | readonly string[];
  /** Name of the cookie. Default `expressway-sticky`. */
  cookie?: string;
  /**
   * When browsers send the cookie with requests from other sites: `lax`, `strict`, or `none` for pages that other sites embed (the
   * cookie is always `Secure` then, since browsers want that). Default `lax`.
   */
  sameSite?: 'lax' | 'strict' | 'none';
  /** Path that the cookie is for. Default `/`. */
  path?: string;
  /** Domain that the cookie is for, with all names below it. Default: the host that the client asked, alone. */
  domain?: string;
  /**
   * Milliseconds for which a client keeps the cookie, counted from when it gets it; then it may get another backend. Default: until the
   * browser's session ends.
   */
  maxAgeMs?: number;
  /** Whether an embedded page has a cookie for each site that embeds it (CHIPS); the cookie is always `Secure` then. Default false. */
  partitioned?: boolean;
  /** Picks for clients without a valid cookie, and when their backend is not available. Default `round-robin`. */
  fallback?: SimplePolicyName;
}

/** How a backend is picked: by the name of a policy, with its options, or by a policy of one's own. */
export type LoadBalancing = SimplePolicyName | 'hash' | HashOptions | StickyOptions | SelectionPolicy;

const SIMPLE: Readonly<Record<SimplePolicyName, () => SelectionPolicy>> = {
  'round-robin': () => new RoundRobin(),
  weighted: () => new WeightedRoundRobin(),
  'least-requests': () => new LeastRequests(),
  latency: () => new LeastLatency(),
};

const SIMPLE_NAMES = Object.keys(SIMPLE) as SimplePolicyName[];

/** Defaults of {@link HashOptions}. */
export const hashDefaults = Object.freeze({ by: 'ip' as HashBy, loadFactor: Number.POSITIVE_INFINITY });

/** Defaults of {@link StickyOptions}. */
export const stickyDefaults = Object.freeze({
  cookie: 'expressway-sticky',
  sameSite: 'lax' as const,
  path: '/',
  partitioned: false,
  fallback: 'round-robin' as SimplePolicyName,
});

const SECRET_LENGTH = 32;

/** RFC 6265 §4.1.1: any character but controls and `;`. A space is not forbidden, and never meant. */
const COOKIE_PATH = /^\/[\x21-\x3a\x3c-\x7e]*$/;
/** A leading dot is ignored by browsers, and often written. */
const DOMAIN = /^\.?[a-z0-9-]+(?:\.[a-z0-9-]+)*$/i;

const matches = (pattern: RegExp, text: unknown): boolean => typeof text === 'string' && pattern.test(text);

const hashChecks: Checks<HashOptions> = {
  policy: anything,
  by: (value) => {
    if (value === 'ip') return undefined;
    const [name, text, ...more] = Object.entries((value ?? {}) as object).flat();
    const isToken = (name === 'header' || name === 'cookie') && matches(COOKIE_NAME, text);
    const isQuery = name === 'query' && typeof text === 'string' && text !== '';
    return (isToken || isQuery) && more.length === 0
      ? undefined
      : "must be 'ip', { header: name }, { cookie: name } or { query: name }";
  },
  loadFactor: (value) => (typeof value === 'number' && value >= 1 ? undefined : 'must be a number of at least 1'),
};

const stickyChecks: Checks<StickyOptions> = {
  policy: anything,
  secret: (value) => {
    const secrets: unknown[] = [value].flat();
    const isLong = (secret: unknown) => typeof secret === 'string' && secret.length >= SECRET_LENGTH;
    // As a list, so that the error does not show what was given.
    return secrets.length > 0 && secrets.every(isLong)
      ? undefined
      : [`must be a string of at least ${SECRET_LENGTH} characters, or several such strings`];
  },
  cookie: (value) => (matches(COOKIE_NAME, value) ? undefined : 'must be a cookie name'),
  sameSite: oneOf('lax', 'strict', 'none'),
  path: (value) => (matches(COOKIE_PATH, value) ? undefined : 'must be a path like /shop, without ; and spaces'),
  domain: optional((value) => (matches(DOMAIN, value) ? undefined : 'must be a domain like example.com')),
  maxAgeMs: optional(durationMs),
  partitioned: boolean,
  fallback: oneOf(...SIMPLE_NAMES),
};

/** What browsers would drop without a word (RFC 6265bis §4.1.3.2). */
function hostPrefixProblems({ cookie, path = '/', domain }: Partial<StickyOptions>): string[] {
  if (!/^__Host-/i.test(String(cookie)) || (path === '/' && domain === undefined)) return [];
  return ["cookie must not begin with __Host- beside a domain, or a path other than '/': browsers drop it"];
}

const hashGroup = group(hashDefaults, hashChecks);
const stickyGroup = group(stickyDefaults, stickyChecks);

export const loadBalancing: Check = (value) => {
  if (value === 'hash' || SIMPLE_NAMES.some((name) => name === value)) return undefined;
  if (value === 'sticky') return ["needs a secret: { policy: 'sticky', secret }"];
  const given = (typeof value === 'object' ? value : undefined) as Partial<HashOptions> | SelectionPolicy | undefined;
  if (isPolicy(given)) return undefined;
  if (given?.policy === 'hash') return hashGroup(given);
  if ((given?.policy as unknown) === 'sticky') {
    return [...(stickyGroup(given) ?? []), ...hostPrefixProblems(given as object as Partial<StickyOptions>)];
  }
  const names = [...SIMPLE_NAMES, 'hash'].map((name) => `'${name}'`).join(', ');
  return `must be ${names}, { policy: 'hash' }, { policy: 'sticky', secret }, or an object with a select() method`;
};

/** @param value What {@link loadBalancing} accepts. */
export function selectionPolicy(value: LoadBalancing): SelectionPolicy {
  if (isPolicy(value)) return new LoadBalancingGuard(value);
  if (value === 'hash') return selectionPolicy({ policy: 'hash' });
  if (typeof value === 'string') return SIMPLE[value]();
  const options = withoutUndefined(value);
  if (options.policy === 'hash') {
    const { by, loadFactor } = { ...hashDefaults, ...options };
    return new RendezvousHash(hashKey(by), loadFactor);
  }
  const { policy, secret, cookie, fallback, ...attributes } = { ...stickyDefaults, ...options };
  return new StickyCookie({ secrets: [secret].flat(), cookie, fallback: SIMPLE[fallback](), attributes });
}

function isPolicy(value: unknown): value is SelectionPolicy {
  return typeof value === 'object' && value !== null && typeof (value as SelectionPolicy).select === 'function';
}

/** An explicit `undefined` means the default. */
function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as T;
}
