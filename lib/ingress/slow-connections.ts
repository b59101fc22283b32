import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { isGrpcCall } from '../core/grpc.ts';
import type { ConnectionWatcher } from './client-connections.ts';
import { type ConnectionResponses, responseOn, unreadOn } from './connection-responses.ts';
import type { HardenServerSettings } from './harden-server-options.ts';

/** How far a client has come at the last look. */
interface Progress {
  received: number;
  /** Bytes that it should have sent and has not. */
  owed: number;
  taken: number;
  /** Milliseconds for which something waited to be taken, and nothing was. */
  stalledMs: number;
}

type Bounds = Pick<
  HardenServerSettings,
  'minReceiveBytesPerSecond' | 'receiveGraceMs' | 'sendTimeoutMs' | 'checkIntervalMs'
>;

/**
 * Ends connections whose clients send content too slowly, or do not take their responses. One coarse timer looks at all
 * of them: the requests themselves pay nothing for it.
 */
export class SlowConnections implements ConnectionWatcher {
  readonly #bounds: Bounds;
  readonly #mostOwed: number;
  readonly #responses: ConnectionResponses;
  /** Nothing for those on which no look has found a request in progress: most connections are idle. */
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

  /** A process that was held up first reads what came meanwhile: it counts as sent in time. */
  #due(): void {
    const dueAt = Date.now();
    setImmediate(() => this.#look(dueAt));
  }

  #look(dueAt: number): void {
    // A process that was stopped, or a clock that was set, is not for the clients to pay for.
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
    // A full buffer means that the client is not read from: it could not send faster. A call of gRPC may stay open without a message.
    if (req.complete || req.readableLength >= req.readableHighWaterMark || isGrpcCall(req)) {
      progress.owed = 0;
      return false;
    }
    const due = (this.#bounds.minReceiveBytesPerSecond * elapsedMs) / 1_000;
    // Never below nothing: who was fast at first gets no credit for it.
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
