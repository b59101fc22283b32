import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** Whether TLS protects the connection to the peer. */
export function isSecure(socket: Duplex | undefined): boolean {
  return (socket as { readonly encrypted?: boolean } | undefined)?.encrypted === true;
}

/** Scheme of the requests on a connection, as the peer itself uses it. */
export const schemeOf = (socket: Duplex | undefined): 'http' | 'https' => (isSecure(socket) ? 'https' : 'http');

/**
 * Breaks a connection off, with a reset where there is such a thing: an orderly end could pass for the end of a response
 * (RFC 9112 §8), and leaves the kernel with all that still waits to be sent. TLS and Unix sockets have no reset, and Node
 * throws when it is asked for one; TLS shows the break by the missing `close_notify`.
 */
export function resetConnection(socket: Duplex): void {
  const { resetAndDestroy, remoteAddress } = socket as Partial<Socket>;
  if (resetAndDestroy === undefined || remoteAddress === undefined || isSecure(socket)) socket.destroy();
  else resetAndDestroy.call(socket);
}
