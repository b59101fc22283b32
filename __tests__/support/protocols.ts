import { createServer, type Server } from 'node:http';
import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from 'node:http2';
import { addAbortSignal } from 'node:stream';
import type { Express } from 'express';
import { certificate } from './certificate.ts';
import { http2ServerOf } from './http2.ts';
import { RawClient, type RawMessage, WHITESPACE } from './raw-client.ts';

/** A client that sends requests written as HTTP/1.1, and gives responses as such, whatever it speaks. */
export interface TextClient {
  send(text: string | Buffer): void;
  /** The next response; informational ones are given like any other. */
  response(method?: string): Promise<RawMessage>;
  /** Gives up the request under way: resets its stream, or the connection where it has no other. */
  abort(): void;
  /** Leaves without a word in the protocol. */
  close(): void;
}

/** A protocol that clients may speak: the same tests hold for each. */
export interface Protocol {
  readonly name: string;
  readonly serverOf: (app: Express) => Server;
  connect(port: number): Promise<TextClient>;
  /** One request on a connection of its own. */
  request(port: number, text: string, method?: string): Promise<RawMessage>;
}

async function once(client: TextClient, text: string, method?: string): Promise<RawMessage> {
  try {
    client.send(text);
    return await client.response(method);
  } finally {
    client.close();
  }
}

const HTTP_1: Protocol = {
  name: 'HTTP/1.1',
  serverOf: createServer,
  connect: (port) => RawClient.connect(port),
  request: async (port, text, method) => once(await RawClient.connect(port), text, method),
};

const HTTP_2: Protocol = {
  name: 'HTTP/2',
  serverOf: http2ServerOf(),
  connect: async (port) => new StreamClient(port),
  request: async (port, text, method) => once(new StreamClient(port), text, method),
};

export const PROTOCOLS: readonly Protocol[] = [HTTP_1, HTTP_2];

/** Fields that HTTP/2 does not have; `host` is `:authority` there. */
const OF_HTTP_1 = new Set(['host', 'connection', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'upgrade']);

/** Sends each request on a stream of one HTTP/2 connection. */
class StreamClient implements TextClient {
  readonly #session: ClientHttp2Session;
  readonly #messages: Promise<RawMessage>[] = [];
  readonly #next: ((message: RawMessage) => void)[] = [];
  #last: ClientHttp2Stream | undefined;
  /** Takes the rest of the content, and ends with it. */
  #content: ((bytes: Buffer) => void) | undefined;

  constructor(port: number) {
    this.#session = connect(`https://127.0.0.1:${port}`, { ca: certificate.cert });
    this.#session.on('error', () => {});
  }

  send(text: string | Buffer): void {
    const bytes = Buffer.from(text as string, 'latin1');
    if (this.#content !== undefined) {
      this.#content(bytes);
      return;
    }
    const end = bytes.indexOf('\r\n\r\n');
    const [line = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
    const [method = '', target = ''] = line.split(' ');
    const headers: OutgoingHttpHeaders = { ':method': method, ':path': target };
    let isChunked = false;
    let left = 0;
    for (const one of lines) {
      const colon = one.indexOf(':');
      const name = one.slice(0, colon).toLowerCase();
      const value = one.slice(colon + 1).replace(WHITESPACE, '');
      if (name === 'host') headers[':authority'] = value;
      if (name === 'transfer-encoding') isChunked = true;
      if (name === 'content-length') left = Number(value);
      if (OF_HTTP_1.has(name)) continue;
      if (name === 'te') {
        if (/\btrailers\b/.test(value)) headers.te = 'trailers';
        continue;
      }
      headers[name] = headers[name] === undefined ? value : [headers[name], value].flat().map(String);
    }
    const hasContent = isChunked || left > 0;
    const stream = this.#session.request(headers, { endStream: !hasContent });
    this.#last = stream;
    this.#hear(stream);
    if (!hasContent) return;
    this.#content = (more) => {
      if (isChunked) {
        sendChunks(stream, more);
        return;
      }
      left -= more.length;
      stream.write(more);
      if (left > 0) return;
      stream.end();
      this.#content = undefined;
    };
    if (end + 4 < bytes.length) this.#content(bytes.subarray(end + 4));
  }

  response(): Promise<RawMessage> {
    const message = this.#messages.shift();
    if (message !== undefined) return message;
    return new Promise((resolve) => this.#next.push(resolve));
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

  #give(message: RawMessage): void {
    const waiting = this.#next.shift();
    if (waiting === undefined) this.#messages.push(Promise.resolve(message));
    else waiting(message);
  }

  #hear(stream: ClientHttp2Stream): void {
    const parts: Buffer[] = [];
    let head: readonly string[] = [];
    stream.on('error', () => {});
    stream.on('headers', (_fields, _flags, raw) => this.#give(message(raw as never, Buffer.alloc(0), true)));
    stream.on('response', (_fields, _flags, raw) => {
      head = raw as never;
    });
    stream.on('data', (chunk: Buffer) => parts.push(chunk));
    // The response is whole when the server has ended it, even if the rest of the request is not sent.
    let isEnded = false;
    stream.on('end', () => {
      isEnded = stream.rstCode === 0;
    });
    stream.on('close', () => this.#give(message(head, Buffer.concat(parts), isEnded && stream.rstCode === 0)));
  }
}

/** Sends what is chunked in the text. Whole chunks only: a part of one is its bytes so far. */
function sendChunks(stream: ClientHttp2Stream, bytes: Buffer): void {
  let at = 0;
  while (at < bytes.length) {
    const lineEnd = bytes.indexOf('\r\n', at);
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
    if (size === 0) {
      if (bytes.indexOf('\r\n\r\n', at) !== -1) stream.end();
      return;
    }
    stream.write(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 2 + size + 2;
  }
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
