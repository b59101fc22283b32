import type { IncomingHttpHeaders } from 'node:http';
import { domainToASCII } from 'node:url';
import { type Check, type Checks, described, group, isPlainObject, listOf, optional, text } from '../core/options.ts';
import { shownUnder } from '../core/secret-names.ts';
import { normalTarget } from '../ingress/request-target.ts';
import { either, isList, isText, texts } from './check-forms.ts';

/** Conditions for the requests of a route. All that are given must hold. A route without conditions takes all requests. */
export interface RouteMatch {
  /**
   * Hostnames of the request, without a port: exact (`api.example.com`), or `*.example.com` for every name that ends with
   * `.example.com` (`a.b.example.com` too, `example.com` not). `X-Forwarded-Host` of a trusted proxy goes before `Host`. Default: any hostname.
   */
  hostnames?: string | readonly string[];
  /**
   * Path of the request. A text, or `{ prefix }`, is a prefix that ends at a path segment: `/users` matches `/users` and
   * `/users/42`, not `/users2`. `{ exact }` matches that path alone. Default `/`: any path.
   */
  path?: string | { readonly prefix: string } | { readonly exact: string };
  /** Request methods, in upper case. `GET` does not include `HEAD`. Default: any method. */
  methods?: readonly string[];
  /** Request headers and the value that each must have. Names are compared without case, values with it. Default: none. */
  headers?: Readonly<Record<string, string>>;
  /** Query parameters and the value that each must have. If a parameter is repeated, its first value counts. Default: none. */
  query?: Readonly<Record<string, string>>;
}

/** The parts of a request that routes match. */
export interface MatchedRequest {
  /** Lower case, without port. Empty when the request names none. */
  readonly hostname: string;
  /** Normalised path, without the query. */
  readonly path: string;
  /** The part of the target after `?`. */
  readonly search: string;
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
}

/** The conditions of a route in the form in which they are compared. */
export class Conditions {
  /** Empty for any hostname. A wildcard is kept as its suffix, with the dot: `.example.com`. */
  readonly hostnames: readonly string[];
  /** Without a trailing slash when it is a prefix; empty for `/`. */
  readonly path: string;
  readonly isExact: boolean;
  readonly methods: readonly string[] | undefined;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly query: readonly (readonly [name: string, value: string])[];

  constructor({ hostnames = [], path = '/', methods, headers = {}, query = {} }: RouteMatch) {
    const names = typeof hostnames === 'string' ? [hostnames] : hostnames;
    this.hostnames = [...new Set(names.map(comparableHostname))];
    this.isExact = typeof path === 'object' && 'exact' in path;
    this.path =
      typeof path === 'string' ? withoutSlash(path) : 'exact' in path ? path.exact : withoutSlash(path.prefix);
    this.methods = methods === undefined || methods.length === 0 ? undefined : [...new Set(methods)];
    this.headers = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value] as const);
    this.query = Object.entries(query);
  }

  /** Whether the conditions on method, headers and query hold. */
  hold(request: MatchedRequest): boolean {
    if (this.methods !== undefined && !this.methods.includes(request.method)) return false;
    for (const [name, value] of this.headers) if (headerValue(request.headers, name) !== value) return false;
    if (this.query.length === 0) return true;
    const parameters = new URLSearchParams(request.search);
    return this.query.every(([name, value]) => parameters.get(name) === value);
  }

  hasHostname(hostname: string): boolean {
    return this.hostnames.length === 0 || this.hostnames.some((name) => isUnder(name, hostname));
  }

  hasPath(path: string): boolean {
    if (this.isExact) return path === this.path;
    return path.startsWith(this.path) && (path.length === this.path.length || path[this.path.length] === '/');
  }

  /** The conditions that a request does not meet, each as a sentence without a full stop. Empty when all hold. */
  unmet(request: MatchedRequest): string[] {
    const unmet: string[] = [];
    if (!this.hasHostname(request.hostname)) {
      unmet.push(`hostname ${request.hostname || '(none)'} is not ${this.hostnames.map(shownHostname).join(' or ')}`);
    }
    if (!this.hasPath(request.path)) {
      unmet.push(this.isExact ? `path is not exactly ${this.path}` : `path is not ${this.path} or below it`);
    }
    if (this.methods !== undefined && !this.methods.includes(request.method)) {
      unmet.push(`method ${request.method} is not ${this.methods.join(' or ')}`);
    }
    for (const [name, value] of this.headers) {
      const actual = headerValue(request.headers, name);
      if (actual !== value) unmet.push(`header ${name} is ${shown(name, actual)}, not ${shown(name, value)}`);
    }
    if (this.query.length > 0) {
      const parameters = new URLSearchParams(request.search);
      for (const [name, value] of this.query) {
        const actual = parameters.get(name) ?? undefined;
        if (actual !== value)
          unmet.push(`query parameter ${name} is ${shown(name, actual)}, not ${shown(name, value)}`);
      }
    }
    return unmet;
  }

  /** Two routes with the same text take the same requests, so the second one gets none. */
  get text(): string {
    return JSON.stringify([
      [...this.hostnames].sort(),
      this.path,
      this.isExact,
      [...(this.methods ?? [])].sort(),
      [...this.headers].sort(),
      [...this.query].sort(),
    ]);
  }
}

