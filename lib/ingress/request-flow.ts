import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { kHttp2 } from '../core/connection.ts';
import type { RejectionCause } from '../core/outcome.ts';
import { afterTurn } from './after-turn.ts';
import { ChunkOverhead } from './chunk-overhead.ts';
import { type ConnectionResponses, responseOn } from './connection-responses.ts';
import { type EarlyGate, noteAdmitted } from './early-gate.ts';
import { RequestPieces } from './request-pieces.ts';
import type { SharedReadBuffer } from './shared-read-buffer.ts';

const kFlow = Symbol('expressway.requestFlow');

type Flowing = Socket & {
  [kFlow]?: RequestFlow | undefined;
  /** net.Server stores itself on each connection that it accepts. */
  readonly server?: Server;
  /** `undefined` once Node has ended HTTP on it. */
  parser?: object | null;
  /** Set by Node's HTTP server while responses are buffered and it wants no more requests. It resumes the socket itself. */
  _paused?: boolean;
};

const EMPTY = Buffer.alloc(0);
/**
 * Bytes after the request in progress, above which reading stops. Up to then it goes on, because Node notices that a client has left
 * only while it reads.
 */
const MOST_BEHIND_BYTES = 16_384;
/** Milliseconds for which such a connection may stay unread while its client waits for a response. */
const LONGEST_UNREAD_MS = 10_000;

/** The gate of a server, which may be set later. */
export interface Gates {
  readonly gate: EarlyGate | undefined;
}

/** What the connections of a server share. */
export interface FlowParts {
  /** Requests in progress on a connection. */
  readonly max: number;
  readonly responses: ConnectionResponses;
  readonly shared: SharedReadBuffer;
}

/** Puts a flow between a new connection and Node's parser. */
export function startFlow(socket: Socket, gates: Gates, parts: FlowParts): void {
  const [parse] = socket.listeners('data') as Parse[];
  if (parse === undefined) return;
  socket.removeListener('data', parse);
  (socket as Flowing)[kFlow] = new RequestFlow(socket, parse, gates, parts);
  // This also ends the fast path from the socket to the parser.
  socket.on('data', take);
  parts.shared.use(socket);
}

/** The flow of a connection. */
export function flowOf(socket: Duplex): RequestFlow | undefined {
  return (socket as Flowing)[kFlow];
}

type Parse = (this: Socket, chunk: Buffer) => void;

/** Listener for `data`. */
function take(this: Socket, chunk: Buffer): void {
  (this as Flowing)[kFlow]?.take(chunk);
}

/**
 * Passes the bytes of one connection to Node's parser in pieces that end where a request may end. The parser starts a request once it has the
 * head. So at most one request starts per piece, and bytes after the last request that may be in progress stay unread.
 */
export class RequestFlow {
  readonly #socket: Flowing;
  /** Node's own listener. */
  readonly #parse: Parse;
  readonly #gates: Gates;
  readonly #max: number;
  readonly #responses: ConnectionResponses;
  readonly #shared: SharedReadBuffer;
  readonly #pieces = new RequestPieces();
  /** The request whose body is being read. */
  #request: IncomingMessage | undefined;
  /** Overhead of that body, if it is chunked. */
  #overhead: ChunkOverhead | undefined;
  #isBetween = true;
  #inProgress = 0;
  /** Bytes after the requests in progress, while the next request waits for a response. */
  #behind: Buffer | undefined;
  #hasPipelined = false;
  #isOver = false;
  /** Whether the body of an upgrade request is being read. */
  #isUpgrading = false;
  /** Whether the connection was upgraded to another protocol. */
  isReleased = false;
  /** Whether the parser has read a complete request. */
  #hasEnded = false;
  /** The gate that has admitted the next request. */
  #admittedBy: EarlyGate | undefined;
  /** Bytes after the piece that is being parsed. */
  #rest: Buffer | undefined;

