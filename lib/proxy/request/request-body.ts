import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { declaredLength } from '../../core/declared-length.ts';
import { endsSoon } from '../../core/unread-content.ts';

/** Is told why a body cannot be sent, once that turns out. */
export interface ContentOwner {
  contentRefused(cause: 'content_too_large' | 'content_already_read'): void;
}

/** What an attempt needs of the body of a request. */
export interface SendableContent {
  /** Whether another attempt can have all of it, from the start. */
  readonly replayable: boolean;
  /** Whether what the client still sends is short, or nothing: then it can be read for the sake of the connection. */
  readonly endsSoon: boolean;
  /** Whether the transport waits for the client, and not the other way round. */
  readonly starved: boolean;
  /** The body from its start, for one attempt. */
  reader(): Readable | Buffer;
  /** No attempt needs it any more. */
  drain(): void;
}

/** Where the bytes of a body come from. */
interface Source {
  pause(): unknown;
  resume(): unknown;
  isPaused(): boolean;
}

/**
 * Bytes that are kept for a backend that takes them more slowly than another reader of the same request draws them. That
 * reader sets the pace: it is never told to wait, unless it is a pipe.
 */
const MOST_AHEAD = 16_777_216;

/**
 * The body of a request, which more than one attempt may need. What has been taken from the client is kept as long
 * as it fits; the client is read no faster than the attempt of the moment takes it.
 *
 * It listens from the tick in which it is made. Whoever listened before (a meter, a hash) gets the same bytes, and takes none away.
 */
export class RequestContent implements SendableContent {
  readonly #req: IncomingMessage;
  readonly #source: Source;
  readonly #keepBytes: number;
  readonly #maxBytes: number;
  readonly #owner: ContentOwner;
  /** What the client said; `Infinity` when only the end tells. */
  readonly #length: number;
  #bytes = 0;
  #kept: Buffer[] | undefined = [];
  #keptBytes = 0;
  #reader: ContentReader | undefined;
  /** Whether an attempt has asked for it. */
  #asked = false;
  #ended: boolean;
  #drained = false;

  /**
   * @param keepBytes How much is kept for another attempt; 0 when there will be none once content was taken.
   * @param maxBytes How long the content may be; what goes beyond reaches no attempt. 0 for any length.
   */
  constructor(req: IncomingMessage, keepBytes: number, maxBytes: number, owner: ContentOwner) {
    this.#req = req;
    this.#keepBytes = keepBytes;
    this.#maxBytes = maxBytes;
    this.#owner = owner;
    this.#length = declaredLength(req);
    this.#ended = req.readableEnded;
    if (isDrawn(req)) {
      const shared = new SharedSource(this.#onData, this.#onEnd);
      req.pipe(shared as unknown as NodeJS.WritableStream);
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

  /** The reader before it gets no more. */
  reader(): Readable {
    this.#reader = new ContentReader(this, this.#kept ?? []);
    return this.#reader;
  }

  /** The rest is read and dropped, else a client still sending never reads the answer. */
  drain(): void {
    this.#drained = true;
    this.#kept = undefined;
    this.#reader = undefined;
    this.#detach();
    this.#req.resume();
  }

  /** A reader wants more. */
  pull(): void {
    this.#asked = true;
    if (this.#ended) this.#reader?.push(null);
    else this.#source.resume();
  }

  /** A reader was closed, by whatever became of its attempt. */
  release(reader: Readable): void {
    if (this.#reader !== reader) return;
    this.#reader = undefined;
    if (!this.#drained) this.#source.pause();
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#drained) return;
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
    // The backend must not take what is left for the whole.
    if (this.#bytes < this.#length && this.#length < Infinity) this.#refuse('content_already_read');
    else this.#reader?.push(null);
  };

  /** The reader never ends: its attempt is broken off, and no backend takes the beginning for the whole. */
  #refuse(cause: Parameters<ContentOwner['contentRefused']>[0]): void {
    this.#detach();
    this.#reader = undefined;
    this.#kept = undefined;
    this.#owner.contentRefused(cause);
  }

  #detach(): void {
    if (this.#source instanceof SharedSource) {
      this.#req.unpipe(this.#source as unknown as NodeJS.WritableStream);
    } else {
      this.#req.off('data', this.#onData);
      this.#req.off('end', this.#onEnd);
    }
  }

  /** Before the first attempt asks, what comes is what others draw: without it there would be no attempt at all. */
  #keep(chunk: Buffer): void {
    if (this.#kept === undefined) return;
    this.#keptBytes += chunk.length;
    const most = this.#asked ? this.#keepBytes : Math.max(this.#keepBytes, MOST_AHEAD);
    if (this.#keptBytes > most) this.#kept = undefined;
    else this.#kept.push(chunk);
  }
}

/** Whether somebody draws a body already, so that it would flow whatever we say. */
function isDrawn(req: IncomingMessage): boolean {
  return req.readableFlowing === true || req.listenerCount('data') > 0 || req.listenerCount('readable') > 0;
}

/** The end of a pipe. Where a request flows into several, it flows no faster than the slowest of them takes it. */
class SharedSource extends EventEmitter implements Source {
  readonly write: (chunk: Buffer) => boolean;
  readonly end: () => void;
  #isPaused = true;

  constructor(onData: (chunk: Buffer) => void, onEnd: () => void) {
    super();
    this.write = (chunk) => {
      onData(chunk);
      return !this.#isPaused;
    };
    this.end = onEnd;
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

/**
 * The stream that undici is given. undici destroys it, whatever happens; the client's request behind it must
 * outlive a failed attempt.
 */
class ContentReader extends Readable {
  readonly #content: RequestContent;
  readonly #before: readonly Buffer[];
  #next = 0;

  constructor(content: RequestContent, before: readonly Buffer[]) {
    super();
    this.#content = content;
    // What comes later is appended to the original.
    this.#before = [...before];
  }

  override _read(): void {
    while (this.#next < this.#before.length) {
      if (!this.push(this.#before[this.#next++])) return;
    }
    this.#content.pull();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#content.release(this);
    callback(error);
  }
}
