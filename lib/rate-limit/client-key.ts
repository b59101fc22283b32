import type { Server } from 'node:net';
import { addressKey } from '../core/address-key.ts';
import { foldAddress } from '../core/connection.ts';
import type { Exchange } from '../core/exchange.ts';

/** The key of all clients of a Unix domain socket, unless a trusted proxy names the client. */
const UNIX_SOCKET_KEY = 'unix';

/**
 * The key that a request is counted under; `undefined` when the client has already left. A forwarded text that is no address is
 * never a key, because a client could invent any number of them. The peer of the connection is counted instead: the proxy
 * that forwarded the text.
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
  // A TCP connection that is closing has no address either. Connections to a listener on a path never have one.
  return typeof server?.address() === 'string' ? UNIX_SOCKET_KEY : undefined;
}

/** Copies a text. In Node 22, an address that was cut from a header value keeps the whole value in memory, up to 16 KB. */
export function ownCopy(key: string): string {
  const copy = Buffer.from(key, 'latin1').toString('latin1');
  return copy === key ? copy : Buffer.from(key, 'utf16le').toString('utf16le');
}
