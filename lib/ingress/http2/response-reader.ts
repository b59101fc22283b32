/** Receives the parts of a response from a {@link ResponseReader}. */
export interface ResponseSink {
  /** The head of an informational response, 100 to 199. */
  informational(status: number, lines: readonly string[]): void;
  /** The head of the response. */
  head(status: number, lines: readonly string[], framing: ResponseFraming): void;
  /** Bytes of the content, or of the new protocol after a switch. */
  content(bytes: Buffer, isLast: boolean): void;
  /** Chunked content has ended. `lines` are its trailers. */
  trailers(lines: readonly string[]): void;
}

/** How a reader finds the end of a response: no content, a known length, chunks, or the end of the connection. */
export type ResponseFraming = 'none' | 'length' | 'chunked' | 'close' | 'tunnel';

type State = 'head' | 'length' | 'size' | 'data' | 'data-end' | 'trailers' | 'close' | 'done';

const LF = 10;
const CHUNK_SIZE = /^[\da-f]{1,8}(?=$|[ \t;])/i;
const STATUS_LINE = /^HTTP\/1\.1 (\d{3})(?: |$)/;
const HIGH = /[^\0-\x7f]/;
/** Bytes of a response head: far more than an app sends. */
const MOST_HEAD_LENGTH = 1_048_576;
const NO_LINES: readonly string[] = [];

/** An app wrote bytes to its connection that are not an HTTP/1.1 response. */
export class BadResponse extends Error {}

/**
 * Parses the responses that an HTTP/1.1 server writes to a connection in memory. The server is our own, so this is not a parser for
 * untrusted input. It makes sure that an incomplete response never looks complete, and leaves checks of fields to HTTP/2.
 */
export class ResponseReader {
  readonly #sink: ResponseSink;
  #state: State = 'done';
  /** The part of a head, of a chunk line or of trailers that has arrived. */
  #text = '';
  /** Remaining bytes of the content, or of the present chunk. */
  #left = 0;
  #method = '';
  #mayTunnel = false;
  #trailers: string[] = [];

  constructor(sink: ResponseSink) {
    this.#sink = sink;
  }

  /** Whether the response is complete. */
  get isDone(): boolean {
    return this.#state === 'done';
  }

  /** Whether the end of the connection is the end of the response. */
  get endsWithConnection(): boolean {
    return this.#state === 'close';
  }

  /** Whether the head has come, and content is still due by its length or its chunks. */
  get lacksContent(): boolean {
    return this.#state !== 'head' && this.#state !== 'close' && this.#state !== 'done';
  }

  /** Prepares for the response to a request. */
  begin(method: string, mayTunnel: boolean): void {
    this.#state = 'head';
    this.#method = method;
    this.#mayTunnel = mayTunnel;
    this.#text = '';
  }

  /** @throws {BadResponse} */
  read(piece: string | Buffer, encoding: BufferEncoding): void {
    let rest: Buffer;
    if (this.#state === 'head') {
      const behind = this.#readHead(piece, encoding);
      if (behind === undefined) return;
      rest = behind;
    } else {
      rest = typeof piece === 'string' ? Buffer.from(piece, encoding) : piece;
    }
    let at = 0;
    while (at < rest.length) at = this.#readPart(rest, at);
  }

  /** @returns the bytes after the head; `undefined` if the head is incomplete. */
  #readHead(piece: string | Buffer, encoding: BufferEncoding): Buffer | undefined {
    let text: string;
    let source: string | Buffer = piece;
    if (typeof piece === 'string' && (encoding === 'latin1' || !HIGH.test(piece))) {
      text = piece;
    } else {
      source = typeof piece === 'string' ? Buffer.from(piece, encoding) : piece;
      text = source.toString('latin1');
    }
    if (this.#text !== '') {
      text = this.#text + text;
      source = text;
    }
    const end = text.indexOf('\r\n\r\n');
    if (end === -1) {
      if (text.length > MOST_HEAD_LENGTH) throw new BadResponse('The head of the response is too long.');
      this.#text = text;
      return undefined;
    }
    this.#text = '';
    this.#began(text.slice(0, end));
    if (end + 4 === text.length) return undefined;
    // One character of this text is one byte.
    const rest = typeof source === 'string' ? Buffer.from(source.slice(end + 4), 'latin1') : source.subarray(end + 4);
    if (this.#state !== 'head') return rest;
    return this.#readHead(rest, 'latin1');
  }

