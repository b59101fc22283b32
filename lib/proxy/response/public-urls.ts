/** How the URLs of a backend become those that its clients know. Prefixes have no slash at the end; `/` is empty. */
export interface UrlMapping {
  readonly clientPrefix: string;
  readonly backendPrefix: string;
  /** Scheme, host and port of the request. Empty when the request names no host, as HTTP/1.0 allows. */
  readonly clientOrigin: string;
  /** Hosts, with their ports, by which the backend may call itself. */
  readonly backendHosts: readonly string[];
}

/** Default ports. A URL need not name them (RFC 9110 §4.2), but some frameworks do. */
const DEFAULT_PORTS: Readonly<Record<string, RegExp>> = { 'http:': /:(?:80)?$/, 'https:': /:(?:443)?$/ };

/** A URL or a relative reference (RFC 3986 §4.2) in a header of a backend's response. One of another host stays as it is. */
export function publicUrl(url: string, mapping: UrlMapping): string {
  const [, start = '', scheme = '', authority = '', rest = ''] = /^((https?:)?\/\/([^/?#]*))(.*)$/is.exec(url) ?? [];
  if (start === '') return publicPath(url, mapping);
  const withoutDefault = authority.replace(DEFAULT_PORTS[scheme.toLowerCase()] ?? '', '');
  const known = [...mapping.backendHosts, hostOf(mapping.clientOrigin)];
  if (!isHost(authority, known) && !isHost(withoutDefault, known)) return url;
  const path = publicPath(rest.startsWith('/') ? rest : `/${rest}`, mapping);
  return mapping.clientOrigin === '' ? rooted(path) : mapping.clientOrigin + path;
}

/** A path that begins with a slash, with its query. A reference relative to the path of the request needs no change. */
function publicPath(path: string, { clientPrefix, backendPrefix }: UrlMapping): string {
  if (clientPrefix === backendPrefix || !path.startsWith('/')) return path;
  // A backend that heeds X-Forwarded-Prefix has written it already.
  if (clientPrefix !== '' && isUnder(path, clientPrefix) && !isUnder(clientPrefix, backendPrefix || '//')) return path;
  if (!isUnder(path, backendPrefix)) return path;
  const rest = path.slice(backendPrefix.length);
  return clientPrefix === '' ? rooted(rest) : clientPrefix + rest;
}

/**
 * A path with one slash in front. `/app//evil.example` without `/app` would begin with `//`, which is a hostname (RFC 3986 §4.2);
 * browsers read a backslash there as a slash.
 */
const rooted = (path: string): string => `/${path.replace(/^[/\\]+/, '')}`;

/** The value of `Refresh`: seconds, and perhaps a URL. */
export function publicRefresh(value: string, mapping: UrlMapping): string {
  const [, start = '', quote = '', url] =
    /^(\s*[\d.]+\s*[;,]\s*(?:url\s*=\s*)?)(["']?)(.*?)["']?\s*$/is.exec(value) ?? [];
  return !url ? value : start + quote + publicUrl(url, mapping) + quote;
}

/**
 * A `Set-Cookie` value (RFC 6265 §4.1) with the client's path. A domain that is the backend's own host is removed, so that the client's applies.
 * Browsers accept a cookie whose name begins with `__Host-` with `Path=/` only, so its path stays.
 */
export function publicCookie(cookie: string, mapping: UrlMapping): string {
  const [pair = '', ...attributes] = cookie.split(';');
  const keepsPath = /^\s*__Host-/i.test(pair);
  const kept = attributes.flatMap((attribute) => {
    const equals = attribute.indexOf('=');
    if (equals === -1) return [attribute];
    const name = attribute.slice(0, equals).trim().toLowerCase();
    const value = attribute.slice(equals + 1).trim();
    if (name === 'path') return [keepsPath ? attribute : attribute.slice(0, equals + 1) + cookiePath(value, mapping)];
    const isOurs = name === 'domain' && isHost(value.replace(/^\./, ''), mapping.backendHosts.map(withoutPort));
    return isOurs ? [] : [attribute];
  });
  return [pair, ...kept].join(';');
}

/** `/shop/` would not be sent with a request for `/shop`. */
function cookiePath(path: string, mapping: UrlMapping): string {
  const moved = publicPath(path, mapping);
  return moved.length > 1 && path === '/' && moved.endsWith('/') ? moved.slice(0, -1) : moved;
}

const isUnder = (path: string, prefix: string): boolean =>
  path.startsWith(prefix) && (path.length === prefix.length || /[/?#]/.test(path[prefix.length] as string));

const isHost = (host: string, known: readonly string[]): boolean =>
  host !== '' && known.some((one) => one.toLowerCase() === host.toLowerCase());

const hostOf = (origin: string): string => origin.slice(origin.indexOf('//') + 2);

const withoutPort = (host: string): string => host.replace(/:\d+$/, '');
