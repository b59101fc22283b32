import { type IncomingMessage, type RequestListener, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { exchangeOf } from '../core/exchange.ts';

/** The only protocol that is switched to: its handshake is a plain request whose answer can be checked. */
export const WEBSOCKET = 'websocket';

/**
 * Sends protocol upgrades through the same Express app as every other request, so that what is mounted
 * there (authentication, limiter, circuit, proxy) applies to them too, and refusals are real HTTP answers:
 *
 * ```ts
 * server.on('upgrade', upgradeHandler(app));
 * ```
 *
 * Without it Node closes upgrade requests. A request that asks for another protocol than `websocket` is
 * answered as if it had not asked (RFC 9110 §7.8 allows a server to ignore `Upgrade`), and its connection closed.
 *
 * @param app The Express app (or any Node request listener) that `roundRobinProxy()` is mounted in.
 */
export function upgradeHandler(app: RequestListener): (req: IncomingMessage, socket: Duplex, head: Buffer) => void {
  return function expresswayUpgrade(req, socket, head) {
    // The HTTP server has let go of the socket: without a listener an error on it would end the process.
    socket.on('error', () => socket.destroy());
    const res = new ServerResponse(req);
    res.shouldKeepAlive = false;
    res.assignSocket(socket as never);
    res.once('finish', () => {
      res.detachSocket(socket as never);
      socket.end();
    });
    const protocol = req.headers.upgrade?.toLowerCase();
    if (protocol === WEBSOCKET && req.method === 'GET') exchangeOf(req, res).upgrade = { socket, head };
    app(req, res);
  };
}
