import type { Check } from '../../core/options.ts';

/**
 * Headers in which proxies tell who the client is, or what it asked for, in lower case with hyphens alone. From whoever is
 * not trusted they are dropped: a backend that believes them would believe a stranger.
 */
const NAMES: ReadonlySet<string> = new Set([
  'forwarded',
  // What it asked for: some frameworks route by these, past every rule for the path itself.
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
  // Who it is, to gateways that authenticate.
  'remote-name',
  'remote-email',
  'remote-groups',
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

/** @param name In lower case, with hyphens for whatever is neither letter nor digit. */
export function isIdentityHeader(name: string): boolean {
  return NAMES.has(name) || STARTS.some((start) => name.startsWith(start)) || ENDS.test(name);
}

const PATTERN = /^[\w!#$%&'.^`|~-]+\*?$/;

/** Names, or beginnings of names with a `*` behind them. */
export const identityHeaderList: Check = (value) =>
  Array.isArray(value) && value.every((one) => typeof one === 'string' && PATTERN.test(one))
    ? undefined
    : 'must be an array of header names, or of beginnings such as "x-corp-*"';

/** Ours and the user's. */
export function identityHeaders(more: readonly string[]): (canonicalName: string) => boolean {
  if (more.length === 0) return isIdentityHeader;
  const plain = (name: string) => name.toLowerCase().replace(/[^a-z0-9*]/g, '-');
  const names = new Set(more.map(plain));
  const starts = [...names].filter((name) => name.endsWith('*')).map((name) => name.slice(0, -1));
  return (name) => isIdentityHeader(name) || names.has(name) || starts.some((start) => name.startsWith(start));
}
