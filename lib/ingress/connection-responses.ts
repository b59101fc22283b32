import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { markEnded } from '../core/broken-off.ts';
import { CAUSES } from '../core/causes.ts';
import { below, resetConnection } from '../core/connection.ts';
import type { ClientRefusedEvent } from '../core/events.ts';
import { type Exchange, exchangeOf } from '../core/exchange.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import { linger } from '../core/last-response.ts';
import type { RejectionCause } from '../core/outcome.ts';
import { rawProblem } from '../core/problem.ts';
import { endApart, rejectWith } from '../core/reject.ts';

/** The response in progress on a connection of Node's HTTP server, if there is one. */
export function responseOn(socket: Duplex): ServerResponse | undefined {
  // Node's own error handling reads it too. A list of our own would cost each request a listener.
  return (socket as { _httpMessage?: ServerResponse | null })._httpMessage ?? undefined;
}

/** The request whose body Node's parser is reading on a connection, if there is one. Its response may have been sent already. */
export function unreadOn(socket: Duplex): IncomingMessage | undefined {
  const req = (socket as { parser?: { incoming?: IncomingMessage | null } | null }).parser?.incoming;
  return req == null || req.complete ? undefined : req;
}

/** Responds to clients whose bytes never reach a middleware, once for each connection, and ends the connection. */
export class ConnectionResponses {
  readonly #events: GatewayEvents | undefined;
  /** Connections that are being ended. Further errors on them are ignored. */
  readonly #ending = new WeakSet<Duplex>();

  constructor(events: GatewayEvents | undefined) {
    this.#events = events;
  }

  /** @param cause `undefined` when the client has gone. */
  refuse(socket: Duplex, cause: RejectionCause | undefined, detail?: string): void {
    if (this.#ending.has(socket)) return;
    this.#ending.add(socket);
    if (cause === undefined) {
      // An error that the app passes to its response comes here as well, from the connection that it has destroyed.
      if (!socket.destroyed) markEnded(socket);
      socket.destroy();
      return;
    }
    const res = responseOn(socket);
    if (res !== undefined && !res.req.complete) {
      this.#refuseContent(socket, res, cause, detail);
      return;
    }
    // No response after the last one of the connection, nor for the body of a request that has its response: the client would take it
    // for the response to its next request.
    const responds = res === undefined && socket.writable && unreadOn(socket) === undefined;
    this.#tell(socket, cause, { detail, responds });
    if (res === undefined) {
      if (responds) socket.write(rawProblem(cause, detail), 'latin1');
      linger(socket);
    } else {
      // A complete request goes on. Only the bytes after it are rejected.
      endAfter(socket, res);
    }
  }

  /** Ends the connection of a client that ended its side within a body. The responses to other requests are still sent. */
  left(socket: Duplex): void {
    const res = responseOn(socket);
    if (res !== undefined && !res.req.complete) {
      this.refuse(socket, undefined);
      return;
    }
    this.#ending.add(socket);
    if (res === undefined) linger(socket);
    else endAfter(socket, res);
  }

  /** Rejects a request before any middleware sees it. */
  refuseUnseen(req: IncomingMessage, res: ServerResponse, cause: RejectionCause, detail?: string): void {
    const event = refusal(req.socket, cause, { detail, responds: true });
    rejectWith(exchangeOf(req, res), { kind: 'rejected', cause, detail }, this.#events, 'clientRefused', event);
  }

  /** Ends a request in progress whose body is invalid or does not come. */
  #refuseContent(socket: Duplex, res: ServerResponse, cause: RejectionCause, detail?: string): void {
    const exchange = exchangeOf(res.req, res);
    const outcome = { kind: 'rejected', cause, detail } as const;
    endApart(exchange, 'a client that broke off its request', () => {
      // This comes first, so that the aborted work does not report that the client left.
      exchange.settle(outcome);
      exchange.working?.abort();
      const event = refusal(socket, cause, { detail, exchange, responds: !res.headersSent });
      rejectWith(exchange, outcome, this.#events, 'clientRefused', event);
    });
  }

  /** Reports a client that sends requests before it has the response to the present one. */
  pipelined({ remoteAddress: address }: Socket): void {
    this.#events?.emit('clientPipelined', { address });
  }

  /** Reports a failed TLS handshake, which has ended the connection. */
  refusedInHandshake(socket: TLSSocket, cause: RejectionCause, detail: string): void {
    this.#tell(below(socket), cause, { detail });
  }

  /** Responds to a request that came without TLS. Node has ended the TLS connection, and not yet the one below it. */
  refusePlain(socket: TLSSocket): void {
    const plain = below(socket);
    const responds = plain !== socket && plain.writable;
    this.#tell(plain, 'bad_request', { detail: NEEDS_TLS, responds });
    if (responds) plain.on('error', () => {}).write(rawProblem('bad_request', NEEDS_TLS), 'latin1');
  }

  /** Ends a connection on which no response is due. */
  cut(socket: Socket, cause: RejectionCause, detail?: string): void {
    this.#ending.add(socket);
    const res = responseOn(socket);
    const exchange = res && exchangeOf(res.req, res);
    // Otherwise its record would say that the client left.
    exchange?.settle({ kind: 'rejected', cause, detail });
    this.#tell(socket, cause, { detail, exchange });
    markEnded(socket);
    resetConnection(socket);
  }

  #tell(socket: Duplex, cause: RejectionCause, more: RefusalFacts): void {
    this.#events?.emit('clientRefused', refusal(socket, cause, more));
  }
}

const NEEDS_TLS = 'This port speaks TLS only: use https:// in place of http://.';

interface RefusalFacts {
  readonly detail?: string | undefined;
  readonly exchange?: Exchange | undefined;
  /** Whether the client gets a response with the status of the cause. Default false. */
  readonly responds?: boolean;
}

function refusal(
  socket: Duplex,
  cause: RejectionCause,
  { detail, exchange, responds = false }: RefusalFacts,
): ClientRefusedEvent {
  const status = responds ? CAUSES[cause].status : undefined;
  return { cause, status, detail, address: (socket as Socket).remoteAddress, exchange };
}

/** Ends a connection after the responses in progress, because the requests before the invalid bytes are valid. */
export function endAfter(socket: Duplex, res: ServerResponse): void {
  res.once('close', () => {
    const next = responseOn(socket);
    if (next?.req.complete === true) endAfter(socket, next);
    else linger(socket);
  });
}
