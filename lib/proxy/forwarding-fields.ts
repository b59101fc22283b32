import type { Exchange } from '../core/exchange.ts';
import { foldAddress } from '../core/exchange.ts';

/** How `X-Forwarded-For` treats what the client's side sent. */
export type ForwardedMode = 'replace' | 'append';

/**
 * Fields in which proxies speak of the client. Whoever sends them is believed only when the app's
 * `trust proxy` says so: from anybody else they are dropped.
 */
export const FORWARDING_FIELDS: ReadonlySet<string> = new Set([
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-prefix',
  'x-forwarded-proto',
  'x-forwarded-server',
  'x-real-ip',
]);

/** Fields that the gateway writes itself on every forwarded request. */
export const WRITTEN_HERE: ReadonlySet<string> = new Set([
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'via',
]);

/** Appends the fields that tell a backend who asked, as the gateway itself knows it. */
export function pushForwardingFields(
  fields: string[],
  exchange: Exchange,
  mode: ForwardedMode,
  via: string,
  host: string | undefined,
): void {
  const { req, peerTrusted } = exchange;
  const given = req.headers;
  const scheme = (req.socket as { encrypted?: boolean } | undefined)?.encrypted === true ? 'https' : 'http';
  const forwardedFor = peerTrusted && mode === 'append' ? appended(exchange) : exchange.clientAddress;
  if (forwardedFor !== undefined) fields.push('x-forwarded-for', forwardedFor);
  fields.push('x-forwarded-proto', (peerTrusted && first(given['x-forwarded-proto'])) || scheme);
  const forwardedHost = (peerTrusted && first(given['x-forwarded-host'])) || host;
  if (forwardedHost !== undefined) fields.push('x-forwarded-host', forwardedHost);
  // RFC 9110 §7.6.3: one entry per hop, with the version that this hop received.
  const hop = `${req.httpVersion} ${via}`;
  const before = given.via;
  fields.push('via', before === undefined ? hop : `${before}, ${hop}`);
}

function appended(exchange: Exchange): string | undefined {
  const before = exchange.req.headers['x-forwarded-for'];
  const peer = foldAddress(exchange.req.socket?.remoteAddress);
  return before === undefined ? peer : `${String(before)}, ${peer}`;
}

/** The first entry of a list: what the proxy nearest to the client said. */
function first(value: string | string[] | undefined): string | undefined {
  if (value === undefined) return undefined;
  const text = String(value);
  const comma = text.indexOf(',');
  return (comma === -1 ? text : text.slice(0, comma)).trim();
}
