import { BlockList, isIP } from 'node:net';
import { withoutPort } from '../core/address-key.ts';
import { foldAddress } from '../core/connection.ts';
import type { Exchange } from '../core/exchange.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import { type Check, described, OptionsError } from '../core/options.ts';
import { reject } from '../core/reject.ts';
import { shownValue } from '../core/shown-value.ts';

/** Addresses and ranges of addresses, of both families. */
export class AddressList {
  readonly #list = new BlockList();

  constructor(items: readonly string[]) {
    for (const item of items) {
      const { address, bits, family } = rangeOf(item) as Range;
      this.#list.addSubnet(address, bits, family);
    }
  }

  /** @param text As a connection or a trusted proxy gives it. A text that is no address is in no list. */
  has(text: string): boolean {
    const address = withoutPort(text);
    const version = isIP(address);
    return version !== 0 && this.#list.check(address, version === 4 ? 'ipv4' : 'ipv6');
  }
}

interface Range {
  readonly address: string;
  readonly bits: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** Reads `192.0.2.1`, `192.0.2.0/24` or `2001:db8::/32`. */
function rangeOf(text: string): Range | undefined {
  const slash = text.indexOf('/');
  const given = slash < 0 ? text : text.slice(0, slash);
  const mapped = foldAddress(given) as string;
  const version = isIP(mapped);
  // A zone names an interface of this machine.
  if (version === 0 || mapped.includes('%')) return undefined;
  const longest = version === 4 ? 32 : 128;
  if (slash < 0) return { address: mapped, bits: longest, family: version === 4 ? 'ipv4' : 'ipv6' };
  const digits = text.slice(slash + 1);
  const bits = Number(digits) - (mapped === given ? 0 : 96);
  if (!/^\d{1,3}$/.test(digits) || bits < 0 || bits > longest) return undefined;
  return { address: mapped, bits, family: version === 4 ? 'ipv4' : 'ipv6' };
}

/**
 * Checks addresses and CIDR ranges ahead of their use as `allow` or `deny`.
 *
 * @throws {OptionsError} `ERR_EXPRESSWAY_OPTIONS`, with every item that is not one.
 */
export function assertAddressList(items: readonly string[]): void {
  if (!Array.isArray(items)) throw new OptionsError('address list', [`must be a list, got ${shownValue(items)}`]);
  const bad = items.filter((item) => rangeOf(item) === undefined);
  const problems = bad.map((item) => `${shownValue(item)} is not an IP address or CIDR range`);
  if (problems.length > 0) throw new OptionsError('address list', problems);
}

export const addressListCheck: Check = described(
  (value) =>
    Array.isArray(value) && value.every((item) => typeof item === 'string' && rangeOf(item) !== undefined)
      ? undefined
      : 'must be a list of IP addresses and CIDR ranges',
  { type: 'array', items: { type: 'string' } },
);

/** The addresses that are never limited, and those that are refused. */
export class AddressGate {
  readonly #allow: AddressList | undefined;
  readonly #deny: AddressList | undefined;

  constructor(allow: readonly string[], deny: readonly string[]) {
    this.#allow = allow.length > 0 ? new AddressList(allow) : undefined;
    this.#deny = deny.length > 0 ? new AddressList(deny) : undefined;
  }

  /** `deny` wins over `allow`, which only means that the address is not counted. */
  judge({ clientAddress }: Exchange): 'allowed' | 'denied' | 'limited' {
    if (clientAddress === undefined) return 'limited';
    if (this.#deny?.has(clientAddress)) return 'denied';
    return this.#allow?.has(clientAddress) ? 'allowed' : 'limited';
  }
}

/** Rejects a client of the deny list. */
export function deny(exchange: Exchange, events: GatewayEvents): void {
  reject(exchange, { kind: 'rejected', cause: 'client_denied' }, events);
}
