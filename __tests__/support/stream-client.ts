import { once } from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from 'node:http2';
import { addAbortSignal, type Duplex } from 'node:stream';
import { certificate } from './certificate.ts';
import type { TextClient } from './protocols.ts';
import { type RawMessage, WHITESPACE } from './raw-client.ts';

/** The status that stands for an accepted WebSocket in HTTP/1.1. */
const SWITCHED = 101;

/** Fields that HTTP/2 does not have; `host` is `:authority` there. */
const OF_HTTP_1 = new Set(['host', 'connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade']);

/** A response, and how many of the bytes that came it takes. */
interface Received {
  readonly message: RawMessage;
  readonly length: number;
}

/** Node 22 sends some headers only once: its client throws, and a response has the first. */
export const REPEATS_ALL = Number.parseInt(process.versions.node, 10) >= 24;

/** Tests send and get more headers than Node takes by default, and repeat those that may stand only once. */
const OPTIONS: SecureClientSessionOptions & { strictSingleValueFields: boolean } = {
  ca: certificate.cert,
  maxHeaderListPairs: 2_000,
  strictSingleValueFields: false,
};

/** Sends each request on a stream of one HTTP/2 connection. */
export class StreamClient implements TextClient {
  readonly #session: ClientHttp2Session;
  readonly #messages: Received[] = [];
  readonly #next: ((received: Received) => void)[] = [];
  #last: ClientHttp2Stream | undefined;
  /** Takes the rest of the content, and ends with it. */
  #content: ((bytes: Buffer) => void) | undefined;
  /** What came and was not taken, with heads and trailers as text. */
  #pending: Buffer[] = [];
  #wake: (() => void) | undefined;
  closedBy: string | undefined;

  private constructor(session: ClientHttp2Session) {
    this.#session = session;
  }

  static async connect(port: number): Promise<StreamClient> {
    const session = connect(`https://127.0.0.1:${port}`, OPTIONS);
    session.on('error', () => {});
    // They say whether it speaks WebSocket.
    await Promise.race([
      once(session, 'remoteSettings'),
      once(session, 'close').then(() => Promise.reject(new Error('closed before it began'))),
    ]);
    return new StreamClient(session);
  }

  get socket(): Duplex {
    return this.#last as Duplex;
  }

  get pending(): Buffer {
    this.#pending = [Buffer.concat(this.#pending)];
    return this.#pending[0] as Buffer;
  }

  send(text: string | Buffer): void {
    const bytes = Buffer.from(text as string, 'latin1');
    if (this.#content !== undefined) {
      this.#content(bytes);
      return;
    }
    const { headers, framing, length, end } = parsed(bytes);
    const stream = this.#session.request(headers, { endStream: framing === 'none' });
    this.#last = stream;
    this.closedBy = undefined;
    this.#hear(stream, framing === 'tunnel');
    if (framing === 'none') return;
    let left = framing === 'tunnel' ? Number.POSITIVE_INFINITY : length;
    const sendRest = (more: Buffer) => {
      stream.write(more);
      left -= more.length;
      if (left > 0) return;
      stream.end();
      this.#content = undefined;
    };
    this.#content = framing === 'chunked' ? chunkSender(stream) : sendRest;
    if (end < bytes.length) this.#content(bytes.subarray(end));
  }

  async response(): Promise<RawMessage> {
    const { message, length } =
      this.#messages.shift() ?? (await new Promise<Received>((resolve) => this.#next.push(resolve)));
    this.#pending = [this.pending.subarray(length)];
    return message;
  }

  async until(condition: (pending: Buffer) => boolean): Promise<void> {
    while (!condition(this.pending)) {
      if (this.closedBy !== undefined) throw new Error(`closed by ${this.closedBy} after ${this.pending}`);
      await this.#more();
    }
  }

  async closed(): Promise<void> {
    while (this.closedBy === undefined) await this.#more();
  }

  abort(): void {
    // Node's close() would end the content first, and so the request.
    if (this.#last) addAbortSignal(AbortSignal.abort(), this.#last);
    this.#content = undefined;
  }

  close(): void {
    // With a TLS connection there is no other way to leave at once.
    this.#session.destroy();
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #came(bytes: Buffer): number {
    this.#pending.push(bytes);
    this.#wake?.();
    return bytes.length;
  }

  #give(message: RawMessage, length: number): void {
    const waiting = this.#next.shift();
    if (waiting === undefined) this.#messages.push({ message, length });
    else waiting({ message, length });
  }