  #began(head: string): void {
    const lines = head.split('\r\n');
    const status = Number(STATUS_LINE.exec(lines[0] as string)?.[1] ?? Number.NaN);
    if (Number.isNaN(status)) throw new BadResponse('The response has no status line.');
    if (status < 200 && status !== 101) {
      this.#sink.informational(status, lines);
      return;
    }
    const framing = this.#framingOf(status, lines);
    // Before the call of the sink, which may end the connection.
    this.#state =
      framing === 'none' ? 'done' : framing === 'chunked' ? 'size' : framing === 'length' ? 'length' : 'close';
    this.#sink.head(status, lines, framing);
  }

  #framingOf(status: number, lines: readonly string[]): ResponseFraming {
    const isTunnel = this.#mayTunnel && (status === 101 || (this.#method === 'CONNECT' && status < 300));
    if (isTunnel) return 'tunnel';
    if (status === 101) throw new BadResponse('The response switches protocols without a request for it.');
    if (this.#method === 'HEAD' || status === 204 || status === 304) return 'none';
    let length: number | undefined;
    for (let i = 1; i < lines.length; i += 1) {
      const line = lines[i] as string;
      // `Transfer-Encoding` has 17 characters, `Content-Length` 14.
      if (line.charCodeAt(17) === 58 && /^transfer-encoding:/i.test(line)) {
        if (line.slice(18).trim().toLowerCase() === 'chunked') return 'chunked';
        throw new BadResponse('The response has a transfer coding, which HTTP/2 does not have.');
      }
      if (line.charCodeAt(14) !== 58 || !/^content-length:/i.test(line)) continue;
      const value = line.slice(15).trim();
      if (!/^\d{1,16}$/.test(value) || (length !== undefined && length !== Number(value))) {
        throw new BadResponse('The response has an invalid length.');
      }
      length = Number(value);
    }
    if (length === undefined) return 'close';
    this.#left = length;
    return length === 0 ? 'none' : 'length';
  }

  /** @returns the index of the next part. */
  #readPart(bytes: Buffer, at: number): number {
    switch (this.#state) {
      case 'length':
      case 'data': {
        const end = Math.min(bytes.length, at + this.#left);
        this.#left -= end - at;
        const isLast = this.#left === 0 && this.#state === 'length';
        if (isLast && end < bytes.length) throw new BadResponse('The response is longer than its length.');
        if (this.#left === 0) this.#state = isLast ? 'done' : 'data-end';
        this.#sink.content(at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end), isLast);
        return end;
      }
      case 'close':
        this.#sink.content(at === 0 ? bytes : bytes.subarray(at), false);
        return bytes.length;
      case 'size':
      case 'data-end':
      case 'trailers': {
        const end = bytes.indexOf(LF, at);
        this.#text += bytes.toString('latin1', at, end === -1 ? bytes.length : end + 1);
        if (end === -1) {
          if (this.#text.length > MOST_HEAD_LENGTH) throw new BadResponse('A line of the response is too long.');
          return bytes.length;
        }
        const line = this.#text.slice(0, this.#text.endsWith('\r\n') ? -2 : -1);
        this.#text = '';
        this.#readLine(line);
        return end + 1;
      }
      default:
        throw new BadResponse('Bytes follow the end of the response.');
    }
  }

  #readLine(line: string): void {
    if (this.#state === 'data-end') {
      if (line !== '') throw new BadResponse('A chunk is longer than its length.');
      this.#state = 'size';
    } else if (this.#state === 'size') {
      const size = CHUNK_SIZE.exec(line)?.[0];
      if (size === undefined) throw new BadResponse('A chunk has no length.');
      this.#left = Number.parseInt(size, 16);
      this.#state = this.#left === 0 ? 'trailers' : 'data';
    } else if (line !== '') {
      this.#trailers.push(line);
    } else {
      this.#state = 'done';
      const trailers = this.#trailers.length === 0 ? NO_LINES : this.#trailers;
      if (trailers !== NO_LINES) this.#trailers = [];
      this.#sink.trailers(trailers);
    }
  }
}
