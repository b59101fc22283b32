import { type IncomingMessage, type RequestListener, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { declaredLength } from '../core/declared-length.ts';
import { exchangeOf } from '../core/exchange.ts';
import { linger } from '../core/last-answer.ts';
import { sendProblem } from '../core/problem.ts';
import { answerOn, endAfter } from '../ingress/answers.ts';
import { watchNamed } from './hop-by-hop.ts';
import { readUpgradeProtocols, requestedProtocol, type UpgradeHandlerOptions } from './upgrade-protocols.ts';

const UNREADABLE = 'This server cannot read the content of a request that asks for another protocol.';

/** A listener for the `upgrade` event of a server. */
export interface UpgradeHandler {
  (req: IncomingMessage, socket: Duplex, head: Buffer): void;
  /**
   * Whether a request asks for a protocol that may be switched to. Where Node has the server option
   * `shouldUpgradeCallback`, giving it this one keeps all other requests on the server's ordinary path, with kept
   * connections and content: `createServer({ shouldUpgradeCallback: handler.accepts }, app)`.
   */
  accepts(req: IncomingMessage): boolean;
}

/**
 * Sends protocol upgrades through the same Express app as every other request, so that what is mounted
 * there (authentication, limiter, circuit, proxy) applies to them too, and refusals are real HTTP answers:
 *
 * ```ts
 * server.on('upgrade', upgradeHandler(app));
 * ```
 *
 * Without it Node closes upgrade requests. A request that asks for another protocol than those configured, with content,
 * or in HTTP/1.0, is answered as if it had not asked (RFC 9110 §7.8), and its connection closed. Node before 24 does not
 * read content there: such a request gets 501.
 *
 * @param app The Express app (or any Node request listener) that `roundRobinProxy()` is mounted in.
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function upgradeHandler(app: RequestListener, options?: UpgradeHandlerOptions): UpgradeHandler {
  const protocols = readUpgradeProtocols(options);
  return Object.assign(
    function expresswayUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): void {
      // The HTTP server has let go of the socket: without a listener an error on it would end the process.
      socket.on('error', () => socket.destroy());
      watchNamed(req);
      const earlier = answerOn(socket);
      if (earlier !== undefined || !socket.writable) {
        // Sent before the answer to another request was read: it cannot wait here until the connection is its own.
        if (earlier !== undefined) endAfter(socket, earlier);
        return;
      }
      const res = new ServerResponse(req);
      res.shouldKeepAlive = false;
      res.assignSocket(socket as never);
      // Node does this only as long as its HTTP server has the socket: without it a large refusal never ends.
      socket.on('drain', () => {
        if (res.writableNeedDrain) res.emit('drain');
      });
      // As Node's own server does: a client that ends before its answer has left. Once there is a tunnel, the end is the tunnel's.
      const left = (): void => {
        if (answerOn(socket) === res) socket.end();
      };
      if (socket.readableEnded) left();
      else socket.once('end', left);
      res.once('finish', () => {
        res.detachSocket(socket as never);
        linger(socket);
        // Node says so only of the responses that its HTTP server made.
        res.emit('close');
      });
      const protocol = requestedProtocol(req, protocols);
      if (protocol !== undefined) exchangeOf(req, res).upgrade = { socket, head, protocol };
      else if (declaredLength(req) > 0 && req.complete && req.readableLength === 0) {
        sendProblem(res, 'upgrade_not_supported', { detail: UNREADABLE });
        return;
      }
      app(req, res);
    },
    { accepts: (req: IncomingMessage) => requestedProtocol(req, protocols) !== undefined },
  );
}
