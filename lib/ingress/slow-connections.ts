import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { isGrpcCall } from '../core/grpc.ts';
import type { ConnectionWatcher } from './client-connections.ts';
import { type ConnectionResponses, responseOn, unreadOn } from './connection-responses.ts';
import type { HardenServerSettings } from './harden-server-options.ts';

/** State of a connection at the last check. */
interface Progress {
  received: number;
  /** Bytes by which the client is behind the required rate. */
  owed: number;
  taken: number;
  /** Milliseconds for which bytes of the response waited, and the client read none. */
  stalledMs: number;
}

type Bounds = Pick<
  HardenServerSettings,
  'minReceiveBytesPerSecond' | 'receiveGraceMs' | 'sendTimeoutMs' | 'checkIntervalMs'
>;

/**
 * Ends connections whose clients send a body too slowly, or do not read their responses. One coarse timer checks all connections, so
 * requests need no timers of their own.
 */
export class SlowConnections implements ConnectionWatcher {
  readonly #bounds: Bounds;
  readonly #mostOwed: number;
  readonly #responses: ConnectionResponses;
  /** `undefined` for connections on which no check has found a request in progress: most connections are idle. */
  readonly #progress = new Map<Socket, Progress | undefined>();
  #timer: NodeJS.Timeout | undefined;
  #lookedAt = 0;

  constructor(bounds: Bounds, responses: ConnectionResponses) {
    this.#bounds = bounds;
    this.#mostOwed = (bounds.minReceiveBytesPerSecond * bounds.receiveGraceMs) / 1_000;
    this.#responses = responses;
  }

  opened(socket: Socket): void {
    this.#progress.set(socket, undefined);
    if (this.#timer !== undefined) return;
    this.#lookedAt = Date.now();
    this.#timer = setInterval(() => this.#due(), this.#bounds.checkIntervalMs).unref();
  }

  closed(socket: Socket): void {
    this.#progress.delete(socket);
  }

  /** A process that was held up first reads the bytes that arrived meanwhile: they count as sent in time. */
  #due(): void {
    const dueAt = Date.now();
    setImmediate(() => this.#look(dueAt));
  }

  #look(dueAt: number): void {
    // The process may have been stopped, or the wall clock set: clients must not lose their connections for that.
    const elapsedMs = Math.max(0, Math.min(dueAt - this.#lookedAt, 2 * this.#bounds.checkIntervalMs));
    this.#lookedAt = dueAt;
    for (const [socket, progress] of this.#progress) this.#judge(socket, progress, elapsedMs);
    if (this.#progress.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #judge(socket: Socket, known: Progress | undefined, elapsedMs: number): void {
    const { sendTimeoutMs } = this.#bounds;
    const req = responseOn(socket)?.req ?? unreadOn(socket);
    if (req === undefined) {
      if (known === undefined) return;
      known.owed = 0;
      known.stalledMs = 0;
      return;
    }
    const progress = known ?? { received: 0, owed: 0, taken: 0, stalledMs: 0 };
    if (known === undefined) this.#progress.set(socket, progress);
    if (this.#sendsTooSlowly(socket, req, progress, elapsedMs)) {
      this.#progress.delete(socket);
      this.#responses.refuse(socket, 'client_timeout');
    } else if (sendTimeoutMs > 0 && takesNothing(socket, progress, elapsedMs) && progress.stalledMs >= sendTimeoutMs) {
      this.#progress.delete(socket);
      this.#responses.cut(socket, 'client_timeout');
    }
  }

  #sendsTooSlowly(socket: Socket, req: IncomingMessage, progress: Progress, elapsedMs: number): boolean {
    const { bytesRead } = socket;
    const received = bytesRead - progress.received;
    progress.received = bytesRead;
    // With a full buffer, the server does not read: the client could not send faster. A gRPC call may stay open without a message.
    if (req.complete || req.readableLength >= req.readableHighWaterMark || isGrpcCall(req)) {
      progress.owed = 0;
      return false;
    }
    const due = (this.#bounds.minReceiveBytesPerSecond * elapsedMs) / 1_000;
    // Never below 0: a client that was fast at first gets no credit for it.
    progress.owed = Math.max(0, progress.owed + due - received);
    return this.#mostOwed > 0 && progress.owed >= this.#mostOwed;
  }
}

function takesNothing(socket: Socket, progress: Progress, elapsedMs: number): boolean {
  const waiting = socket.writableLength;
  const taken = socket.bytesWritten - waiting;
  const stalled = waiting > 0 && taken === progress.taken;
  progress.taken = taken;
  progress.stalledMs = stalled ? progress.stalledMs + elapsedMs : 0;
  return stalled;
}
