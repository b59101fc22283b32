/** How the URLs of a backend become those that its clients know. Prefixes have no slash at the end; `/` is empty. */
export interface UrlMapping {
  readonly clientPrefix: string;
  readonly backendPrefix: string;
  /** `X-Forwarded-Prefix` that the backend got. */
  readonly toldPrefix: string;
  readonly clientScheme: string;
  /** Host and port of the request. Empty when the request names no host, as HTTP/1.0 allows. */
  readonly clientHost: string;
  /** Scheme of the connection to the backend. */
  readonly backendScheme: string;
  /** Hosts, with their ports, by which the backend may call itself: its address, and the `Host` that it got. */
  readonly backendHosts: readonly string[];
}

/** Default ports. A URL need not name them (RFC 9110 §4.2), but some frameworks do. */
const DEFAULT_PORTS: Readonly<Record<string, RegExp>> = { http: /:(?:80)?$/, https: /:(?:443)?$/ };

/**
 * A URL or a relative reference (RFC 3986 §4.2) in a header of a backend's response. One of another origin stays as it is. The scheme of
 * the backend is that of its connection or that of the client, which `X-Forwarded-Proto` names.
 */
export function publicUrl(url: string, mapping: UrlMapping): string {
  const [, start = '', scheme, authority = '', rest = ''] = /^((?:(https?):)?\/\/([^/?#]*))(.*)$/is.exec(url) ?? [];
  if (start === '') return publicPath(url, mapping);
  const { clientScheme, clientHost, backendScheme, backendHosts } = mapping;
  const named = scheme?.toLowerCase() ?? clientScheme;
  const host = plainHost(authority, named);
  const isPublic = host !== '' && host === plainHost(clientHost, clientScheme);
  if (!isPublic && !backendHosts.some((one) => host !== '' && host === plainHost(one, backendScheme))) return url;
  // A backend that sends clients from http to https names the public host. With the scheme of the request, that would be a loop.
  const isUpgrade = isPublic && named === 'https';
  const isOwn = named === clientScheme || (named === backendScheme && !isUpgrade);
  if (!isOwn && !isPublic) return url;
  const path = publicPath(rest.startsWith('/') ? rest : `/${rest}`, mapping);
  if (!isOwn) return start + path;
  return clientHost === '' ? rooted(path) : `${clientScheme}://${clientHost}${path}`;
}

/** A path that begins with a slash, with its query. A reference relative to the path of the request needs no change. */
function publicPath(path: string, mapping: UrlMapping): string {
  const { clientPrefix, backendPrefix, toldPrefix } = mapping;
  if (!path.startsWith('/')) return path;
  if (toldPrefix === '' || !isUnder(path, toldPrefix)) return movedPath(path, mapping);
  // The backend has honoured `X-Forwarded-Prefix`. If this gateway has not added its own part there, that part is missing.
  const isWhole = backendPrefix === '' && toldPrefix.endsWith(clientPrefix);
  return isWhole ? path : toldPrefix + movedPath(path.slice(toldPrefix.length), mapping);
}

function movedPath(path: string, { clientPrefix, backendPrefix }: UrlMapping): string {
  if (clientPrefix === backendPrefix) return path;
  // A backend that knows its public path has written it already.
  if (clientPrefix !== '' && isUnder(path, clientPrefix) && !isUnder(clientPrefix, backendPrefix || '//')) return path;
  if (!isUnder(path, backendPrefix)) return path;
  return rooted(clientPrefix + path.slice(backendPrefix.length));
}

/**
 * A path with one slash in front. `/app//evil.example` without `/app` would begin with `//`, which is a hostname (RFC 3986 §4.2);
 * browsers read a backslash there as a slash.
 */
const rooted = (path: string): string => `/${path.replace(/^[/\\]+/, '')}`;

/** The value of `Refresh`: seconds, and perhaps a URL. */
export function publicRefresh(value: string, mapping: UrlMapping): string {
  const [, start = '', quote = '', url] =
    /^(\s*[\d.]+\s*[;,]\s*(?:url\s*=\s*)?)(["']?)(.*?)["']?$/is.exec(value.trimEnd()) ?? [];
  return !url ? value : start + quote + publicUrl(url, mapping) + quote;
}

/**
 * A `Set-Cookie` value (RFC 6265 §4.1) with the client's path. A domain that is the backend's own host is removed, so that the client's
 * applies. One that the client accepts stays: without it, the cookie would not reach subdomains.
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
    return name === 'domain' && isForeign(value.replace(/^\./, '').toLowerCase(), mapping) ? [] : [attribute];
  });
  return [pair, ...kept].join(';');
}

/** `/shop/` would not be sent with a request for `/shop`. */
function cookiePath(path: string, mapping: UrlMapping): string {
  const moved = publicPath(path, mapping);
  return path === '/' && moved.length > 1 ? moved.slice(0, -1) : moved;
}

const isUnder = (path: string, prefix: string): boolean =>
  path.startsWith(prefix) && (path.length === prefix.length || /[/?#]/.test(path[prefix.length] as string));

/** In lower case, without the default port of the scheme. */
const plainHost = (host: string, scheme: string): string => host.toLowerCase().replace(DEFAULT_PORTS[scheme] ?? '', '');

/** Whether a domain is the backend's own host, and not that of the client or one above it (RFC 6265 §5.1.3). */
const isForeign = (domain: string, { clientHost, backendHosts }: UrlMapping): boolean =>
  !`.${withoutPort(clientHost)}`.endsWith(`.${domain}`) && backendHosts.some((one) => withoutPort(one) === domain);

const withoutPort = (host: string): string => host.toLowerCase().replace(/:\d*$/, '');
