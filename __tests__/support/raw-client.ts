import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { certificate } from './certificate.ts';

/** What may stand around a value (RFC 9110 §5.5). `trim()` would take U+00A0 as well, which is part of it. */
export const WHITESPACE = /^[ \t]+|[ \t]+$/g;

/** One HTTP/1 message as it stood on the wire. */
export interface RawMessage {
  readonly startLine: string;
  readonly status: number;
  /** Names in lower case, in order, repeats kept. */
  readonly fields: readonly (readonly [string, string])[];
  readonly content: Buffer;
  /** Whether the content ended as its framing said; a close-delimited one is complete at FIN. */
  readonly framingComplete: boolean;
  field(name: string): string | undefined;
  all(name: string): string[];
}

/** A client that sends the bytes it is told to, and parses framing itself, so that "cut" is a fact. */
export class RawClient {
  readonly socket: Socket;
  /** The connection under that of TLS, or the same. */
  readonly #transport: Socket;
  /** As they came: joined only when somebody looks, since joining at each one takes quadratic time. */
  #chunks: Buffer[] = [];
  #length = 0;
  #ended = false;
  #wake: (() => void) | undefined;
  /** How the other side closed: an orderly end, or an error code such as ECONNRESET. */
  closedBy: string | undefined;

  private constructor(socket: Socket, transport = socket) {
    this.socket = socket;
    this.#transport = transport;
    socket.on('data', (chunk) => {
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      this.#wake?.();
    });
    socket.on('end', () => this.#close('FIN'));
    socket.on('error', (error: NodeJS.ErrnoException) => this.#close(error.code ?? error.message));
    socket.on('close', () => this.#close('closed'));
  }

  get #buffer(): Buffer {
    if (this.#chunks.length !== 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] as Buffer;
  }

  set #buffer(rest: Buffer) {
    this.#chunks = [rest];
    this.#length = rest.length;
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new RawClient(socket);
  }

  static async connectTls(port: number): Promise<RawClient> {
    const transport = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const socket = connectTls({
      socket: transport,
      ca: certificate.cert,
      host: '127.0.0.1',
      allowHalfOpen: true,
    } as never);
    await once(socket, 'secureConnect');
    return new RawClient(socket, transport);
  }

  send(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  }

  /** Everything received and not yet taken by `response()`. */
  get pending(): Buffer {
    return this.#buffer;
  }

  /** Waits for the next bytes or the end. */
  async more(): Promise<boolean> {
    if (this.#ended) return false;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    return true;
  }

  async until(condition: (buffer: Buffer) => boolean): Promise<void> {
    while (!condition(this.#buffer)) {
      if (!(await this.more()) && !condition(this.#buffer)) {
        throw new Error(`closed by ${this.closedBy} after ${JSON.stringify(this.#buffer.toString('latin1'))}`);
      }
    }
  }

  async closed(): Promise<void> {
    while (!this.#ended) await this.more();
  }

  /** The next response; 1xx ones are given like any other. */
  async response(method = 'GET'): Promise<RawMessage> {
    await this.until((buffer) => buffer.includes('\r\n\r\n'));
    const end = this.#buffer.indexOf('\r\n\r\n');
    const [startLine = '', ...lines] = this.#buffer.subarray(0, end).toString('latin1').split('\r\n');
    this.#buffer = this.#buffer.subarray(end + 4);
    const fields = lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).replace(WHITESPACE, '')] as const;
    });
    const all = (name: string) => fields.filter(([key]) => key === name).map(([, value]) => value);
    const field = (name: string) => all(name)[0];
    const status = Number(startLine.split(' ')[1]);
    const { content, framingComplete } = await this.#content(method, status, field);
    return { startLine, status, fields, content, framingComplete, field, all };
  }

  async #content(
    method: string,
    status: number,
    field: (name: string) => string | undefined,
  ): Promise<{ content: Buffer; framingComplete: boolean }> {
    if (method === 'HEAD' || status < 200 || status === 204 || status === 304) {
      return { content: Buffer.alloc(0), framingComplete: true };
    }
    if (field('transfer-encoding')?.toLowerCase() === 'chunked') return this.#chunked();
    const length = field('content-length');
    if (length === undefined) {
      await this.closed();
      const content = this.#buffer;
      this.#buffer = Buffer.alloc(0);
      return { content, framingComplete: this.closedBy === 'FIN' };
    }
    const wanted = Number(length);
    while (this.#length < wanted && (await this.more()));
    const content = this.#buffer.subarray(0, wanted);
    this.#buffer = this.#buffer.subarray(content.length);
    return { content, framingComplete: content.length === wanted };
  }

  async #chunked(): Promise<{ content: Buffer; framingComplete: boolean }> {
    const parts: Buffer[] = [];
    for (;;) {
      while (!this.#buffer.includes('\r\n')) {
        if (!(await this.more())) return { content: Buffer.concat(parts), framingComplete: false };
      }
      const lineEnd = this.#buffer.indexOf('\r\n');
      const size = Number.parseInt(this.#buffer.subarray(0, lineEnd).toString('latin1'), 16);
      while (this.#length < lineEnd + 2 + size + 2) {
        if (!(await this.more())) return { content: Buffer.concat(parts), framingComplete: false };
      }
      parts.push(this.#buffer.subarray(lineEnd + 2, lineEnd + 2 + size));
      this.#buffer = this.#buffer.subarray(lineEnd + 2 + size + 2);
      if (size === 0) return { content: Buffer.concat(parts), framingComplete: true };
    }
  }

  close(): void {
    this.socket.destroy();
  }

  abort(): void {
    this.#transport.resetAndDestroy();
  }

  #close(how: string): void {
    this.closedBy ??= how;
    this.#ended = true;
    this.#wake?.();
  }
}

/** One request on a connection of its own. */
export async function rawRequest(port: number, bytes: string | Buffer, method = 'GET'): Promise<RawMessage> {
  const client = await RawClient.connect(port);
  try {
    client.send(bytes);
    return await client.response(method);
  } finally {
    client.close();
  }
}
