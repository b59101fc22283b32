import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';

/** `::ffff:192.0.2.1` is the host `192.0.2.1` seen through a dual-stack socket (RFC 4291 §2.5.5.2). */
export function foldAddress(address: string | undefined): string | undefined {
  return address?.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}

/** Loopback, private (RFC 1918), shared (RFC 6598), link-local and unique local (RFC 4193) addresses. */
const INSIDE =
  /^(?:127\.|10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|169\.254\.|::1$|f[cd]|fe[89ab])/i;

/** Whether an address is not one of the public internet, so that its owner is more likely a proxy than a client. */
export const isInside = (address: string): boolean => INSIDE.test(address);

/** Marks a connection in memory that carries requests of HTTP/2 to the HTTP/1.1 server. */
export const kHttp2 = Symbol('expressway.http2');

/** The HTTP version that a client speaks: `1.0`, `1.1` or `2.0`. Node knows only that of its HTTP/1.1 server. */
export function clientVersion({ httpVersion, socket }: IncomingMessage): string {
  return (socket as { readonly [kHttp2]?: boolean } | null)?.[kHttp2] === true ? '2.0' : httpVersion;
}

/** Whether TLS protects the connection to the peer. */
export function isSecure(socket: Duplex | undefined): boolean {
  return (socket as { readonly encrypted?: boolean } | undefined)?.encrypted === true;
}

/** The TLS connection that carries the requests on a connection, HTTP/2 included; `undefined` for plain HTTP. */
export function tlsSocketOf(socket: Duplex | null | undefined): TLSSocket | undefined {
  const carrier = (socket as { readonly tlsSocket?: TLSSocket } | null | undefined)?.tlsSocket ?? socket;
  return carrier != null && 'getPeerX509Certificate' in carrier ? (carrier as TLSSocket) : undefined;
}

/** Scheme of the requests on a connection, as the peer itself uses it. */
export const schemeOf = (socket: Duplex | undefined): 'http' | 'https' => (isSecure(socket) ? 'https' : 'http');

/** The socket below a TLS socket. It knows the client's address when the TLS socket has forgotten it. */
export const below = <T extends Duplex>(socket: T): T | Socket =>
  (socket as T & { readonly _parent?: Socket | null })._parent ?? socket;

/**
 * Cuts a connection, if possible with a reset. An orderly end could look like the end of a response (RFC 9112 §8), and leaves unsent bytes in
 * the kernel. That is so with TLS as well: a destroyed TLS socket sends no `close_notify`, but curl and Node take such an end for an orderly one.
 * Unix sockets have no reset, and Node throws when it is called for them.
 *
 * The TLS socket has to end the one below it. When that is gone first, the TLS socket emits `close` within the call, which can be in the middle
 * of parsing a request: Node 22 then keeps the parser in its list of connections, and `server.close()` throws.
 */
export function resetConnection(socket: Duplex): void {
  const transport = below(socket) as Socket;
  const { destroy, resetAndDestroy, remoteAddress } = transport as Partial<Socket> & Pick<Socket, 'destroy'>;
  if (resetAndDestroy !== undefined && remoteAddress !== undefined) {
    transport.destroy = () => {
      transport.destroy = destroy;
      return resetAndDestroy.call(transport);
    };
  }
  socket.destroy();
}
