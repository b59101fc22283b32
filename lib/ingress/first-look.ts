import type { Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { lastResponse } from '../core/last-response.ts';
import { IncomingMessage } from '../core/node-http.ts';
import type { ConnectionResponses } from './connection-responses.ts';
import { flowOf } from './request-flow.ts';
import { absoluteFault } from './request-target.ts';

type Emit = (event: string, ...args: unknown[]) => boolean;

/**
 * Checks each request of a server before the app sees it. It rejects targets in absolute form without a valid http authority, such as `http://`
 * or `http://?x`: Express passes some of them to no middleware, not even to `requestGuard()`.
 */
export function lookFirst(server: Server, responses: ConnectionResponses): void {
  // Not with listeners: they cannot stop later listeners of an app, and a listener for `upgrade` would change how Node handles upgrades.
  const emit: Emit = server.emit;
  function emitAfterLook(this: Server, event: string, ...args: unknown[]): boolean {
    switch (event) {
      case 'clientError': {
        // A copy, because listeners may keep it, and the buffer is reused.
        const [error] = args as [{ rawPacket?: Buffer }];
        if (error.rawPacket !== undefined) error.rawPacket = Buffer.from(error.rawPacket);
        break;
      }
      case 'request':
      case 'checkContinue':
      case 'checkExpectation': {
        const [req, res] = args as [IncomingMessage, ServerResponse];
        flowOf(req.socket)?.began(req, res);
        const fault = faultOf(req);
        if (fault === undefined) break;
        responses.refuseUnseen(req, res, fault.cause, fault.detail);
        return true;
      }
      case 'upgrade':
      case 'connect': {
        const [req, socket, head] = args as [IncomingMessage, Duplex, Buffer];
        const flow = flowOf(req.socket);
        if (socket === req.socket) args[2] = flow?.release(head) ?? head;
        else flow?.releaseLater();
        const fault = event === 'upgrade' ? faultOf(req) : undefined;
        if (fault === undefined) break;
        // The HTTP server has handed over the socket. Without a listener, an error on it would end the process.
        socket.on('error', () => socket.destroy());
        responses.refuse(socket, fault.cause, fault.detail);
        return true;
      }
    }
    return emit.call(this, event, ...args);
  }
  server.emit = emitAfterLook;
}

function faultOf({ url = '' }: IncomingMessage) {
  return url.startsWith('/') || url === '*' ? undefined : absoluteFault(url);
}

/** Makes a server respond to `Expect: 100-continue` by `continueOnRead()`. Does nothing if the app listens to `checkContinue` itself. */
export function continueWhenRead(server: Server): void {
  server.on('checkContinue', (req: IncomingMessage, res: ServerResponse) => {
    if (server.listenerCount('checkContinue') > 1) return;
    continueOnRead(req, res);
    server.emit('request', req, res);
  });
}

/**
 * Sends `100 Continue` when the app begins to read the body; Node alone responds at once. If the app rejects the request before, the client
 * gets only the final response, and need not send the body (RFC 9110 §10.1.1). That response is the last one on its connection: if the
 * client sends the body all the same, the server must not take it for a request.
 */
export function continueOnRead(req: IncomingMessage, res: ServerResponse): void {
  let isAwaited = true;
  req._read = function readAfterContinue(size: number): void {
    if (isAwaited && !res.headersSent && !res.destroyed) res.writeContinue();
    isAwaited = false;
    req._read = IncomingMessage.prototype._read;
    req._read(size);
  };
  const writeHead = res.writeHead as (...args: unknown[]) => ServerResponse;
  res.writeHead = function writeFinalHead(...args: unknown[]): ServerResponse {
    if (isAwaited) lastResponse(res);
    isAwaited = false;
    return writeHead.apply(res, args);
  };
}
