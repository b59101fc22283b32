const HEAD_END = '\r\n\r\n';
const MAX_HEAD = 16_384;

/** What a `MessageReader` tells; whatever it throws ends the reading. */
export interface MessageParts {
  /** @returns how many bytes of content follow. */
  head(head: string): number;
  /** Some of the content: `buffer` from `start` to `end`, at byte `position` of it. */
  content(buffer: Buffer, start: number, end: number, position: number): void;
  end(): void;
}

/** Cuts the bytes of a connection into HTTP/1.1 messages, content by its length and without a copy. */
export class MessageReader {
  readonly #parts: MessageParts;
  #head = '';
  #length = -1;
  #position = 0;

  constructor(parts: MessageParts) {
    this.#parts = parts;
  }

  push(buffer: Buffer, bytes = buffer.length): void {
    let at = 0;
    while (at < bytes)
      at = this.#length === -1 ? this.#readHead(buffer, at, bytes) : this.#readContent(buffer, at, bytes);
  }

  #readHead(buffer: Buffer, start: number, end: number): number {
    const before = this.#head.length;
    this.#head += buffer.toString('latin1', start, Math.min(end, start + MAX_HEAD));
    const headEnd = this.#head.indexOf(HEAD_END);
    if (headEnd === -1) {
      if (this.#head.length > MAX_HEAD) throw new Error('head too large');
      return end;
    }
    const head = this.#head.slice(0, headEnd + 2);
    this.#head = '';
    this.#position = 0;
    this.#length = this.#parts.head(head);
    if (this.#length === 0) this.#finish();
    return start + headEnd + HEAD_END.length - before;
  }

  #readContent(buffer: Buffer, start: number, end: number): number {
    const length = Math.min(end - start, this.#length - this.#position);
    this.#parts.content(buffer, start, start + length, this.#position);
    this.#position += length;
    if (this.#position === this.#length) this.#finish();
    return start + length;
  }

  #finish(): void {
    this.#length = -1;
    this.#parts.end();
  }
}

/** @throws {Error} for chunked content: everything that is sent here has a length, and a gateway has to leave it. */
export function contentLengthOf(head: string): number {
  if (/\r\ntransfer-encoding:/i.test(head)) throw new Error('chunked content');
  return Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
}
