import { type Framing, MalformedRequest, trailerLines } from './stream-request.ts';

const NO_BYTES = Buffer.alloc(0);

/** The content of a stream, as the content of an HTTP/1.1 request. Its methods throw if it is malformed (RFC 9113 §8.1.1). */
export class RequestContent {
  readonly #framing: Framing;
  /** Remaining bytes of the length that the client announced. */
  #left: number;
  #trailers = '';
  #isDone: boolean;

  constructor(framing: Framing, length: number) {
    this.#framing = framing;
    this.#left = length;
    this.#isDone = framing === 'none';
  }

  /** Whether the HTTP/1.1 request is complete. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /**
   * @returns the bytes for the HTTP/1.1 request.
   * @throws {MalformedRequest}
   */
  part(bytes: Buffer): Buffer {
    // In chunked coding, an empty chunk would end the content.
    if (this.#framing === 'tunnel' || bytes.length === 0) return bytes;
    if (this.#framing === 'chunked') return chunked(bytes);
    this.#left -= bytes.length;
    if (this.#left < 0) throw new MalformedRequest('The content is longer than content-length.');
    if (this.#left === 0) this.#isDone = true;
    return bytes;
  }

  /** @throws {MalformedRequest} */
  trailers(raw: readonly string[]): void {
    this.#trailers = trailerLines(raw);
  }

  /**
   * @returns the last bytes of the HTTP/1.1 request.
   * @throws {MalformedRequest}
   */
  end(): Buffer {
    if (this.#left > 0) throw new MalformedRequest('The content is shorter than content-length.');
    this.#isDone = true;
    return this.#framing === 'chunked' ? Buffer.from(`0\r\n${this.#trailers}\r\n`, 'latin1') : NO_BYTES;
  }
}

/** A chunk of chunked content (RFC 9112 §7.1), in one piece. */
function chunked(bytes: Buffer): Buffer {
  const size = `${bytes.length.toString(16)}\r\n`;
  const chunk = Buffer.allocUnsafe(size.length + bytes.length + 2);
  chunk.write(size, 0, 'latin1');
  bytes.copy(chunk, size.length);
  chunk.write('\r\n', size.length + bytes.length, 'latin1');
  return chunk;
}
