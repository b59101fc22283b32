import type { Exchange } from '../core/exchange.ts';
import { cookieValue } from './cookie-field.ts';

/** What requests have in common that go to the same backend. */
export type HashBy =
  /** The client's address under the app's `trust proxy`. */
  | 'ip'
  /** The value of this field. */
  | { readonly header: string }
  /** The value of this cookie. */
  | { readonly cookie: string };

/** Finds a request's key; nothing when the request has none. */
export type HashKey = (exchange: Exchange) => string | undefined;

export function hashKey(by: HashBy): HashKey {
  if (by === 'ip') return (exchange) => exchange.clientAddress;
  if ('cookie' in by) return ({ req }) => cookieValue(req.headers.cookie, by.cookie) || undefined;
  const name = by.header.toLowerCase();
  return ({ req }) => {
    const value = req.headers[name];
    return (typeof value === 'object' ? value.join() : value) || undefined;
  };
}
