import type { IncomingMessage, RequestListener, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { exchangeOf } from '../../core/exchange.ts';
import { isPromise } from '../../core/http.ts';
import { linger } from '../../core/last-response.ts';
import { ServerResponse } from '../../core/node-http.ts';
import { OptionsError } from '../../core/options.ts';
import { respond } from '../../core/reject.ts';
import { declaredLength } from '../../core/unread-content.ts';
import { warnOfThrow, warnOnce } from '../../core/warnings.ts';
import { endAfter, responseOn } from '../../ingress/connection-responses.ts';
import { continueOnRead } from '../../ingress/first-look.ts';
import { watchNamed } from '../request/hop-by-hop.ts';
import { containThrows } from '../response/contain-throws.ts';
import { readUpgradeHandlerOptions, requestedProtocol, type UpgradeHandlerOptions } from './upgrade-protocols.ts';

const TAKEN =
  'Another upgrade listener of this server handled an upgrade that the option path of upgradeHandler() reserves for the app. ' +
  'A ws server made with { server, path } rejects all other paths: make it with { noServer: true }.';
const NO_PATH =
  'This server has other upgrade listeners, and upgradeHandler() has no option path: an upgrade that none of them handles at once ' +
  "goes to the app. Name the paths of the app: upgradeHandler(app, { path: '/api' }).";
const UNREADABLE = 'This server cannot read the body of a request that asks for another protocol.';

/** A listener for the `upgrade` event of a server. */
export interface UpgradeHandler {
  (req: IncomingMessage, socket: Duplex, head: Buffer): void;
  /**
   * Whether a request asks for an allowed protocol. As the server option `shouldUpgradeCallback` of newer Node versions, it lets
   * the server handle all other requests as usual, with keep-alive and body:
   * `createServer({ shouldUpgradeCallback: handler.accepts }, app)`.
   */
  accepts(req: IncomingMessage): boolean;
}

/** Timeout for other upgrade listeners to handle an upgrade on another path, in milliseconds. Then its connection is closed. */
const UNCLAIMED_MS = 10_000;

/**
 * Sends protocol upgrades through the same Express app as every other request. So all middlewares of the app (authentication, limiter,
 * circuit breaker, proxy) apply to them too, and rejected upgrades get real HTTP responses:
 *
 * ```ts
 * server.on('upgrade', upgradeHandler(app));
 * ```
 *
 * Without it Node closes upgrade requests. A request for a protocol that is not configured, with a body, or in HTTP/1.0, gets an
 * ordinary response, as if it had not asked for an upgrade (RFC 9110 §7.8), and its connection is closed. Node before 24 does not read
 * the body there: such a request gets 501.
 *
 * The server may have other listeners for `upgrade`, such as those of socket.io and ws. Then the handler waits until they have
 * run, and ignores an upgrade that one of them handles. The option `path` names the upgrades for this app.
 *
 * @param app The Express app (or any Node request listener) that `roundRobinProxy()` is mounted in.
 * @throws {OptionsError} that names each unknown key and each bad value, and when `app` is not a function.
 */
export function upgradeHandler(app: RequestListener, options?: UpgradeHandlerOptions): UpgradeHandler {
  if (typeof app !== 'function') {
    const problem = `app must be the Express app that the proxy is mounted in, as in upgradeHandler(app), got ${typeof app}`;
    throw new OptionsError('upgradeHandler', [problem]);
  }
  const { protocols, path, owns } = readUpgradeHandlerOptions(options);

  function takeUnlessTaken(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    const taken = isTaken(req, socket);
    if (taken && path !== undefined) warnOnce(req, 'WARN_EXPRESSWAY_UPGRADE_LISTENERS', TAKEN, TAKEN);
    if (!taken && path === undefined) warnOnce(req, 'WARN_EXPRESSWAY_UPGRADE_LISTENERS', NO_PATH, NO_PATH);
    if (!taken) pass(app, protocols, req, socket, head);
  }

  return Object.assign(
    function expresswayUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
      // The HTTP server no longer listens to the socket. Without a listener, an error on it would end the process.
      socket.on('error', () => socket.destroy());
      const isOwn = owns(req);
      if (upgradeListeners(req) < 2) pass(app, isOwn ? protocols : NONE, req, socket, head);
      else if (isOwn) process.nextTick(takeUnlessTaken, req, socket, head);
      else setTimeout(() => isTaken(req, socket) || socket.destroy(), UNCLAIMED_MS).unref();
    },
    {
      accepts: (req: IncomingMessage) =>
        requestedProtocol(req, protocols) !== undefined && (owns(req) || upgradeListeners(req) > 1),
    },
  );
}

const NONE: ReadonlySet<string> = new Set();

const upgradeListeners = ({ socket }: IncomingMessage): number =>
  (socket as Socket & { server?: Server }).server?.listenerCount('upgrade') ?? 0;

/** Whether another listener reads from a socket, has ended it, or responds on it. Node itself leaves it without a reader. */
function isTaken(req: IncomingMessage, socket: Duplex): boolean {
  if (socket.destroyed || socket.writableEnded || responseOn(socket)?.req === req) return true;
  return socket.listenerCount('data') > 0 || socket.listenerCount('readable') > 0;
}

/** Calls the app with the request and a response on its socket. */
function pass(
  app: RequestListener,
  protocols: ReadonlySet<string>,
  req: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): void {
  watchNamed(req);
  const earlier = responseOn(socket);
  if (earlier !== undefined || !socket.writable) {
    // The client did not wait for an earlier response on this connection, and an upgrade cannot wait for it here.
    if (earlier !== undefined) endAfter(socket, earlier);
    return;
  }
  const res = new ServerResponse(req);
  const threw = (what: string, error: unknown): void => {
    warnOfThrow(app, 'WARN_EXPRESSWAY_LISTENER', `${what} threw during an upgrade, and its connection was cut`, error);
    socket.destroy();
  };
  for (const emitter of [req, res, socket]) containThrows(emitter, threw);
  res.shouldKeepAlive = false;
  res.assignSocket(socket as never);
  // Node does this only while its HTTP server has the socket. Without it, a long response never ends.
  socket.on('drain', () => {
    if (res.writableNeedDrain) res.emit('drain');
  });
  // As in Node's own server, a client that ends before the response has left. After the upgrade, the tunnel handles the end.
  const left = (): void => {
    if (responseOn(socket) === res) socket.end();
  };
  if (socket.readableEnded) left();
  else socket.once('end', left);
  res.once('finish', () => {
    res.detachSocket(socket as never);
    linger(socket);
    // Node emits it only for responses of its own HTTP server.
    res.emit('close');
  });
  const protocol = requestedProtocol(req, protocols);
  if (protocol !== undefined) exchangeOf(req, res).upgrade = { socket, head, protocol };
  else if (declaredLength(req) > 0 && req.complete && req.readableLength === 0) {
    respond(exchangeOf(req, res), { kind: 'rejected', cause: 'upgrade_not_supported', detail: UNREADABLE });
    return;
  } else if (req.headers.expect?.toLowerCase() === '100-continue') continueOnRead(req, res);
  try {
    const returned: unknown = app(req, res);
    if (isPromise(returned)) returned.then(undefined, (error) => threw('The app', error));
  } catch (error) {
    threw('The app', error);
  }
}
