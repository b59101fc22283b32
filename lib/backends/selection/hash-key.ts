import type { Exchange } from '../../core/exchange.ts';
import { cookieValue } from './cookie-field.ts';

/** What requests have in common that go to the same backend. */
export type HashBy =
  /** The client's address under the app's `trust proxy`. */
  | 'ip'
  /** The value of this field. */
  | { readonly header: string }
  /** The value of this cookie. */
  | { readonly cookie: string }
  /** The value of this query parameter; of several, the first. */
  | { readonly query: string };

/** Finds a request's key; nothing when the request has none. */
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
