/** Ends the head of a request, chunked content, and its trailers. */
const BLANK_LINE = Buffer.from('\r\n\r\n');
const CR = 13;
const LF = 10;
/** Two empty lines, which some clients send behind content (RFC 9112 §2.2). */
const MOST_BLANK_BYTES = 4;
/** More than a version is long. */
const LINE_END_LENGTH = 16;
const ENDS_IN_VERSION = / HTTP\/\d[\d.]*\r?$/;

/** Cuts the bytes of one connection where a request may end, whatever Node's parser makes of them. */
export class RequestPieces {
  /** Whether the piece ends where a head or chunked content may end, or with content of known length. */
  isEnd = false;
  /** Bytes of content that are still to come, where its length is known. */
  #left = 0;
  /** The last bytes that were read, if a blank line may have begun in them. */
  #tail = '';
  #blankBytes = 0;
  /** The last characters of a request line that has not ended yet; nothing behind it. */
  #line: string | undefined = '';

  get hasManyBlankLines(): boolean {
    return this.#blankBytes > MOST_BLANK_BYTES;
  }

  /** Gives where a request may begin. */
  skipBlank(chunk: Buffer, start: number): number {
    let at = start;
    while (chunk[at] === CR || chunk[at] === LF) at += 1;
    this.#blankBytes += at - start;
    return at;
  }

  /** The parser has read a head, whose content is so long; 0 for chunks. */
  began(length: number): void {
    this.#left = length;
  }

  endOfPiece(chunk: Buffer, at: number): number {
    this.isEnd = true;
    if (this.#left > 0) {
      const length = Math.min(this.#left, chunk.length - at);
      this.#left -= length;
      return at + length;
    }
    if (at === 0 && this.#tail !== '') {
      const rest = restOfBlankLine(this.#tail, chunk);
      if (rest > 0) return rest;
    }
    const found = chunk.indexOf(BLANK_LINE, at);
    if (found !== -1) return found + BLANK_LINE.length;
    this.isEnd = false;
    this.#tail = `${this.#tail}${chunk.toString('latin1', Math.max(at, chunk.length - 3))}`.slice(-3);
    return chunk.length;
  }

  /** Node's parser takes a line without a version for HTTP/0.9, and waits for fields; and one of RTSP for HTTP. */
  isLineGood(chunk: Buffer, at: number, end: number): boolean {
    if (this.#line === undefined) return true;
    const lineEnd = chunk.indexOf(LF, at);
    const isWhole = lineEnd !== -1 && lineEnd < end;
    const until = isWhole ? lineEnd : end;
    const line = `${this.#line}${chunk.toString('latin1', Math.max(at, until - LINE_END_LENGTH), until)}`;
    this.#line = isWhole ? undefined : line.slice(-LINE_END_LENGTH);
    return !isWhole || ENDS_IN_VERSION.test(line);
  }

  /** The parser has the piece. */
  taken(): void {
    if (this.isEnd) this.#tail = '';
    else this.#left = 0;
  }

  /** The parser has read a whole request. */
  ended(): void {
    this.#left = 0;
    this.#line = this.isEnd ? '' : undefined;
    this.#blankBytes = 0;
  }
}

/** How many bytes of a chunk end the blank line that bytes before it may have begun. */
function restOfBlankLine(tail: string, chunk: Buffer): number {
  const text = tail + chunk.toString('latin1', 0, 3);
  const found = text.indexOf('\r\n\r\n');
  return found === -1 ? 0 : found + BLANK_LINE.length - tail.length;
}
