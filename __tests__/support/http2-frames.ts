import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { certificate } from './certificate.ts';

export const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

/** Types of frames (RFC 9113 §6). */
export const DATA = 0;
export const HEADERS = 1;
export const PRIORITY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PUSH_PROMISE = 5;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

/** Flags. */
export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;
export const PADDED = 8;
export const PRIORITISED = 32;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(type: number, flags: number, stream: number, payload: Buffer | string = ''): Buffer {
  const bytes = Buffer.from(payload as string, 'latin1');
  const head = Buffer.alloc(9);
  head.writeUIntBE(bytes.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, bytes]);
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

/** A setting (RFC 9113 §6.5.1). */
export function setting(id: number, value: number): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUInt16BE(id);
  bytes.writeUInt32BE(value >>> 0, 2);
  return bytes;
}

export type Field = readonly [name: string, value: string];

/** A header block of literals without indexing, so that every byte can be chosen (RFC 7541 §6.2.2). */
export function block(fields: readonly Field[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

/** RFC 7541 §5.2, without Huffman. */
function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  return Buffer.concat([length(bytes.length), bytes]);
}

/** RFC 7541 §5.1, with a prefix of 7 bits. */
function length(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

export const GET: readonly Field[] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', 'gw.example'],
  [':path', '/'],
];

export const POST: readonly Field[] = [[':method', 'POST'], ...GET.slice(1)];

export const headers = (stream: number, fields: readonly Field[], flags = END_HEADERS | END_STREAM): Buffer =>
  frame(HEADERS, flags, stream, block(fields));

/** A client that sends the frames it is told to, and collects those it gets. */
export class FrameClient {
  readonly socket: TLSSocket;
  readonly frames: Frame[] = [];
  isClosed = false;
  #rest = Buffer.alloc(0);
  readonly #waiting = new Set<() => void>();

  private constructor(socket: TLSSocket) {
    this.socket = socket;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', () => {});
    const closed = () => {
      this.isClosed = true;
      this.#wake();
    };
    socket.on('end', closed);
    socket.on('close', closed);
  }

  /** @param greets Whether it sends the preface and its settings. */
  static async connect(port: number, greets = true): Promise<FrameClient> {
    const socket = connect({ port, host: '127.0.0.1', ca: certificate.cert, ALPNProtocols: ['h2'] });
    await once(socket, 'secureConnect');
    const client = new FrameClient(socket);
    if (greets) {
      client.send(PREFACE, frame(SETTINGS, 0, 0));
      await client.until(({ type, flags }) => type === SETTINGS && flags === 0);
      client.send(frame(SETTINGS, ACK, 0));
    }
    return client;
  }

  send(...bytes: readonly (Buffer | string)[]): void {
    if (this.socket.writable)
      this.socket.write(Buffer.concat(bytes.map((one) => Buffer.from(one as string, 'latin1'))));
  }

  /** The first frame, sent or to come, that a condition holds for; nothing when the connection ends before. */
  async until(condition: (frame: Frame) => boolean): Promise<Frame | undefined> {
    for (;;) {
      const found = this.frames.find(condition);
      if (found !== undefined || this.isClosed) return found;
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  async closed(): Promise<void> {
    await this.until(() => false);
  }

  /** Waits until all that was sent is handled: the server has replied to a PING. */
  async settled(): Promise<void> {
    const mark = String(this.frames.length).padStart(8, '0');
    this.send(frame(PING, 0, 0, mark));
    await this.until(({ type, flags, payload }) => type === PING && flags === ACK && payload.toString() === mark);
  }

  /** How a stream ended: `closed` with the connection, `reset` with a code, or `ended`. */
  async endOf(stream: number): Promise<string> {
    const last = await this.until(
      (one) =>
        one.stream === stream &&
        (one.type === RST_STREAM || ((one.type === DATA || one.type === HEADERS) && (one.flags & END_STREAM) !== 0)),
    );
    if (last === undefined) return `closed ${this.goawayCode ?? ''}`.trim();
    return last.type === RST_STREAM ? `reset ${last.payload.readUInt32BE()}` : 'ended';
  }

  get goawayCode(): number | undefined {
    const goaways = this.frames.filter(({ type }) => type === GOAWAY);
    return goaways.at(-1)?.payload.readUInt32BE(4);
  }

  /** Whether the connection has ended with an error, or is closed. */
  get isOver(): boolean {
    return this.isClosed || (this.goawayCode ?? 0) !== 0;
  }

  /** The content on a stream so far. */
  content(stream: number): Buffer {
    const parts = this.frames.filter((one) => one.type === DATA && one.stream === stream);
    return Buffer.concat(parts.map(({ payload }) => payload));
  }

  close(): void {
    this.socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (;;) {
      if (this.#rest.length < 9) break;
      const end = 9 + this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < end) break;
      const [type = 0, flags = 0] = this.#rest.subarray(3, 5);
      this.frames.push({
        type,
        flags,
        stream: this.#rest.readUInt32BE(5),
        payload: Buffer.from(this.#rest.subarray(9, end)),
      });
      this.#rest = this.#rest.subarray(end);
    }
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}
