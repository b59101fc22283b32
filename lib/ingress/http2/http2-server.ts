import type { RequestListener } from 'node:http';
import { createServer, Server as HttpsServer } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { OptionsError, resolveOptions } from '../../core/options.ts';
import { type ExpressMessages, expressServerOptions } from '../express-server-options.ts';
import { ClientSession, type SessionHost } from './client-session.ts';
import { HIDES_FAILURES } from './failed-connection.ts';
import {
  foreignHttp2Options,
  type Http2ServerOptions,
  http2ServerChecks,
  http2ServerDefaults,
} from './http2-server-options.ts';
import { StreamConnection } from './stream-connection.ts';

/**
 * Protocols by preference, as TLS has them on the wire (RFC 7301 §3.1): `h2`, `http/1.1` and `http/1.0`, which is all that `curl --http1.0`
 * offers.
 */
const PROTOCOLS = Buffer.from('\x02h2\x08http/1.1\x08http/1.0', 'latin1');
/** Milliseconds between two looks at all sessions: fewer where only a look finds a client that is gone. */
const LOOK_MS = HIDES_FAILURES ? 50 : 1_000;

type Emit = (event: string, ...args: unknown[]) => boolean;
type Listener = (this: HttpsServer, socket: TLSSocket) => void;

/**
 * Gives a `node:https` server HTTP/2 for clients, beside HTTP/1.1 on the same port. Each stream becomes an ordinary HTTP/1.1 request
 * to the same server, so Express, its middlewares and `upgrade` listeners work as over HTTP/1.1. `hardenServer()` and
 * `gracefulShutdown()` apply to both.
 *
 * ```ts
 * const server = hardenServer(http2Server(app, { tls: { key, cert } }));
 * gracefulShutdown(server);
 * server.listen(443);
 * ```
 *
 * @param target An Express app (or any Node request listener), which gets a new server with the option `tls`; or an existing server.
 * @returns the server.
 * @throws {OptionsError} that names each unknown key and each bad value. Also for a server that already listens, and for a target that is
 *   neither an app nor a server of `node:https`.
 */
export function http2Server(target: RequestListener | HttpsServer, given?: Http2ServerOptions): HttpsServer {
  const settings = resolveOptions('http2Server', given, http2ServerDefaults, http2ServerChecks, foreignHttp2Options);
  const server = serverOf(target, settings);
  if (server.listening) throw new OptionsError('http2Server', ['the server must not listen yet']);
  const sessions = new Set<ClientSession>();
  const host: SessionHost = {
    server,
    settings,
    accept: (connection) => void (server.emit as Emit)('secureConnection', connection),
    refused: (cause, address) => settings.events?.emit('clientRefused', { cause, address, exchange: undefined }),
    forget: (session) => void sessions.delete(session),
  };
  Object.assign(server, { ALPNProtocols: PROTOCOLS });
  takeSessions(server, (socket) => {
    sessions.add(new ClientSession(host, socket));
    if (sessions.size === 1) lookAt(sessions);
  });
  closeSessionsToo(server, sessions);
  return server;
}

function serverOf(target: unknown, { tls }: Http2ServerOptions): HttpsServer {
  if (target instanceof HttpsServer) {
    if (tls === undefined) return target;
    throw new OptionsError('http2Server', ['tls must be left out for a server: it has its own']);
  }
  if (typeof target !== 'function') {
    throw new OptionsError('http2Server', [`needs an app, or a server of node:https, got ${typeof target}`]);
  }
  if (tls === undefined)
    throw new OptionsError('http2Server', ['tls is missing: the certificate and key of the server']);
  const { request, response } = target as Partial<ExpressMessages>;
  const isExpress = typeof request === 'object' && typeof response === 'object';
  return createServer(
    { ...(isExpress ? expressServerOptions({ request, response }) : {}), ...tls },
    target as RequestListener,
  );
}

/** Takes the connections that have agreed on HTTP/2 from the HTTP/1.1 server. Other `secureConnection` listeners still get them. */
function takeSessions(server: HttpsServer, take: (socket: TLSSocket) => void): void {
  const [accept] = server.listeners('secureConnection') as Listener[];
  if (accept === undefined)
    throw new OptionsError('http2Server', ['the server has lost its listener for secureConnection']);
  server.removeListener('secureConnection', accept);
  server.prependListener('secureConnection', function acceptByProtocol(socket) {
    // A session emits its streams as connections, too.
    if (socket instanceof StreamConnection || socket.alpnProtocol !== 'h2') accept.call(server, socket);
    else take(socket);
  });
}

function lookAt(sessions: ReadonlySet<ClientSession>): void {
  const timer = setInterval(() => {
    const now = Date.now();
    for (const session of sessions) session.look(now);
    if (sessions.size === 0) clearInterval(timer);
  }, LOOK_MS).unref();
}

/** Node's close functions close connections of HTTP/1.1 only. */
function closeSessionsToo(server: HttpsServer, sessions: ReadonlySet<ClientSession>): void {
  const { closeAllConnections, closeIdleConnections } = server;
  server.closeAllConnections = () => {
    for (const session of sessions) session.destroy();
    closeAllConnections.call(server);
  };
  server.closeIdleConnections = () => {
    for (const session of sessions) if (session.openStreams === 0) session.leave(0);
    closeIdleConnections.call(server);
  };
}
