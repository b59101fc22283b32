import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { declaredLength, endsSoon } from '../../core/unread-content.ts';
import { KeptBytes } from './kept-bytes.ts';

/** Decides what happens to a request whose body turns out to be unsendable. */
export interface BodyOwner {
  bodyRefused(cause: 'content_too_large' | 'content_already_read'): void;
}

/** The body of a request, for attempts to send it. */
export interface SendableBody {
  /** Whether another attempt can send the whole body. */
  readonly replayable: boolean;
  /** Whether the rest that the client sends is short: then it is read and dropped, to keep the connection. */
  readonly endsSoon: boolean;
  /** Whether the transport waits for the client to send more. */
  readonly starved: boolean;
  /** Whether the client has to wait until the transport takes more. */
  readonly isStalled: boolean;
  /** The body from its start, for one attempt. */
  reader(): Readable | Buffer;
  /** Call it when no further attempt needs the body. */
  drain(): void;
}

/** The source of the bytes of a body. */
interface Source {
  pause(): unknown;
  resume(): unknown;
  isPaused(): boolean;
}

/**
 * Bytes that are kept if another reader of the request is faster than the backend. That reader sets the pace, because only a pipe can be
 * made to wait.
 */
const MOST_AHEAD = 16_777_216;

/**
 * The body of a request, which more than one attempt may need. It keeps the bytes for another attempt while they fit, and reads the client
 * no faster than the current attempt takes them.
 *
 * It listens from the tick in which it is created. Earlier listeners (a meter, a hash) get the same bytes, and take none away.
 */
export class RequestBody implements SendableBody {
  readonly #req: IncomingMessage;
  readonly #source: Source;
  readonly #keepBytes: number;
  readonly #maxBytes: number;
  readonly #owner: BodyOwner;
  /** The length that the client announced, in bytes; `Infinity` for a body in chunks. */
  readonly #length: number;
  #bytes = 0;
  #kept: KeptBytes | undefined = new KeptBytes();
  #reader: BodyReader | undefined;
  /** Whether an attempt has asked for the body. */
  #asked = false;
  #ended: boolean;

  /**
   * @param keepBytes How many bytes are kept for another attempt; 0 if there will be none.
   * @param maxBytes Longest body in bytes; no attempt gets more. 0 for any length.
   */
  constructor(req: IncomingMessage, keepBytes: number, maxBytes: number, owner: BodyOwner) {
    this.#req = req;
    this.#keepBytes = keepBytes;
    this.#maxBytes = maxBytes;
    this.#owner = owner;
    this.#length = declaredLength(req);
    this.#ended = req.readableEnded;
    if (hasReader(req)) {
      const shared = new SharedSource(this.#onData, this.#onEnd);
      req.pipe(shared);
      this.#source = shared;
    } else {
      this.#source = req.pause();
      req.on('data', this.#onData);
      req.on('end', this.#onEnd);
    }
  }

  get replayable(): boolean {
    return this.#kept !== undefined;
  }

  get endsSoon(): boolean {
    return endsSoon(this.#req, this.#bytes);
  }

  get starved(): boolean {
    return this.#asked && !this.#req.complete && !this.#source.isPaused();
  }

  get isStalled(): boolean {
    return !this.#req.complete && this.#source.isPaused();
  }

  /** The previous reader gets no more bytes. */
  reader(): Readable {
    this.#reader = new BodyReader(this, this.#kept?.chunks() ?? []);
    return this.#reader;
  }

  /** Reads and drops the rest. Otherwise a client that still sends would never read the response. */
  drain(): void {
    this.#kept = undefined;
    this.#reader = undefined;
    this.#detach();
    this.#req.resume();
  }

  /** A reader asks for more. */
  pull(): void {
    this.#asked = true;
    if (this.#ended) this.#reader?.push(null);
    else this.#source.resume();
  }

  /** A reader was closed, because its attempt has ended. */
  release(reader: Readable): void {
    if (this.#reader !== reader) return;
    this.#reader = undefined;
    this.#source.pause();
  }

  readonly #onData = (chunk: Buffer | string): void => {
    // After `req.setEncoding()`: the original bytes are lost.
    if (typeof chunk === 'string') {
      this.#refuse('content_already_read');
      return;
    }
    this.#bytes += chunk.length;
    if (this.#maxBytes > 0 && this.#bytes > this.#maxBytes) {
      this.#refuse('content_too_large');
      return;
    }
    this.#keep(chunk);
    if (this.#reader?.push(chunk) !== false) return;
    this.#source.pause();
    if (this.#reader.readableLength > MOST_AHEAD) this.#refuse('content_already_read');
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
    // The backend must not take an incomplete body for the whole.
    if (this.#bytes < this.#length && this.#length < Infinity) this.#refuse('content_already_read');
    else this.#reader?.push(null);
  };

  /** The reader never ends: its attempt is aborted, so that no backend takes an incomplete body for the whole. */
  #refuse(cause: Parameters<BodyOwner['bodyRefused']>[0]): void {
    this.#detach();
    this.#reader = undefined;
    this.#kept = undefined;
    this.#owner.bodyRefused(cause);
  }

  #detach(): void {
    if (this.#source instanceof SharedSource) {
      this.#req.unpipe(this.#source);
    } else {
      this.#req.off('data', this.#onData);
      this.#req.off('end', this.#onEnd);
    }
  }

  /** Before the first attempt asks, only another reader makes the body flow. Those bytes must be kept for the first attempt. */
  #keep(chunk: Buffer): void {
    if (this.#kept === undefined) return;
    const most = this.#asked ? this.#keepBytes : Math.max(this.#keepBytes, MOST_AHEAD);
    if (this.#kept.length + chunk.length > most) this.#kept = undefined;
    else this.#kept.push(chunk);
  }
}

/** Whether another reader makes the body flow already: then pausing it has no effect. */
function hasReader(req: IncomingMessage): boolean {
  return req.listenerCount('data') > 0 || req.listenerCount('readable') > 0;
}

/** The end of a pipe. A request with several pipes flows no faster than the slowest of them. */
class SharedSource extends EventEmitter implements Source, NodeJS.WritableStream {
  readonly writable = true;
  readonly #onData: (chunk: Buffer | string) => void;
  readonly #onEnd: () => void;
  #isPaused = true;

  constructor(onData: (chunk: Buffer | string) => void, onEnd: () => void) {
    super();
    this.#onData = onData;
    this.#onEnd = onEnd;
  }

  write(chunk: Buffer | string): boolean {
    this.#onData(chunk);
    return !this.#isPaused;
  }

  end(): this {
    this.#onEnd();
    return this;
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.emit('drain');
  }

  isPaused(): boolean {
    return this.#isPaused;
  }
}

/** The stream for undici, which destroys it at the end of each attempt. The client's request must outlive a failed attempt. */
class BodyReader extends Readable {
  readonly #body: RequestBody;
  readonly #before: readonly Buffer[];
  #next = 0;

  constructor(body: RequestBody, before: readonly Buffer[]) {
    super();
    this.#body = body;
    this.#before = before;
  }

  override _read(): void {
    while (this.#next < this.#before.length) {
      if (!this.push(this.#before[this.#next++])) return;
    }
    this.#body.pull();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#body.release(this);
    callback(error);
  }
}
