import { Resolver } from 'node:dns/promises';
import { type Check, type Checks, described, durationMs, oneOf, optional } from '../../core/options.ts';

/** A source of DNS records. `dns.promises.Resolver` is one. */
export interface NameResolver {
  /** @throws With the code `ENODATA` or `ENOTFOUND` where there is no such address, with any other where DNS failed. */
  resolve4(name: string, options: { ttl: true }): Promise<readonly AddressRecord[]>;
  resolve6(name: string, options: { ttl: true }): Promise<readonly AddressRecord[]>;
  resolveSrv(name: string): Promise<readonly ServerRecord[]>;
  /** Ends running lookups. */
  cancel?(): void;
}

/** An address from DNS, and for how long it may be kept. */
export interface AddressRecord {
  readonly address: string;
  /** Seconds. */
  readonly ttl: number;
}

/** An SRV record, as `resolveSrv()` of `node:dns` gives it (RFC 2782). */
export interface ServerRecord {
  readonly name: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

/**
 * How to look up names of backends. Look-ups use only DNS, no hosts file and no search domains, so names must be complete
 * (`api.shop.svc.cluster.local`).
 */
export interface DnsOptions {
  /**
   * Milliseconds after which a name is looked up again; sooner when the TTL of a record ends, but not within
   * 1 000. Default 30 000.
   */
  refreshMs?: number;
  /** Milliseconds until a lookup counts as failed. Default 5 000. */
  timeoutMs?: number;
  /** 4 or 6 for the addresses of that family only, 0 for both: then each address is a backend. Default 0. */
  family?: 0 | 4 | 6;
  /** DNS servers, like `10.0.0.2` or `[::1]:5353`. Default: those of the system. */
  servers?: readonly string[] | undefined;
  /** Replaces Node's resolver; `servers` then has no effect. Default: Node's. */
  resolver?: NameResolver | undefined;
}

export type ResolvedDnsOptions = DnsOptions & Required<Omit<DnsOptions, 'servers' | 'resolver'>>;

/** Defaults of {@link DnsOptions}. */
export const dnsDefaults = Object.freeze({
  refreshMs: 30_000,
  timeoutMs: 5_000,
  family: 0 as 0 | 4 | 6,
});

export const dnsChecks: Checks<DnsOptions> = {
  refreshMs: durationMs,
  timeoutMs: durationMs,
  family: oneOf(0, 4, 6),
  servers: optional(described(dnsServers, { type: 'array', items: { type: 'string' }, minItems: 1 })),
  resolver: optional((value) =>
    (['resolve4', 'resolve6', 'resolveSrv'] as const).every((name) => typeof Object(value)[name] === 'function')
      ? undefined
      : 'must have the functions resolve4, resolve6 and resolveSrv',
  ),
};

function dnsServers(value: unknown): ReturnType<Check> {
  try {
    if (!Array.isArray(value) || value.length === 0) throw new TypeError();
    new Resolver().setServers(value);
    return undefined;
  } catch {
    return 'must be a non-empty array of IP addresses, with or without a port';
  }
}

/** A new resolver for each lookup, because the system's servers may have changed. */
export function makeResolver({ resolver, servers, timeoutMs }: ResolvedDnsOptions): NameResolver {
  if (resolver !== undefined) return resolver;
  const own = new Resolver({ timeout: Math.ceil(timeoutMs / 2), tries: 2 });
  if (servers !== undefined) own.setServers(servers);
  return own;
}
