import type { ServerHttp2Session } from 'node:http2';
import type { TLSSocket } from 'node:tls';

/** Node 22 does not report some connections that have failed. The functions here find them; later versions close them by themselves. */
export const HIDES_FAILURES = Number.parseInt(process.versions.node, 10) < 24;

interface SessionHandle {
  ongracefulclosecomplete?: () => void;
  setGracefulClose?(): void;
}

/**
 * Calls the listener when nghttp2 neither reads nor writes any more: the client broke the protocol, or the last stream has ended after a GOAWAY. Node asks for
 * the same notice in `close()`.
 */
export function whenOver(session: ServerHttp2Session, listener: () => void): void {
  if (!HIDES_FAILURES) return;
  const symbol = Object.getOwnPropertySymbols(session).find(({ description }) => description === 'kHandle');
  const handle: SessionHandle | undefined = symbol && Reflect.get(session, symbol);
  if (typeof handle?.setGracefulClose !== 'function') return;
  handle.ongracefulclosecomplete = listener;
  handle.setGracefulClose();
}

/** Negative, an error of the system, once the connection is gone. */
type Peer = { getpeername?(address: object): number | undefined };

/** Whether the client is gone. Node reads nothing while a write waits, and overlooks that a client which left has failed the write. */
export function isGone(socket: TLSSocket): boolean {
  if (!HIDES_FAILURES) return false;
  const { _handle: peer } = socket as { _handle?: Peer | null };
  return (peer?.getpeername?.({}) ?? 0) < 0;
}
