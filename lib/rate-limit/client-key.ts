import type { Server } from 'node:net';
import { type Exchange, foldAddress } from '../core/exchange.ts';

/** All clients of a Unix domain socket that no trusted proxy tells apart. */
const UNIX_SOCKET_KEY = 'unix';

/**
 * The key that a request is counted under; `undefined` when the client has already left, so that there is
 * nobody to count. A text that is no address is never a key, or whoever writes it would have keys without
 * end: then the peer of the connection is counted, which is the proxy that passed the text on.
 */
export function clientKey(exchange: Exchange, ipv6Subnet: number): string | undefined {
  const { req } = exchange;
  const address = exchange.clientAddress ?? foldAddress(req.ip);
  if (address !== undefined) {
    const key = addressKey(address, ipv6Subnet);
    if (key !== undefined) return key;
  }
  const peer = req.socket?.remoteAddress;
  if (peer !== undefined) return addressKey(peer, ipv6Subnet);
  const server = (req.socket as { server?: Server } | undefined)?.server;
  // A dying TCP connection has no address either, but a listener on a path has connections without any.
  return typeof server?.address() === 'string' ? UNIX_SOCKET_KEY : undefined;
}

/**
 * One spelling per client: the IPv4 address, also for its IPv4-mapped form (RFC 4291 §2.5.5.2), or the IPv6
 * network of `ipv6Subnet` bits in RFC 5952 form, because one subscriber has a whole network to pick addresses
 * from. At most 24 characters, none of them special to Redis. `undefined` for a text that is no address.
 */
export function addressKey(address: string, ipv6Subnet: number): string | undefined {
  if (isIPv4(address)) return address;
  const bare = withoutPort(address);
  if (isIPv4(bare)) return bare;
  const zone = bare.indexOf('%');
  const groups = hextets(zone < 0 ? bare : bare.slice(0, zone));
  if (groups === undefined) return undefined;
  if (groups[5] === 0xffff && groups.every((group, i) => i >= 5 || group === 0)) {
    const [high = 0, low = 0] = groups.slice(6);
    return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  }
  const network = groups.map((group, i) => (group & maskOf(ipv6Subnet - 16 * i)).toString(16)).join(':');
  return `${canonicalIPv6(network)}/${ipv6Subnet}`;
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

/** Some proxies (Azure Application Gateway is one) add the client's port to what they forward. */
function withoutPort(address: string): string {
  if (address.startsWith('[')) return address.slice(1, address.indexOf(']'));
  const colon = address.indexOf(':');
  return colon >= 0 && colon === address.lastIndexOf(':') ? address.slice(0, colon) : address;
}

/** The eight groups of an IPv6 address. */
function hextets(address: string): number[] | undefined {
  const canonical = canonicalIPv6(address);
  if (canonical === undefined) return undefined;
  const [head = '', tail] = canonical.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = new Array<string>(8 - before.length - after.length).fill('0');
  return [...before, ...zeros, ...after].map((group) => Number.parseInt(group, 16));
}

/** The URL standard writes an IPv6 host as RFC 5952 asks, never with dots, and checks it on the way. */
function canonicalIPv6(address: string): string | undefined {
  if (!/^[0-9a-f:.]{2,45}$/i.test(address)) return undefined;
  const url = URL.parse(`http://[${address}]/`);
  return url === null ? undefined : url.hostname.slice(1, -1);
}

/** Mask of one group of which the `bits` leftmost belong to the network. */
function maskOf(bits: number): number {
  return bits >= 16 ? 0xffff : bits <= 0 ? 0 : (0xffff << (16 - bits)) & 0xffff;
}
