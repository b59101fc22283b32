import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { kHttp2 } from '../core/connection.ts';
import type { RejectionCause } from '../core/outcome.ts';
import type { ConnectionWatcher } from './client-connections.ts';
import { type ConnectionResponses, responseOn } from './connection-responses.ts';
import { RequestPieces } from './request-pieces.ts';
import { SharedReadBuffer } from './shared-read-buffer.ts';

const kFlow = Symbol('expressway.requestFlow');
const kFlows = Symbol('expressway.requestFlows');
const kAdmittedBy = Symbol('expressway.admittedBy');

type Admitted = IncomingMessage & { [kAdmittedBy]?: EarlyGate };

type Flowing = Socket & {
  [kFlow]?: RequestFlow | undefined;
  /** net.Server leaves itself on each connection that it accepts. */
  readonly server?: Server;
  /** Nothing once Node has ended HTTP on it. */
  parser?: object | null;
  /** Set by Node's HTTP server while it wants no more requests, because responses wait to be taken; it resumes the socket itself. */
  _paused?: boolean;
};

const EMPTY = Buffer.alloc(0);
/** Bytes of a request's chunk extensions in all, and of its trailers: as much as Node takes for one chunk (RFC 9112 §7.1.1 asks for a limit). */
const MOST_EXTENSION_BYTES = 16_384;
/** What a chunk needs: up to eight digits, and two line ends. */
const CHUNK_OVERHEAD = 12;
/**
 * Bytes that are read behind a request in progress: of a connection that is not read, nothing tells that its client has left. Those of
 * one read more may come.
 */
const MOST_BEHIND_BYTES = 16_384;
/** So long a client that has sent more may wait for a response. */
const LONGEST_UNREAD_MS = 10_000;

/** Decides about requests before Node's parser reads them. */
export interface EarlyGate {
  /** Whether it is to be asked. */
  readonly isShedding: boolean;
  /** Asked once for a request, whose bytes these are. One that it has rejected, it has answered. */
  decide(bytes: Buffer, socket: Socket): 'admitted' | 'rejected' | 'undecided';
}

/** Limits the requests in progress on each connection of a server. */
export class RequestFlows implements ConnectionWatcher {
  gate: EarlyGate | undefined;
  readonly #max: number;
  readonly #responses: ConnectionResponses;
  readonly #shared = new SharedReadBuffer(read);

  constructor(server: Server, max: number, responses: ConnectionResponses) {
    this.#max = max;
    this.#responses = responses;
    Object.assign(server, { [kFlows]: this });
  }

  opened(socket: Socket): void {
    const [parse] = socket.listeners('data') as Parse[];
    if (parse === undefined) return;
    socket.removeListener('data', parse);
    (socket as Flowing)[kFlow] = new RequestFlow(socket, parse, this, {
      max: this.#max,
      responses: this.#responses,
      shared: this.#shared,
    });
    // Ends the fast path from the socket to the parser, too.
    socket.on('data', take);
    this.#shared.use(socket);
  }

  closed(): void {}
}

/** The limits of the connections of a server, if it has them. */
export function flowsOf(server: Server): RequestFlows | undefined {
  return (server as { [kFlows]?: RequestFlows })[kFlows];
}

/** The limit of a connection, which hears what its parser has found. */
export function flowOf(socket: Duplex): RequestFlow | undefined {
  return (socket as Flowing)[kFlow];
}

/** Whether a gate has let a request in before it was read. */
export const wasAdmitted = (req: IncomingMessage, gate: EarlyGate): boolean => (req as Admitted)[kAdmittedBy] === gate;

type Parse = (this: Socket, chunk: Buffer) => void;

/** For `data`. */
function take(this: Socket, chunk: Buffer): void {
  (this as Flowing)[kFlow]?.take(chunk);
}

/** For reads into the shared buffer. Gives whether to go on reading. */
function read(this: Socket, chunk: Buffer): boolean {
  const flow = (this as Flowing)[kFlow] as RequestFlow;
  if (flow.isReleased) return this.push(Buffer.from(chunk));
  if (this.listenerCount('data') === 1) flow.take(chunk);
  // Other code listens too, like `linger()`, which stops reading after a while.
  else this.emit('data', Buffer.from(chunk));
  return true;
}

