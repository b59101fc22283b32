import type { TLSSocket } from 'node:tls';
import type { Exchange } from '../../core/exchange.ts';
import { cookieValue } from './cookie-field.ts';
import { type BackendView, isCandidate, type SelectionPolicy } from './selection-policy.ts';
import { StickyTokens } from './sticky-tokens.ts';

export interface StickyCookieSettings {
  /** The cookie's name. */
  readonly cookie: string;
  /** The first one signs; the others are still believed. */
  readonly secrets: readonly string[];
  /** Picks for clients without a cookie, and for those whose backend is not available. */
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
 * A client stays with the backend that its cookie stands for, as long as that one is available; while it is full, others
 * serve its clients. Everybody else gets a backend from another policy, and the cookie for it.
 */
export class StickyCookie implements SelectionPolicy {
  readonly observesLatency: boolean;
  readonly ignoresWeights: boolean;
  readonly #cookie: string;
  /** As they stand behind the value, without Secure. */
  readonly #attributes: string;
  /** Whether browsers drop the cookie without Secure. */
  readonly #mustBeSecure: boolean;
  readonly #fallback: SelectionPolicy;
  readonly #tokens: StickyTokens;
  #members: readonly BackendView[] = [];

  constructor({ cookie, secrets, fallback, attributes = {} }: StickyCookieSettings) {
    this.observesLatency = fallback.observesLatency === true;
    this.ignoresWeights = fallback.ignoresWeights === true;
    this.#cookie = cookie;
    this.#attributes = attributesText(attributes);
    const { sameSite, partitioned } = attributes;
    this.#mustBeSecure = sameSite === 'none' || partitioned === true || /^__(?:Host|Secure)-/i.test(cookie);
    this.#fallback = fallback;
    this.#tokens = new StickyTokens(secrets, cookie);
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
      // The tokens are those of these very backends.
      return token.backend as B;
    }
    const backend = this.#fallback.select(backends, exchange, tried);
    // A client whose backend is only full is served by another this once: what it has there is not lost.
    const staysWithItsOwn = token?.isCurrent === true && token.backend.isOnlyFull();
    if (backend !== undefined && !staysWithItsOwn) this.#issue(exchange, backend);
    return backend;
  }

  #issue(exchange: Exchange, backend: BackendView): void {
    const { res } = exchange;
    // Nothing more can be said to a client that is being answered already.
    if (res.headersSent) return;
    const secure = this.#mustBeSecure || isHttps(exchange) ? '; Secure' : '';
    const line = `${this.#cookie}=${this.#tokens.valueFor(backend)}${this.#attributes}${secure}`;
    // A backend that was picked before, and failed, has left its own.
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

/** Whether the client itself speaks TLS, here or with a trusted proxy in front. */
function isHttps({ req, peerTrusted }: Exchange): boolean {
  const forwarded = peerTrusted ? req.headers['x-forwarded-proto'] : undefined;
  if (forwarded !== undefined) return /^\s*https\s*(?:,|$)/i.test(String(forwarded));
  return (req.socket as TLSSocket | undefined)?.encrypted === true;
}
