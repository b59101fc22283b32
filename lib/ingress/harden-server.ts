import type { Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { type TLSSocket, Server as TlsServer } from 'node:tls';
import { OptionsError, resolveOptions } from '../core/options.ts';
import { ConnectionCap, type ConnectionWatcher, watchConnections } from './client-connections.ts';
import { ConnectionResponses } from './connection-responses.ts';
import { continueWhenRead, lookFirst } from './first-look.ts';
import { type HardenServerOptions, hardenServerChecks, hardenServerDefaults } from './harden-server-options.ts';
import { assertHttpServer } from './http-server.ts';
import { certificateRefusal, parserRefusal } from './parser-error.ts';
import { setTargetCap } from './request-checks.ts';
import { RequestFlows } from './request-flow.ts';
import { SlowConnections } from './slow-connections.ts';

/** What Node reads when a connection comes, or when the server begins to listen; its types know it at construction only. */
type LateOptions = { maxHeaderSize: number; connectionsCheckingInterval: number; requireHostHeader: boolean };

/**
 * Sets the bounds of a server for the open internet: times, sizes, rates and connections. Slow and too many clients lose
 * their connections, others notice nothing. What Node's parser refuses is answered with a problem document and a closed
 * connection, and so are CONNECT, unknown expectations and targets like `http://`, which Express shows to no middleware. `Expect: 100-continue` is answered when the content is read.
 * A request without `Host` is left to `requestGuard()` or `roundRobinProxy()`, which refuse it.
 *
 * ```ts
 * hardenServer(server, { maxConnections: 50_000 });
 * server.listen(8080);
 * ```
 *
 * @throws {OptionsError} that names each unknown key and each bad value, for a server that already listens, and for what is no server of `node:http` or `node:https`.
 */
export function hardenServer<S extends Server>(server: S, given?: HardenServerOptions): S {
  assertHttpServer('hardenServer', server);
  const options = resolveOptions('hardenServer', given, hardenServerDefaults, hardenServerChecks);
  if (server.listening) throw new OptionsError('hardenServer', ['the server must not listen yet']);
  server.headersTimeout = options.headTimeoutMs;
  server.requestTimeout = options.requestTimeoutMs;
  server.keepAliveTimeout = options.keepAliveTimeoutMs;
  server.maxRequestsPerSocket = options.maxRequestsPerConnection;
  // One more, so that one too many is seen where Node drops what is over: at its cap, a request is refused.
  server.maxHeadersCount = options.maxFields + 1;
  setTargetCap(server, options.maxTargetBytes);
  Object.assign<Server, LateOptions>(server, {
    maxHeaderSize: options.maxHeadBytes,
    connectionsCheckingInterval: options.checkIntervalMs,
    // Node's refusal is not the last response on its connection: what came behind it in the packet would be forwarded.
    requireHostHeader: false,
  });
  if (options.maxConnections > 0) server.maxConnections = options.maxConnections;

  const responses = new ConnectionResponses(options.events);
  const raw: ConnectionWatcher[] = [];
  // What a client has sent and taken is counted inside of TLS.
  const inner = server instanceof TlsServer ? [] : raw;
  if (options.maxConnectionsPerAddress > 0) raw.push(new ConnectionCap(options, responses));
  if (options.minReceiveBytesPerSecond > 0 || options.sendTimeoutMs > 0)
    inner.push(new SlowConnections(options, responses));
  if (options.maxRequestsInProgress > 0) inner.push(new RequestFlows(server, options.maxRequestsInProgress, responses));
  watchConnections(server, 'connection', raw);
  if (inner !== raw) watchConnections(server, 'secureConnection', inner);
  server.on('clientError', (error: Error, socket: Duplex) => {
    const refusal = parserRefusal(error, socket);
    responses.refuse(socket, refusal?.cause, refusal?.detail);
  });
  if (server instanceof TlsServer) {
    // A second handshake costs much, and could show another client certificate (TLS 1.2). Streams of HTTP/2 come this way as well.
    server.on('secureConnection', (socket: Partial<TLSSocket>) => socket.disableRenegotiation?.());
    server.on('tlsClientError', (error, socket) => {
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
      cause: 'overloaded',
      address: dropped?.remoteAddress,
      exchange: undefined,
    });
  });
  server.on('connect', (_req, socket) => {
    // The HTTP server has let go of the socket: without a listener an error on it would end the process.
    socket.on('error', () => socket.destroy());
    // An app may have its own use for it.
    if (server.listenerCount('connect') === 1) responses.refuse(socket, 'method_not_allowed');
  });
  return server;
}