/**
 * Gives Node's parser the bytes of one connection in pieces that end where a request may end. The parser begins a request as soon as it has
 * its head; so no more than one begins per piece, and what comes behind the last one that may be in progress stays unread.
 */
export class RequestFlow {
  readonly #socket: Flowing;
  /** Node's own listener. */
  readonly #parse: Parse;
  readonly #flows: RequestFlows;
  readonly #max: number;
  readonly #responses: ConnectionResponses;
  readonly #shared: SharedReadBuffer;
  readonly #pieces = new RequestPieces();
  /** The one whose content is being read. */
  #request: IncomingMessage | undefined;
  #isChunked = false;
  /** Bytes of chunked content that are neither content nor what its chunks need. */
  #extra = 0;
  #isBetween = true;
  #inProgress = 0;
  /** What came behind the requests in progress, while the next one waits for a response. */
  #behind: Buffer | undefined;
  #hasPipelined = false;
  #isOver = false;
  /** Whether the content of a request for an upgrade is being read. */
  #isUpgrading = false;
  /** Whether the connection is for another protocol. */
  isReleased = false;
  /** Whether a request was read to its end. */
  #hasEnded = false;
  /** What has let the request in that is about to be read. */
  #admittedBy: EarlyGate | undefined;
  /** What came behind the piece that is being read. */
  #rest: Buffer | undefined;

  constructor(
    socket: Socket,
    parse: Parse,
    flows: RequestFlows,
    { max, responses, shared }: { max: number; responses: ConnectionResponses; shared: SharedReadBuffer },
  ) {
    this.#socket = socket;
    this.#parse = parse;
    this.#flows = flows;
    this.#max = max;
    this.#responses = responses;
    this.#shared = shared;
  }

