/** The end of a head, of a chunked body, and of its trailers. */
const BLANK_LINE = Buffer.from('\r\n\r\n');
const CR = 13;
const LF = 10;
/** Two empty lines, which some clients send after a body (RFC 9112 §2.2). */
const MOST_BLANK_BYTES = 4;
/** Characters of the request line that are kept; a version is shorter. */
const LINE_END_LENGTH = 16;
const ENDS_IN_VERSION = / HTTP\/\d[\d.]*\r?$/;
/** End of nearly all request lines. Comparing bytes is cheaper than making a string of them. */
const USUAL_END = Buffer.from(' HTTP/1.1\r\n');

/** Finds the places in the bytes of one connection at which a request may end, independently of Node's parser. */
export class RequestPieces {
  /** Whether the piece ends where a head or a chunked body may end, or at the end of a body of known length. */
  isEnd = false;
  /** Remaining bytes of a body of known length. */
  #left = 0;
  /** The last bytes that were read, if they may be the beginning of an empty line. */
  #tail = '';
  #blankBytes = 0;
  /** The last characters of an incomplete request line; empty after its end. */
  #line: string | undefined = '';

  get hasManyBlankLines(): boolean {
    return this.#blankBytes > MOST_BLANK_BYTES;
  }

  /** Index at which a request may begin. */
  skipBlank(chunk: Buffer, start: number): number {
    let at = start;
    while (chunk[at] === CR || chunk[at] === LF) at += 1;
    this.#blankBytes += at - start;
    return at;
  }

  /** Call it when the parser has read a head. @param length Length of the body; 0 for chunks. */
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

  /**
   * Whether a request line has a valid version, as far as it was read. Node's parser also accepts RTSP, and reads a line without a version
   * as HTTP/0.9 and waits for headers.
   */
  isLineGood(chunk: Buffer, at: number, end: number): boolean {
    if (this.#line === undefined) return true;
    const lineEnd = chunk.indexOf(LF, at);
    const isWhole = lineEnd !== -1 && lineEnd < end;
    if (isWhole && this.#line === '' && endsAsUsual(chunk, at, lineEnd)) {
      this.#line = undefined;
      return true;
    }
    const until = isWhole ? lineEnd : end;
    const line = `${this.#line}${chunk.toString('latin1', Math.max(at, until - LINE_END_LENGTH), until)}`;
    this.#line = isWhole ? undefined : line.slice(-LINE_END_LENGTH);
    return !isWhole || ENDS_IN_VERSION.test(line);
  }

  /** Call it when the parser has read the piece. */
  taken(): void {
    if (this.isEnd) this.#tail = '';
    else this.#left = 0;
  }

  /** Call it when the parser has read a complete request. */
  ended(): void {
    this.#left = 0;
    this.#line = this.isEnd ? '' : undefined;
    this.#blankBytes = 0;
  }
}

/** @param lineEnd Index of the line feed of a line that begins at `at`. */
function endsAsUsual(chunk: Buffer, at: number, lineEnd: number): boolean {
  const start = lineEnd + 1 - USUAL_END.length;
  if (start < at) return false;
  for (let i = 0; i < USUAL_END.length; i += 1) if (chunk[start + i] !== USUAL_END[i]) return false;
  return true;
}

/** Number of bytes of a chunk that complete an empty line which earlier bytes may have begun. */
function restOfBlankLine(tail: string, chunk: Buffer): number {
  const text = tail + chunk.toString('latin1', 0, 3);
  const found = text.indexOf('\r\n\r\n');
  return found === -1 ? 0 : found + BLANK_LINE.length - tail.length;
}