  #hear(stream: ClientHttp2Stream, asksForTunnel: boolean): void {
    const parts: Buffer[] = [];
    let head: readonly string[] = [];
    let length = 0;
    let isTunnel = false;
    stream.on('error', () => {});
    stream.on('headers', (_fields, _flags, raw) => {
      const informational = message(raw as never, Buffer.alloc(0), true);
      this.#give(informational, this.#came(asText(informational)));
    });
    stream.on('response', (fields, _flags, raw) => {
      head = raw as never;
      isTunnel = asksForTunnel && fields[':status'] === 200;
      const begun = { ...message(head, Buffer.alloc(0), true), ...(isTunnel && { status: SWITCHED }) };
      length = this.#came(asText(begun));
      if (isTunnel) this.#give(begun, length);
    });
    stream.on('data', (chunk: Buffer) => {
      if (!isTunnel) parts.push(chunk);
      length += this.#came(chunk);
    });
    stream.on('trailers', (_fields, _flags, raw) => {
      // On a line of their own, behind the content.
      length += this.#came(Buffer.from('\r\n')) + this.#came(asText(message(raw as never, Buffer.alloc(0), true)));
    });
    const closed = (by: string) => {
      this.closedBy ??= by;
      this.#wake?.();
    };
    // The response is whole when the server has ended it, even if the rest of the request is not sent.
    let isEnded = false;
    stream.on('end', () => {
      isEnded = stream.rstCode === 0;
      if (isEnded && isTunnel) closed('FIN');
    });
    stream.on('close', () => {
      closed(stream.rstCode === 0 ? 'FIN' : `RST_STREAM ${stream.rstCode}`);
      if (isTunnel) return;
      // The next one is another request, whatever this one had still to send.
      if (this.#last === stream) this.#content = undefined;
      this.#give(message(head, Buffer.concat(parts), isEnded && stream.rstCode === 0), length);
    });
  }
}

/** A request as HTTP/2 has it; an upgrade to WebSocket is an extended CONNECT (RFC 8441). */
function parsed(bytes: Buffer) {
  const end = bytes.indexOf('\r\n\r\n');
  const [line = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const [method = '', target = ''] = line.split(' ');
  const headers: OutgoingHttpHeaders = { ':method': method, ':path': target };
  let framing: 'none' | 'chunked' | 'length' | 'tunnel' = 'none';
  let length = 0;
  for (const one of lines) {
    const colon = one.indexOf(':');
    const name = one.slice(0, colon).toLowerCase();
    const value = one.slice(colon + 1).replace(WHITESPACE, '');
    if (name === 'host') headers[':authority'] = value;
    if (name === 'transfer-encoding') framing = 'chunked';
    if (name === 'content-length') length = Number(value);
    if (name === 'upgrade' && value === 'websocket') {
      Object.assign(headers, { ':method': 'CONNECT', ':protocol': value });
      framing = 'tunnel';
    }
    if (OF_HTTP_1.has(name)) continue;
    if (name === 'te') {
      if (/\btrailers\b/.test(value)) headers.te = 'trailers';
      continue;
    }
    headers[name] = headers[name] === undefined ? value : [headers[name], value].flat().map(String);
  }
  if (framing === 'none' && length > 0) framing = 'length';
  return { headers, framing, length, end: end + 4 };
}

/** Sends what is chunked in the text, and ends with the last chunk. */
function chunkSender(stream: ClientHttp2Stream): (bytes: Buffer) => void {
  // Of a chunk, with the line end behind it.
  let left = 0;
  return (bytes) => {
    for (let at = 0; at < bytes.length; ) {
      if (left > 0) {
        const part = bytes.subarray(at, at + left);
        const content = part.subarray(0, Math.max(left - 2, 0));
        if (content.length > 0) stream.write(content);
        at += part.length;
        left -= part.length;
        continue;
      }
      const lineEnd = bytes.indexOf('\r\n', at);
      const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
      if (Number.isNaN(size)) throw new Error('no chunk');
      if (size === 0) {
        if (bytes.indexOf('\r\n\r\n', at) !== -1) stream.end();
        return;
      }
      at = lineEnd + 2;
      left = size + 2;
    }
  };
}

/** As it would stand in HTTP/1.1. */
function asText({ startLine, status, fields }: RawMessage): Buffer {
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  return Buffer.from(`${status === 0 ? '' : `${startLine}\r\n`}${lines}\r\n`, 'latin1');
}

function message(raw: readonly string[], content: Buffer, framingComplete: boolean): RawMessage {
  const fields: (readonly [string, string])[] = [];
  let status = 0;
  for (let i = 0; i < raw.length; i += 2) {
    if (raw[i] === ':status') status = Number(raw[i + 1]);
    else fields.push([raw[i] as string, raw[i + 1] as string]);
  }
  const all = (name: string) => fields.filter(([key]) => key === name).map(([, value]) => value);
  return {
    startLine: `HTTP/2.0 ${status}`,
    status,
    fields,
    content,
    framingComplete,
    all,
    field: (name) => all(name)[0],
  };
}