  take(chunk: Buffer): void {
    if (this.#behind === undefined) this.#read(chunk);
    else this.#keep(Buffer.concat([this.#behind, chunk]));
  }

  #read(chunk: Buffer): void {
    const socket = this.#socket;
    let at = 0;
    while (at < chunk.length && !this.#isOver) {
      if (socket._paused === true || (this.#isBetween && this.#isFull)) {
        this.#wait(at === 0 ? chunk : chunk.subarray(at));
        return;
      }
      if (this.#isBetween) {
        // Nothing may follow the last response of a connection (RFC 9112 §9.6).
        if (socket.writableEnded) return;
        at = this.#pieces.skipBlank(chunk, at);
        if (this.#pieces.hasManyBlankLines) this.#refuse('Too many empty lines come before a request.');
        if (at === chunk.length || this.#isOver) return;
        if (this.#flows.gate?.isShedding === true && this.#isRejected(this.#flows.gate, chunk, at)) return;
        this.#isBetween = false;
      }
      const end = this.#pieces.endOfPiece(chunk, at);
      if (!this.#pieces.isLineGood(chunk, at, end)) {
        this.#refuse('The request line does not end in an HTTP version.');
        return;
      }
      this.#rest = end === chunk.length ? undefined : chunk.subarray(end);
      const before = this.#request;
      const piece = at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end);
      // Node keeps what comes behind such content.
      this.#parse.call(socket, this.#isUpgrading ? Buffer.from(piece) : piece);
      if (this.#isUpgrading && socket.parser === null) {
        const rest = this.release(EMPTY);
        if (rest.length > 0) socket.unshift(rest);
        return;
      }
      if (this.#isChunked && this.#request === before && !this.#isOver) this.#countExtra(end - at);
      at = end;
      this.#pieces.taken();
      if (this.#request?.complete === true) this.#ended();
    }
  }

  /** The parser has read a head. */
  began(req: IncomingMessage, res: ServerResponse): void {
    if (this.#request === req) return;
    this.#request = req;
    if (this.#admittedBy !== undefined) {
      (req as Admitted)[kAdmittedBy] = this.#admittedBy;
      this.#admittedBy = undefined;
    }
    const { 'transfer-encoding': coding, 'content-length': length } = req.headers;
    this.#pieces.began(coding === undefined && length !== undefined ? Number(length) : 0);
    this.#isChunked = coding !== undefined;
    if (this.#isChunked) {
      this.#extra = 0;
      const { push } = req;
      req.push = (piece: Buffer | null) => {
        if (piece !== null) this.#extra -= piece.length + CHUNK_OVERHEAD;
        return push.call(req, piece);
      };
    }
    if (this.#max === 1) return;
    this.#inProgress += 1;
    res.once('close', () => {
      this.#inProgress -= 1;
    });
  }

  /** The connection is for another protocol from here on. Gives what has come of it. */
  release(head: Buffer): Buffer {
    this.#isOver = true;
    this.isReleased = true;
    this.#socket.removeListener('data', take);
    return Buffer.concat([head, this.#rest ?? EMPTY]);
  }

  /** The connection is for another protocol when the content of the request is read. */
  releaseLater(): void {
    this.#isUpgrading = true;
  }

  get #isBehindFull(): boolean {
    return this.#behind !== undefined && this.#behind.length > MOST_BEHIND_BYTES;
  }

  get #isFull(): boolean {
    return this.#max === 1 ? responseOn(this.#socket) !== undefined : this.#inProgress >= this.#max;
  }

  /** Until the first response in progress is sent. */
  #wait(rest: Buffer): void {
    const socket = this.#socket;
    if (this.#isBetween && !this.#hasPipelined) {
      this.#hasPipelined = true;
      this.#responses.pipelined(socket);
    }
    const kept = this.#shared.has(rest) ? Buffer.from(rest) : rest;
    if (socket._paused === true) {
      // A socket that flows would give it back at once.
      socket.pause();
      socket.unshift(kept);
      return;
    }
    this.#keep(kept);
    const first = responseOn(socket);
    if (first === undefined) {
      setImmediate(() => this.#goOn());
      return;
    }
    const unread = setTimeout(() => this.#giveUp(), LONGEST_UNREAD_MS).unref();
    first.once('close', () => {
      clearTimeout(unread);
      // Later than undici puts the connection of that response back into its pool, or the next request would open another one.
      setImmediate(() => this.#goOn());
    });
  }

  #keep(bytes: Buffer): void {
    this.#behind = this.#isOver ? EMPTY : bytes;
    if (this.#isBehindFull) this.#socket.pause();
  }

  #goOn(): void {
    const socket = this.#socket;
    const behind = this.#behind ?? EMPTY;
    this.#behind = undefined;
    if (socket.destroyed) return;
    this.#read(behind);
    if (socket._paused !== true && !this.#isBehindFull) socket.resume();
  }

  /** The client gets the responses in progress, and no more. */
  #giveUp(): void {
    if (this.#isOver || !this.#socket.isPaused()) return;
    this.#refuse(`More than ${MOST_BEHIND_BYTES} bytes came behind a request in progress.`, 'client_overload');
    this.#behind = EMPTY;
    this.#socket.resume();
  }

  /**
   * Not the first request on a connection: Node's parser would count the connection as one that sends nothing, and end it after
   * `headTimeoutMs`. Nor one behind a response that waits to be taken, which the HTTP server bounds.
   */
  #isRejected(gate: EarlyGate, chunk: Buffer, at: number): boolean {
    const socket = this.#socket;
    if (at > 0 || !this.#hasEnded || socket.writableLength > 0 || responseOn(socket) !== undefined) return false;
    // A server that shuts down ends connections with its responses. A stream of HTTP/2 gets its response from Node's HTTP server.
    if (socket.server?.listening !== true || kHttp2 in socket) return false;
    const decision = gate.decide(chunk, socket);
    if (decision === 'admitted') this.#admittedBy = gate;
    return decision === 'rejected';
  }

  /** Content is subtracted by then. A request that ends with this piece has ended: so much more than the limit may come in one read. */
  #countExtra(bytes: number): void {
    // Of a request that has its response, Node drops the content, and says no more how much of it there is.
    if ((this.#request as { readonly _dumped?: boolean } | undefined)?._dumped === true) return;
    this.#extra = Math.max(0, this.#extra + bytes);
    if (this.#extra <= MOST_EXTENSION_BYTES) return;
    this.#refuse(`Chunk extensions and trailers may have ${MOST_EXTENSION_BYTES} bytes in all.`, 'content_too_large');
  }

  #ended(): void {
    this.#request = undefined;
    this.#hasEnded = true;
    this.#isChunked = false;
    // Only a lenient parser takes something else for the end of a head: then a part of the next request may have been read.
    this.#isBetween = this.#pieces.isEnd;
    this.#pieces.ended();
  }

  #refuse(detail: string, cause: RejectionCause = 'bad_request'): void {
    this.#isOver = true;
    this.#responses.refuse(this.#socket, cause, detail);
  }
}
