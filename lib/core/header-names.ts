import { TOKEN } from './http.ts';
import { type Check, described, text } from './options.ts';

/** Facts about a header that follow from its name. */
export interface HeaderName {
  /** Always the same string object for the same text, which makes lookups faster. */
  readonly spelling: string;
  readonly lowerCase: string;
  /** See {@link canonical}. */
  readonly canonical: string;
  readonly isCanonical: boolean;
  /** Whether the header of the client is never forwarded. */
  readonly isDropped: boolean;
  /** Whether it says who the client is, so that only a trusted peer may send it. */
  readonly isIdentity: boolean;
  /** Whether not even a trusted peer may send it, but only the app. */
  readonly isUnproven: boolean;
}

/** Spellings that are kept. Clients can send any number of different names. */
const MOST_NAMES = 1_000;
const LONGEST_NAME = 64;

/**
 * One name for all spellings that an application cannot tell apart: CGI, WSGI and PHP know headers as variables like
 * `HTTP_X_FORWARDED_FOR`, in which hyphens, underscores, dots and the like are the same.
 */
export function canonical(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '-');
}

/** The facts about header names, by spelling. Each is computed once. */
export class HeaderNames {
  readonly #known = new Map<string, HeaderName>();
  readonly #dropped: ReadonlySet<string>;
  readonly #isIdentity: (canonicalName: string) => boolean;
  readonly #unproven: ReadonlySet<string>;

  /**
   * @param dropped Headers that are left out, or written by the proxy itself, in any spelling.
   * @param isIdentity Whether a header says who the client is. A spelling that only applications confuse with such a header
   * (`X_Forwarded_For`) is dropped, because no honest proxy writes it.
   * @param unproven Headers that only the app may write, in canonical spelling.
   */
  constructor(
    dropped: Iterable<string>,
    isIdentity: (canonicalName: string) => boolean = isIdentityHeader,
    unproven: Iterable<string> = [],
  ) {
    this.#dropped = new Set([...dropped].map(canonical));
    this.#isIdentity = isIdentity;
    this.#unproven = new Set(unproven);
  }

  of(spelling: string): HeaderName {
    return this.#known.get(spelling) ?? this.#learn(spelling);
  }

  #learn(spelling: string): HeaderName {
    const lowerCase = spelling.toLowerCase();
    const canonicalName = canonical(spelling);
    const isCanonical = lowerCase === canonicalName;
    const isIdentity = this.#isIdentity(canonicalName);
    const isDropped = this.#dropped.has(canonicalName) || (isIdentity && !isCanonical);
    const isUnproven = this.#unproven.has(canonicalName);
    const name = { spelling, lowerCase, canonical: canonicalName, isCanonical, isDropped, isIdentity, isUnproven };
    if (spelling.length > LONGEST_NAME) return name;
    if (this.#known.size >= MOST_NAMES) this.#known.clear();
    this.#known.set(spelling, name);
    return name;
  }
}

/**
 * Headers in which proxies say who the client is, or what it asked for: in lower case, with hyphens only. The proxy drops them
 * when the peer is not trusted, because a backend would believe them.
 */
const NAMES: ReadonlySet<string> = new Set([
  'forwarded',
  // The requested URL. Some frameworks route by these headers, and so bypass every rule for the path itself.
  'x-host',
  'x-http-host-override',
  'x-http-destinationurl',
  'x-rewrite-url',
  // Its scheme.
  'front-end-https',
  'x-scheme',
  'x-url-scheme',
  'x-arr-ssl',
  // Its address.
  'x-coming-from',
  'x-forwarder-for',
  'x-envoy-external-address',
  'x-custom-ip-authorization',
  'cloudfront-viewer-address',
  'cdn-src-ip',
  'cf-pseudo-ipv4',
  // Its user, from gateways that authenticate.
  'remote-name',
  'remote-email',
  'remote-groups',
  // As apiKeyAuth() and basicAuth() name it.
  'x-consumer',
  'x-anonymous-consumer',
  'x-userinfo',
  'x-endpoint-api-userinfo',
  'x-webauth-user',
  'x-arr-clientcert',
]);

const STARTS = [
  'x-forwarded',
  'x-original-',
  'x-originating-',
  'x-ssl-',
  'ssl-client-',
  // RFC 9440: `Client-Cert` and `Client-Cert-Chain`.
  'client-cert',
  'x-client-cert',
  'x-client-verify',
  'x-client-dn',
  'x-client-ssl',
  'x-amzn-mtls-',
  'x-amzn-oidc-',
  'x-auth-request-',
  'x-authenticated-',
  'x-authentik-',
  'x-consumer-',
  'x-goog-authenticated-user-',
  'x-ms-client-principal',
  'x-pomerium-claim-',
  'tailscale-user-',
  'cf-access-authenticated-user-',
] as const;

/** `X-Real-IP`, `True-Client-IP`, `CF-Connecting-IPv6`, `X-Azure-ClientIP`, `X-Remote-User` and the like. */
const ENDS =
  /(?:^|-)(?:client|remote|real|connecting|connection|originating|origin|source|src|peer|socket|user|proxyuser)-?(?:ip|ipv4|ipv6|addr|address)$|(?:^|-)(?:remote|webauth)-(?:user|groups?)$|-forwarded-for$/;

/** @param name In canonical spelling. */
export function isIdentityHeader(name: string): boolean {
  return NAMES.has(name) || STARTS.some((start) => name.startsWith(start)) || ENDS.test(name);
}

export const headerName: Check = text(TOKEN, 'must be a header name');

const PATTERN = /^[\w!#$%&'.^`|~-]+\*?$/;

/** Accepts names, and beginnings of names that end with `*`. */
export const identityHeaderList: Check = described(
  (value) =>
    Array.isArray(value) && value.every((one) => typeof one === 'string' && PATTERN.test(one))
      ? undefined
      : 'must be an array of header names, or of beginnings such as "x-corp-*"',
  { type: 'array', items: { type: 'string', pattern: PATTERN.source } },
);

/** The test for the built-in identity headers and those that the user adds. */
export function identityHeaders(more: readonly string[]): (canonicalName: string) => boolean {
  if (more.length === 0) return isIdentityHeader;
  const plain = (name: string) => name.toLowerCase().replace(/[^a-z0-9*]/g, '-');
  const names = new Set(more.map(plain));
  const starts = [...names].filter((name) => name.endsWith('*')).map((name) => name.slice(0, -1));
  return (name) => isIdentityHeader(name) || names.has(name) || starts.some((start) => name.startsWith(start));
}

/** Response headers of the CORS protocol, of which two values would make browsers refuse both. */
export const CORS_HEADERS: readonly string[] = [
  'access-control-allow-origin',
  'access-control-allow-methods',
  'access-control-allow-headers',
  'access-control-allow-credentials',
  'access-control-expose-headers',
  'access-control-max-age',
];