  constructor(socket: Socket, parse: Parse, gates: Gates, { max, responses, shared }: FlowParts) {
    this.#socket = socket;
    this.#parse = parse;
    this.#gates = gates;
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
        // No request may follow the last response of a connection (RFC 9112 §9.6).
        if (socket.writableEnded) return;
        at = this.#pieces.skipBlank(chunk, at);
        if (this.#pieces.hasManyBlankLines) this.#refuse('Too many empty lines come before a request.');
        if (at === chunk.length || this.#isOver) return;
        if (this.#gates.gate?.isShedding === true && this.#isRejected(this.#gates.gate, chunk, at)) return;
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
      // A copy, because Node keeps the bytes after the body of an upgrade, and the buffer is reused.
      this.#parse.call(socket, this.#isUpgrading ? Buffer.from(piece) : piece);
      if (this.#isUpgrading && socket.parser === null) {
        const rest = this.release(EMPTY);
        if (rest.length > 0) socket.unshift(rest);
        return;
      }
      if (this.#overhead !== undefined && this.#request === before && !this.#isOver) {
        this.#overhead.add(end - at);
        if (this.#overhead.isTooLong) this.#refuse(ChunkOverhead.LIMIT, 'content_too_large');
      }
      at = end;
      this.#pieces.taken();
      if (this.#request?.complete === true) this.#ended();
    }
  }

  /** Call it when the parser has read a head. */
  began(req: IncomingMessage, res: ServerResponse): void {
    if (this.#request === req) return;
    this.#request = req;
    if (this.#admittedBy !== undefined) {
      noteAdmitted(req, this.#admittedBy);
      this.#admittedBy = undefined;
    }
    const { 'transfer-encoding': coding, 'content-length': length } = req.headers;
    this.#pieces.began(coding === undefined && length !== undefined ? Number(length) : 0);
    this.#overhead = coding === undefined ? undefined : new ChunkOverhead(req);
    if (this.#max === 1) return;
    this.#inProgress += 1;
    res.once('close', () => {
      this.#inProgress -= 1;
    });
  }

  /** Ends HTTP on the connection after an upgrade. @returns the bytes of the other protocol that have been read. */
  release(head: Buffer): Buffer {
    this.#isOver = true;
    this.isReleased = true;
    this.#socket.removeListener('data', take);
    return Buffer.concat([head, this.#rest ?? EMPTY]);
  }

  /** Ends HTTP on the connection once the body of the upgrade request has been read. */
  releaseLater(): void {
    this.#isUpgrading = true;
  }

  get #isBehindFull(): boolean {
    return this.#behind !== undefined && this.#behind.length > MOST_BEHIND_BYTES;
  }

  get #isFull(): boolean {
    return this.#max === 1 ? responseOn(this.#socket) !== undefined : this.#inProgress >= this.#max;
  }

  /** Stops reading until the first response in progress is sent. */
  #wait(rest: Buffer): void {
    const socket = this.#socket;
    if (this.#isBetween && !this.#hasPipelined) {
      this.#hasPipelined = true;
      this.#responses.pipelined(socket);
    }
    const kept = this.#shared.has(rest) ? Buffer.from(rest) : rest;
    if (socket._paused === true) {
      // A flowing socket would emit the bytes again at once.
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
      // First undici puts the connection of that response back into its pool. Otherwise the next request would open another connection.
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

  /** Ends the connection after the responses in progress. */
  #giveUp(): void {
    if (this.#isOver || !this.#socket.isPaused()) return;
    this.#refuse(`More than ${MOST_BEHIND_BYTES} bytes came behind a request in progress.`, 'client_overload');
    this.#behind = EMPTY;
    this.#socket.resume();
  }

  /**
   * Asks the gate about the next request, with two exceptions that go to Node's parser. If the parser sees no request, it ends a new
   * connection after `headTimeoutMs`. If the client has not read its last response, Node's HTTP server limits the unread bytes.
   */
  #isRejected(gate: EarlyGate, chunk: Buffer, at: number): boolean {
    const socket = this.#socket;
    if (at > 0 || !this.#hasEnded || socket.writableLength > 0 || responseOn(socket) !== undefined) return false;
    // A server that shuts down ends connections with its responses. HTTP/2 streams need a response of Node's HTTP server.
    if (socket.server?.listening !== true || kHttp2 in socket) return false;
    const decision = gate.decide(chunk, socket);
    if (decision === 'admitted') this.#admittedBy = gate;
    if (typeof decision !== 'function') return decision === 'rejected';
    this.#respondLater(decision);
    return true;
  }

  /** Bytes that come until then wait, because responses must be in the order of their requests. */
  #respondLater(respond: () => void): void {
    this.#keep(EMPTY);
    afterTurn(this.#socket, () => {
      if (this.#socket.writable) respond();
      this.#goOn();
    });
  }

  #ended(): void {
    this.#request = undefined;
    this.#hasEnded = true;
    this.#overhead = undefined;
    // A lenient parser accepts other ends of a head. Then it may have read a part of the next request.
    this.#isBetween = this.#pieces.isEnd;
    this.#pieces.ended();
  }

  #refuse(detail: string, cause: RejectionCause = 'bad_request'): void {
    this.#isOver = true;
    this.#responses.refuse(this.#socket, cause, detail);
  }
}
