import type { Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { type TLSSocket, Server as TlsServer } from 'node:tls';
import { isGrpcCall } from '../core/grpc.ts';
import { OptionsError, resolveOptions } from '../core/options.ts';
import { ConnectionCap, type ConnectionWatcher, watchConnections } from './client-connections.ts';
import { ConnectionResponses, unreadOn } from './connection-responses.ts';
import { continueWhenRead, lookFirst } from './first-look.ts';
import { type HardenServerOptions, hardenServerChecks, hardenServerDefaults } from './harden-server-options.ts';
import { assertHttpServer } from './http-server.ts';
import { certificateRefusal, isPlainHttp, parserRefusal } from './parser-error.ts';
import { setTargetCap } from './request-checks.ts';
import { RequestFlows } from './request-flows.ts';
import { SlowConnections } from './slow-connections.ts';

/** Properties that Node reads when a connection opens, or when the server begins to listen. Its types have them only for construction. */
type LateOptions = { maxHeaderSize: number; connectionsCheckingInterval: number; requireHostHeader: boolean };

const kHardened = Symbol('expressway.hardened');

/**
 * Sets the limits of a server on the open internet: timeouts, sizes, rates and connections. It cuts connections that are too slow or too many;
 * other clients notice nothing. Requests that Node's parser rejects get a problem document, and their connection is closed. So do CONNECT
 * requests, unknown expectations, and targets like `http://`, which Express passes to no middleware. `100 Continue` is sent when the app
 * reads the body. `requestGuard()` or `roundRobinProxy()` rejects a request without `Host`.
 *
 * ```ts
 * hardenServer(server, { maxConnections: 50_000 });
 * server.listen(8080);
 * ```
 *
 * @throws {OptionsError} that names each unknown key and each bad value, for a server that already listens or has its bounds, and for a
 *   value that is no server of `node:http` or `node:https`.
 */
export function hardenServer<S extends Server>(server: S, given?: HardenServerOptions): S {
  assertHttpServer('hardenServer', server);
  const options = resolveOptions('hardenServer', given, hardenServerDefaults, hardenServerChecks);
  if (server.listening) throw new OptionsError('hardenServer', ['the server must not listen yet']);
  // Limits of requests in progress that share a connection would read it in turns without end.
  if (kHardened in server) throw new OptionsError('hardenServer', ['the server has its bounds already']);
  Object.assign(server, { [kHardened]: true });
  // Node exchanges the two if that for the head is longer.
  server.headersTimeout = Math.min(options.headTimeoutMs, options.requestTimeoutMs || options.headTimeoutMs);
  server.requestTimeout = options.requestTimeoutMs;
  server.keepAliveTimeout = options.keepAliveTimeoutMs;
  server.maxRequestsPerSocket = options.maxRequestsPerConnection;
  // One more: Node drops headers above its cap, and a request with a dropped header must be rejected.
  server.maxHeadersCount = options.maxFields + 1;
  setTargetCap(server, options.maxTargetBytes);
  Object.assign<Server, LateOptions>(server, {
    maxHeaderSize: options.maxHeadBytes,
    connectionsCheckingInterval: options.checkIntervalMs,
    // Node does not close the connection after its own rejection, so it would forward further requests of the same packet.
    requireHostHeader: false,
  });
  if (options.maxConnections > 0) server.maxConnections = options.maxConnections;

  const responses = new ConnectionResponses(options.events);
  const raw: ConnectionWatcher[] = [];
  // For TLS connections, bytes are counted inside of TLS.
  const inner = server instanceof TlsServer ? [] : raw;
  if (options.maxConnectionsPerAddress > 0) raw.push(new ConnectionCap(options, responses));
  if (options.minReceiveBytesPerSecond > 0 || options.sendTimeoutMs > 0)
    inner.push(new SlowConnections(options, responses));
  if (options.maxRequestsInProgress > 0) inner.push(new RequestFlows(server, options.maxRequestsInProgress, responses));
  watchConnections(server, 'connection', raw);
  if (inner !== raw) watchConnections(server, 'secureConnection', inner);
  server.on('clientError', (error: Error & { readonly code?: string }, socket: Duplex) => {
    if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && isInGrpcCall(socket)) return;
    // The client ended its side of the connection within a body: it has left, as after a reset (docs/decisions/0026).
    if (error.code === 'HPE_INVALID_EOF_STATE' && unreadOn(socket) !== undefined) {
      responses.left(socket);
      return;
    }
    const refusal = parserRefusal(error, socket);
    responses.refuse(socket, refusal?.cause, refusal?.detail);
  });
  if (server instanceof TlsServer) {
    // A second handshake is expensive, and could present another client certificate (TLS 1.2). HTTP/2 streams also pass here.
    server.on('secureConnection', (socket: Partial<TLSSocket>) => socket.disableRenegotiation?.());
    server.on('tlsClientError', (error, socket) => {
      if (isPlainHttp(error)) responses.refusePlain(socket);
      const detail = certificateRefusal(error, socket);
      if (detail !== undefined) responses.refusedInHandshake(socket, 'client_denied', detail);
    });
  }
  lookFirst(server, responses);
  continueWhenRead(server);
  server.on('checkExpectation', (req, res) => {
    responses.refuseUnseen(req, res, 'expectation_failed');
  });
  server.on('drop', (dropped) => {
    options.events?.emit('clientRefused', {
      cause: 'connection_limit',
      detail: `Connections allowed: ${server.maxConnections} (maxConnections, MAX_CONNECTIONS).`,
      port: dropped?.localPort,
      address: dropped?.remoteAddress,
      exchange: undefined,
    });
  });
  server.on('connect', (_req, socket) => {
    // The HTTP server has handed over the socket. Without a listener, an error on it would end the process.
    socket.on('error', () => socket.destroy());
    // An app may handle it itself.
    if (server.listenerCount('connect') === 1) responses.refuse(socket, 'method_not_allowed');
  });
  return server;
}

/** Whether a client is in the middle of a gRPC call: its stream of messages has no length, so no time bounds it. */
function isInGrpcCall(socket: Duplex): boolean {
  const req = unreadOn(socket);
  return req !== undefined && isGrpcCall(req);
}
