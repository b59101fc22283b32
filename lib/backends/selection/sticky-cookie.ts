import type { Exchange } from '../../core/exchange.ts';
import { cookieValue, TOKEN } from '../../core/http.ts';
import { boolean, described, durationMs, oneOf, optional } from '../../core/options.ts';
import { plainPolicies, type SimplePolicyName } from './plain-policies.ts';
import { type BackendView, isCandidate, type PolicyEntry, type SelectionPolicy } from './selection-policy.ts';
import { StickyTokens } from './sticky-tokens.ts';

/** A signed cookie that keeps a client at its backend. */
export interface StickyCookieOptions {
  /**
   * Signs the cookies: at least 32 characters, the same on every gateway. Of several secrets the first signs, and cookies of the
   * others stay valid, so that a secret can be changed without moving clients.
   */
  secret: string | readonly string[];
  /**
   * When browsers send the cookie with requests from other sites: `lax`, `strict`, or `none` for pages that other sites embed. With
   * `none` the cookie is always `Secure`, because browsers require it. Default `lax`.
   */
  sameSite?: 'lax' | 'strict' | 'none';
  /** Path of the cookie. Default `/`. */
  path?: string;
  /** Domain of the cookie, subdomains included. Default: only the host that the client asked. */
  domain?: string;
  /**
   * Milliseconds for which a client keeps the cookie from the time it got it; after that it may get another backend. Default: until
   * the browser's session ends.
   */
  maxAgeMs?: number;
  /** Whether an embedded page gets a separate cookie for each site that embeds it (CHIPS). The cookie is then always `Secure`. Default false. */
  partitioned?: boolean;
}

/** Options of `loadBalancing` with the policy `sticky`: a signed cookie keeps a client at its backend. */
export interface StickyOptions extends StickyCookieOptions {
  /** Always `sticky`. */
  policy: 'sticky';
  /** Name of the cookie. Default `expressway-sticky`. */
  cookie?: string;
  /**
   * Name of the policy for clients without a valid cookie and for those whose backend is not available: any but `hash` and `sticky`.
   * Default `round-robin`.
   */
  fallback?: SimplePolicyName;
}

export interface StickyCookieSettings {
  /** The cookie's name. */
  readonly cookie: string;
  /** The first signs; cookies of the others stay valid. */
  readonly secrets: readonly string[];
  /** The name of the service, where one cookie may be for one of several. */
  readonly scope?: string;
  /** Picks for clients without a valid cookie, and for those whose backend is not available. */
  readonly fallback: SelectionPolicy;
  readonly attributes?: StickyCookieAttributes;
}

/** RFC 6265bis §4.1.2. */
export interface StickyCookieAttributes {
  readonly sameSite?: 'lax' | 'strict' | 'none' | undefined;
  readonly path?: string | undefined;
  readonly domain?: string | undefined;
  readonly maxAgeMs?: number | undefined;
  readonly partitioned?: boolean | undefined;
}

/**
 * Keeps a client at the backend that its cookie names while that backend is available. While it is full, other backends serve
 * its clients. All other clients get a backend from the fallback, and the cookie for it.
 */
export class StickyCookie implements SelectionPolicy {
  readonly observesLatency: boolean;
  readonly ignoresWeights: boolean;
  readonly #cookie: string;
  /** The text behind the value, without Secure. */
  readonly #attributes: string;
  /** Whether browsers drop the cookie without Secure. */
  readonly #mustBeSecure: boolean;
  readonly #fallback: SelectionPolicy;
  readonly #tokens: StickyTokens;
  #members: readonly BackendView[] = [];

  constructor({ cookie, secrets, scope, fallback, attributes = {} }: StickyCookieSettings) {
    this.observesLatency = fallback.observesLatency === true;
    this.ignoresWeights = fallback.ignoresWeights === true;
    this.#cookie = cookie;
    this.#attributes = attributesText(attributes);
    const { sameSite, partitioned } = attributes;
    this.#mustBeSecure = sameSite === 'none' || partitioned === true || /^__(?:Host|Secure)-/i.test(cookie);
    this.#fallback = fallback;
    this.#tokens = new StickyTokens(secrets, cookie, scope);
  }

