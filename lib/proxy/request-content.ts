import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { endsSoon } from '../core/unread-content.ts';

/** Is told when content turns out to be longer than it may be. */
export interface ContentOwner {
  contentTooLarge(): void;
}

/**
 * A request's content, which more than one attempt may need. What has been taken from the client is kept as long
 * as it fits; the client is read no faster than the attempt of the moment takes it.
 */
export class RequestContent {
  readonly #req: IncomingMessage;
  readonly #keepBytes: number;
  readonly #maxBytes: number;
  readonly #owner: ContentOwner | undefined;
  #bytes = 0;
  #kept: Buffer[] | undefined = [];
  #keptBytes = 0;
  #reader: ContentReader | undefined;
  #listening = false;
  #drained = false;

  /**
   * @param keepBytes How much is kept for another attempt; 0 when there will be none once content was taken.
   * @param maxBytes How long the content may be; what goes beyond reaches no attempt. 0 for any length.
   */
  constructor(req: IncomingMessage, keepBytes: number, maxBytes = 0, owner?: ContentOwner) {
    this.#req = req;
    this.#keepBytes = keepBytes;
    this.#maxBytes = maxBytes;
    this.#owner = owner;
  }

  /** Whether another attempt can have all of it, from the start. */
  get replayable(): boolean {
    return this.#kept !== undefined;
  }

  /** Whether its rest is short, or there is none: then it can be read for the sake of the connection. */
  get endsSoon(): boolean {
    return endsSoon(this.#req, this.#bytes);
  }

  /** Whether the transport waits for the client, and not the other way round. */
  get starved(): boolean {
    return this.#listening && !this.#req.complete && !this.#req.isPaused();
  }

  /** The content from its start, for one attempt. The reader before it gets no more. */
  reader(): Readable {
    this.#reader = new ContentReader(this, this.#kept ?? []);
    return this.#reader;
  }

  /** No attempt needs it any more: the rest is read and dropped, else a client still sending never reads the answer. */
  drain(): void {
    this.#drained = true;
    this.#kept = undefined;
    this.#reader = undefined;
    this.#req.resume();
  }

  /** A reader wants more. */
  pull(): void {
    if (!this.#listening) {
      this.#listening = true;
      this.#req.on('data', this.#onData);
      this.#req.on('end', this.#onEnd);
    }
    if (this.#req.readableEnded) this.#onEnd();
    else this.#req.resume();
  }

  /** A reader was closed, by whatever became of its attempt. */
  release(reader: Readable): void {
    if (this.#reader !== reader) return;
    this.#reader = undefined;
    if (!this.#drained) this.#req.pause();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#bytes += chunk.length;
    if (this.#maxBytes > 0 && this.#bytes > this.#maxBytes && !this.#drained) {
      this.#tooLarge();
      return;
    }
    this.#keep(chunk);
    if (this.#reader?.push(chunk) === false) this.#req.pause();
  };

  readonly #onEnd = (): void => {
    this.#reader?.push(null);
  };

  /** The reader never ends: its attempt is broken off, and no backend takes the beginning for the whole. */
  #tooLarge(): void {
    this.#req.off('data', this.#onData);
    this.#req.off('end', this.#onEnd);
    this.#reader = undefined;
    this.#kept = undefined;
    this.#owner?.contentTooLarge();
  }

  #keep(chunk: Buffer): void {
    if (this.#kept === undefined) return;
    this.#keptBytes += chunk.length;
    if (this.#keptBytes > this.#keepBytes) this.#kept = undefined;
    else this.#kept.push(chunk);
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
