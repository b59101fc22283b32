import { assertTrustProxy } from '../../../index.ts';
import { got, list, section } from '../variable.ts';

/** A value for Express's `trust proxy` setting that is safe to use. */
type TrustedProxies = false | number | string[];

export interface ClientsConfig {
  readonly trustProxy: TrustedProxies;
  /** Headers that only trusted proxies may send, besides those that are known. */
  readonly identityHeaders: readonly string[];
}

export const clients = section(
  'Who a client is',
  {
    TRUST_PROXY: {
      text: `Which proxies in front may name the client: a number of hops, or a comma-separated list of addresses, CIDR ranges and the
        names loopback, linklocal, uniquelocal. Empty trusts no proxy. The gateway refuses "true": every client could then choose the
        address that it is limited by.`,
      read: trustProxy,
    },
    IDENTITY_HEADERS: {
      text: `More headers that tell backends who a client is, comma-separated, like x-tenant,x-corp-*: the gateway drops them unless one
        of those proxies sends them, as it always does with X-Forwarded-*, X-Real-IP, Client-IP, X-SSL-* and the like.`,
      read: headerNames,
      isOfOneService: true,
    },
  },
  (read): ClientsConfig => ({ trustProxy: read.TRUST_PROXY, identityHeaders: read.IDENTITY_HEADERS }),
);

function trustProxy(text: string): TrustedProxies {
  if (text === '') return false;
  const value = /^\d+$/.test(text) ? Number(text) : text.split(',').map((item) => item.trim());
  // The package knows why `true` is unsafe; as a list item it would only be an unknown name.
  assertTrustProxy(text.toLowerCase() === 'true' ? true : value);
  return value;
}

/** Names of headers, some with a `*` at their end. */
function headerNames(text: string): readonly string[] {
  const items = list(text);
  const bad = items.find((item) => !/^[\w.-]+\*?$/.test(item));
  if (bad !== undefined) throw new Error(`must be header names, or beginnings such as x-corp-*, ${got(bad)}`);
  return items;
}