  /** Whether the cookie of the client is for a backend of this scope, including backends that have left the pool. */
  holds({ req }: Exchange): boolean {
    const value = cookieValue(req.headers.cookie, this.#cookie);
    return value !== undefined && this.#tokens.isOfScope(value);
  }

  select<B extends BackendView>(backends: readonly B[], exchange: Exchange, tried: readonly B[]): B | undefined {
    if (backends !== this.#members) {
      this.#members = backends;
      this.#tokens.adopt(backends);
    }
    const value = cookieValue(exchange.req.headers.cookie, this.#cookie);
    const token = value === undefined ? undefined : this.#tokens.find(value);
    if (token !== undefined && isCandidate(token.backend, tried)) {
      if (!token.isCurrent) this.#issue(exchange, token.backend);
      // The tokens were made from these backends.
      return token.backend as B;
    }
    const backend = this.#fallback.select(backends, exchange, tried);
    // A client whose backend is only full keeps its cookie: its session there is not lost.
    const staysWithItsOwn = token?.isCurrent === true && token.backend.isOnlyFull();
    if (backend !== undefined && !staysWithItsOwn) this.#issue(exchange, backend);
    return backend;
  }

  #issue(exchange: Exchange, backend: BackendView): void {
    const { res } = exchange;
    // Too late for a cookie.
    if (res.headersSent) return;
    const secure = this.#mustBeSecure || exchange.isSecure ? '; Secure' : '';
    const line = `${this.#cookie}=${this.#tokens.valueFor(backend)}${this.#attributes}${secure}`;
    // The backend of an earlier attempt may have left its own cookie.
    const others = [res.getHeader('Set-Cookie') ?? []].flat().filter((other) => !this.#isOwn(String(other)));
    res.setHeader('Set-Cookie', [...others.map(String), line]);
  }

  #isOwn(line: string): boolean {
    return line.startsWith(`${this.#cookie}=`);
  }
}

function attributesText({ sameSite, path, domain, maxAgeMs, partitioned }: StickyCookieAttributes): string {
  const parts = [`Path=${path ?? '/'}`];
  if (domain !== undefined) parts.push(`Domain=${domain}`);
  if (maxAgeMs !== undefined) parts.push(`Max-Age=${Math.ceil(maxAgeMs / 1_000)}`);
  parts.push('HttpOnly', `SameSite=${SAME_SITE[sameSite ?? 'lax']}`);
  if (partitioned === true) parts.push('Partitioned');
  return parts.map((part) => `; ${part}`).join('');
}

const SAME_SITE = Object.freeze({ lax: 'Lax', strict: 'Strict', none: 'None' });

/** Defaults of {@link StickyOptions}. */
export const stickyDefaults = Object.freeze({
  cookie: 'expressway-sticky',
  sameSite: 'lax' as const,
  path: '/',
  partitioned: false,
  fallback: 'round-robin' as SimplePolicyName,
});

type StickySettings = Omit<StickyOptions, 'policy'>;

const SECRET_LENGTH = 32;
const SECRET = { type: 'string', minLength: SECRET_LENGTH };
/** RFC 6265 §4.1.1: any character but controls and `;`. A space is allowed there, but always a mistake. */
const COOKIE_PATH = /^\/[\x21-\x3a\x3c-\x7e]*$/;
/** Browsers ignore a leading dot, and people write it. */
const DOMAIN = /^\.?[a-z0-9-]+(?:\.[a-z0-9-]+)*$/i;

const matches = (pattern: RegExp, text: unknown): boolean => typeof text === 'string' && pattern.test(text);

/** Checks of {@link StickyCookieOptions}, and of the cookie's name. */
export const stickyCookieChecks = {
  secret: described(
    (value) => {
      const secrets: unknown[] = [value].flat();
      const isLong = (secret: unknown) => typeof secret === 'string' && secret.length >= SECRET_LENGTH;
      // As a list, so that the error does not show the value.
      return secrets.length > 0 && secrets.every(isLong)
        ? undefined
        : [`must be a string of at least ${SECRET_LENGTH} characters, or several such strings`];
    },
    { anyOf: [SECRET, { type: 'array', items: SECRET, minItems: 1 }] },
  ),
  cookie: described((value) => (matches(TOKEN, value) ? undefined : 'must be a cookie name'), {
    type: 'string',
    pattern: TOKEN.source,
  }),
  sameSite: oneOf('lax', 'strict', 'none'),
  path: described(
    (value) => (matches(COOKIE_PATH, value) ? undefined : 'must be a path like /shop, without ; and spaces'),
    { type: 'string', pattern: COOKIE_PATH.source },
  ),
  domain: optional(
    described((value) => (matches(DOMAIN, value) ? undefined : 'must be a domain like example.com'), {
      type: 'string',
    }),
  ),
  maxAgeMs: optional(durationMs),
  partitioned: boolean,
};

/** Browsers drop such cookies without a report (RFC 6265bis §4.1.3.2). */
export function cookieProblems({ cookie, path = '/', domain }: Partial<StickySettings>): string[] {
  if (!/^__Host-/i.test(String(cookie)) || (path === '/' && domain === undefined)) return [];
  return ["cookie must not begin with __Host- beside a domain, or a path other than '/': browsers drop it"];
}

export const sticky: PolicyEntry<'sticky', StickySettings, 'secret'> = {
  name: 'sticky',
  brief: 'a cookie keeps a client at its backend',
  summary: 'by a signed cookie: a client stays at its backend; `fallback` picks for the others',
  weights: 'fallback',
  required: 'secret',
  defaults: stickyDefaults,
  checks: {
    ...stickyCookieChecks,
    fallback: oneOf(...plainPolicies.map(({ name }) => name)),
  },
  problems: cookieProblems,
  make: (options) => {
    const { secret, cookie, fallback, ...attributes } = { ...stickyDefaults, ...options };
    const entry = plainPolicies.find(({ name }) => name === fallback) as PolicyEntry;
    return new StickyCookie({ secrets: [secret].flat(), cookie, fallback: entry.make(entry.defaults), attributes });
  },
};