/**
 * Compares two routes on the same hostname in the order of the Gateway API's HTTPRoute: exact path, longest prefix, method,
 * number of headers, number of query parameters. Below zero when `a` goes first, 0 when their order in the list decides.
 *
 * @see https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
 */
export function comparePrecedence(a: Conditions, b: Conditions): number {
  return (
    Number(b.isExact) - Number(a.isExact) ||
    b.path.length - a.path.length ||
    Number(b.methods !== undefined) - Number(a.methods !== undefined) ||
    b.headers.length - a.headers.length ||
    b.query.length - a.query.length
  );
}

/** Lower case, punycode, no trailing dot; `*.example.com` becomes `.example.com`. Empty when it is no hostname. */
export function comparableHostname(hostname: string): string {
  const isWildcard = hostname.startsWith('*.');
  const name = domainToASCII((isWildcard ? hostname.slice(2) : hostname).replace(/\.$/, ''));
  if (name === '' || name.includes('*')) return '';
  return isWildcard ? `.${name}` : name;
}

const isUnder = (name: string, hostname: string): boolean =>
  name.startsWith('.') ? hostname.endsWith(name) && hostname.length > name.length : hostname === name;

const shownHostname = (name: string): string => (name.startsWith('.') ? `*${name}` : name);

const shown = (name: string, value: string | undefined): string =>
  value === undefined ? 'missing' : `"${shownUnder(name, value)}"`;

/** The path prefix of a route, without a trailing slash: empty for `/`, and for an exact path. */
export function prefixOf({ path = '/' }: RouteMatch): string {
  if (typeof path === 'string') return withoutSlash(path);
  return 'exact' in path ? '' : withoutSlash(path.prefix);
}

const withoutSlash = (prefix: string): string => (prefix.endsWith('/') ? prefix.slice(0, -1) : prefix);

function headerValue(headers: IncomingHttpHeaders, name: string): string | undefined {
  // A name such as `constructor` must not find a property that every object has.
  if (!Object.hasOwn(headers, name)) return undefined;
  const value = headers[name];
  return Array.isArray(value) ? value.join(', ') : value;
}

/** Placeholders for any segment in other routers: `*`, `**`, `:id`, `{id}`. */
const PATTERN = /\/(?:\*{1,2}|:\w[^/]*|\{[^/]*\})(?:\/|$)/;

const pathText: Check = described(
  (value) => {
    if (typeof value !== 'string' || !value.startsWith('/')) return 'must begin with a slash';
    // Clients percent-encode these characters, so no request would match.
    if (/[^!-~]/.test(value)) return 'must be percent-encoded where it is not ASCII, and for spaces';
    if (PATTERN.test(value)) return 'must be a path, not a pattern: a path prefix matches all paths below it';
    // Routes match the normalised path of a request, so a path in another form would match no request.
    const isOdd = /[?#\\]|(?:^|\/)\.{1,2}(?:\/|$)/.test(value) || normalTarget(value, true) !== value;
    return isOdd ? 'must be a normalised path: no query, dot segments, repeated slashes or encoded letters' : undefined;
  },
  { type: 'string', pattern: '^/' },
);

const hostname: Check = described(
  (value) =>
    typeof value === 'string' && comparableHostname(value) !== ''
      ? undefined
      : 'must be a hostname without port, or *. and a hostname',
  { type: 'string' },
);

/** Checks of {@link RouteMatch}. */
export const routeMatchChecks: Checks<RouteMatch> = {
  hostnames: optional(
    either('a hostname or a list of hostnames', [
      [isText, hostname],
      [isList, listOf('hostname', hostname, 1)],
    ]),
  ),
  path: optional(
    either('a path, { prefix } or { exact }', [
      [isText, pathText],
      [(value) => isPlainObject(value) && 'exact' in (value as object), group({}, { exact: pathText })],
      [isPlainObject, group({}, { prefix: pathText })],
    ]),
  ),
  methods: optional(listOf('method', text(/^[A-Z]+(?:-[A-Z]+)*$/, 'must be in upper case'), 1)),
  headers: optional(texts),
  query: optional(texts),
};
