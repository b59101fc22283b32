import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';

/**
 * A request's content on its way to one backend. undici destroys the stream that it is given, whatever
 * happens: this one stands in front of the client's request, which must outlive a failed attempt.
 */
export class RequestContent extends Readable {
  readonly #req: IncomingMessage;
  #started = false;

  constructor(req: IncomingMessage) {
    super();
    this.#req = req;
  }

  /** Whether the transport waits for the client, and not the other way round. */
  get starved(): boolean {
    return this.#started && !this.readableEnded && !this.#req.isPaused() && !this.#req.complete;
  }

  /** Whether any content was taken from the client: then it cannot be sent to another backend. */
  get started(): boolean {
    return this.#started;
  }

  override _read(): void {
    if (!this.#started) {
      this.#started = true;
      this.#req.on('data', this.#onData);
      this.#req.on('end', this.#onEnd);
    }
    this.#req.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#req.off('data', this.#onData);
    this.#req.off('end', this.#onEnd);
    // What the backend did not want is read and dropped: else the client, still sending, never reads the answer.
    if (this.#started) this.#req.resume();
    callback(error);
  }

  readonly #onData = (chunk: Buffer): void => {
    if (!this.push(chunk)) this.#req.pause();
  };

  readonly #onEnd = (): void => {
    this.push(null);
  };
}
