import { isIPv6 } from 'node:net';
import { foldAddress, isInside } from './connection.ts';
import type { Exchange } from './exchange.ts';

/** Leading bits of an IPv6 address that make one client, unless an option says otherwise. */
export const CLIENT_NETWORK_BITS = 56;

/**
 * What a cap counts as one client: an IPv4 address, or a public IPv6 network, because a subscriber has any number of addresses in it. Machines
 * of an inside network count by address: they are proxies and services rather than strangers. `undefined` for a text that is no address.
 */
export function clientNetwork(address: string): string | undefined {
  return isInside(address) && isIPv6(address) ? address : addressKey(address, CLIENT_NETWORK_BITS);
}

/** The same for the client of a request. One whose proxy forwards no address counts as that proxy. */
export function countedClient({ clientAddress, req }: Exchange): string | undefined {
  return clientAddress && (clientNetwork(clientAddress) ?? foldAddress(req.socket?.remoteAddress));
}

/**
 * One spelling per client: the IPv4 address, also for its IPv4-mapped form (RFC 4291 §2.5.5.2); or the IPv6 network of `ipv6Subnet`
 * bits in RFC 5952 form, because a subscriber has a whole network of addresses. At most 24 characters, none of them special to
 * Redis. `undefined` for a text that is no address.
 */
export function addressKey(address: string, ipv6Subnet: number): string | undefined {
  if (isIPv4(address)) return address;
  const bare = withoutPort(address);
  if (isIPv4(bare)) return bare;
  const zone = bare.indexOf('%');
  const groups = hextets(zone < 0 ? bare : bare.slice(0, zone));
  if (groups === undefined) return undefined;
  return mappedIPv4(groups) ?? network(groups, ipv6Subnet);
}

/** Dotted decimal without leading zeros. A loop, because this is on the path of every request. */
function isIPv4(text: string): boolean {
  let octet = -1;
  let dots = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 46) {
      if (octet < 0 || ++dots > 3) return false;
      octet = -1;
    } else {
      if (code < 48 || code > 57 || octet === 0) return false;
      octet = (octet < 0 ? 0 : octet * 10) + code - 48;
      if (octet > 255) return false;
    }
  }
  return dots === 3 && octet >= 0;
}

/** Removes the client's port, which some proxies (such as Azure Application Gateway) add to the address. */
export function withoutPort(address: string): string {
  if (address.startsWith('[')) return address.slice(1, address.indexOf(']'));
  const colon = address.indexOf(':');
  return colon >= 0 && colon === address.lastIndexOf(':') ? address.slice(0, colon) : address;
}

/** The eight groups of an IPv6 address. */
function hextets(address: string): number[] | undefined {
  if (!/^[0-9a-f:.]{2,45}$/i.test(address)) return undefined;
  // The URL standard checks an IPv6 host, and writes it without dots and leading zeros.
  const url = URL.parse(`http://[${address}]/`);
  if (url === null) return undefined;
  const [head = '', tail = ''] = url.hostname.slice(1, -1).split('::');
  const groups = new Array<number>(8).fill(0);
  const before = head === '' ? [] : head.split(':');
  const after = tail === '' ? [] : tail.split(':');
  for (let i = 0; i < before.length; i++) groups[i] = Number.parseInt(before[i] as string, 16);
  for (let i = 1; i <= after.length; i++) groups[8 - i] = Number.parseInt(after[after.length - i] as string, 16);
  return groups;
}

function mappedIPv4(groups: readonly number[]): string | undefined {
  if (groups[5] !== 0xffff) return undefined;
  for (let i = 0; i < 5; i++) if (groups[i] !== 0) return undefined;
  const [high, low] = groups.slice(6) as [number, number];
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** Of at most 64 bits: so the longest run of zeros, which RFC 5952 §4.2.3 shortens, is the last. */
function network(groups: readonly number[], bits: number): string {
  let text = '';
  let zeros = '';
  for (let i = 0; i < 4; i++) {
    const kept = Math.min(Math.max(bits - 16 * i, 0), 16);
    const group = (groups[i] as number) & (0xffff << (16 - kept));
    if (group === 0) {
      zeros += '0:';
      continue;
    }
    text += `${zeros}${group.toString(16)}:`;
    zeros = '';
  }
  return `${text === '' ? ':' : text}:/${bits}`;
}
