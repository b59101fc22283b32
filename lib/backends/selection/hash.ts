import type { Exchange } from '../../core/exchange.ts';
import { cookieValue, TOKEN } from '../../core/http.ts';
import { type Check, described } from '../../core/options.ts';
import { RendezvousHash } from './rendezvous-hash.ts';
import type { PolicyEntry } from './selection-policy.ts';

/** What the key is: requests with the same key go to the same backend. */
export type HashBy =
  /** The client's address under the app's `trust proxy`. */
  | 'ip'
  /** The value of this header. */
  | { readonly header: string }
  /** The value of this cookie. */
  | { readonly cookie: string }
  /** The value of this query parameter; the first of several. */
  | { readonly query: string };

/** Options of `loadBalancing` with the policy `hash`: requests with the same key go to the same backend. */
export interface HashOptions {
  /** Always `hash`. */
  policy: 'hash';
  /**
   * The key. Requests without it (no such header, cookie or query parameter) go round robin. A client that chooses its key
   * chooses its backend: `loadFactor` bounds the effect. Default `ip`.
   */
  by?: HashBy;
  /**
   * Upper bound of a backend's requests in flight, as a multiple of its even share, rounded up; further requests go to the key's
   * next choice. At least 1. With a bound, some concurrent requests of a client go to another backend, which breaks applications
   * that rely on one backend, such as the polling of socket.io. Default `Infinity`: no bound.
   */
  loadFactor?: number;
}

/** Defaults of {@link HashOptions}. */
export const hashDefaults = Object.freeze({ by: 'ip' as HashBy, loadFactor: Number.POSITIVE_INFINITY });

type HashSettings = Required<Omit<HashOptions, 'policy'>>;

const isToken = (text: unknown): boolean => typeof text === 'string' && TOKEN.test(text);

const field = (name: string, schema: object) => ({
  type: 'object',
  properties: { [name]: { type: 'string', ...schema } },
  required: [name],
  additionalProperties: false,
});

const by: Check = described(
  (value) => {
    if (value === 'ip') return undefined;
    const [name, text, ...more] = Object.entries((value ?? {}) as object).flat();
    const isField = (name === 'header' || name === 'cookie') && isToken(text);
    const isQuery = name === 'query' && typeof text === 'string' && text !== '';
    return (isField || isQuery) && more.length === 0
      ? undefined
      : "must be 'ip', { header: name }, { cookie: name } or { query: name }";
  },
  {
    anyOf: [
      { const: 'ip' },
      field('header', { pattern: TOKEN.source }),
      field('cookie', { pattern: TOKEN.source }),
      field('query', { minLength: 1 }),
    ],
  },
);

export const hash: PolicyEntry<'hash', HashSettings, never> = {
  name: 'hash',
  brief: 'the same client address, the same backend',
  summary: "by the client's address, or by a header, cookie or query parameter: the same key, the same backend",
  weights: 'respected',
  defaults: hashDefaults,
  checks: {
    by,
    loadFactor: described(
      (value) => (typeof value === 'number' && value >= 1 ? undefined : 'must be a number of at least 1'),
      { type: 'number', minimum: 1 },
    ),
  },
  make: (options) => new RendezvousHash(hashKey(options.by), options.loadFactor),
};

/** Finds the key of a request; `undefined` when the request has none. */
export type HashKey = (exchange: Exchange) => string | undefined;

export function hashKey(by: HashBy): HashKey {
  if (by === 'ip') return (exchange) => exchange.clientAddress;
  if ('cookie' in by) return ({ req }) => cookieValue(req.headers.cookie, by.cookie) || undefined;
  if ('query' in by) return ({ req }) => queryValue(req.url ?? '', by.query) || undefined;
  const name = by.header.toLowerCase();
  return ({ req }) => {
    const value = req.headers[name];
    return (typeof value === 'object' ? value.join() : value) || undefined;
  };
}

function queryValue(target: string, name: string): string | null {
  const start = target.indexOf('?');
  return start < 0 ? null : new URLSearchParams(target.slice(start)).get(name);
}
