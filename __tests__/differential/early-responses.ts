import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterRead, pause } from '../support/pause.ts';
import type { Protocol } from '../support/protocols.ts';
import { RawClient } from '../support/raw-client.ts';

const LENGTH = 'Content-Length: 9\r\n\r\ntoo large';
const HEAD = 'HTTP/1.1 413 Content Too Large\r\n';
const CLOSE = `${HEAD}Connection: close\r\n`;

/** What a backend does when it has read the head of an upload, and nothing more. */
export const EARLY: Readonly<Record<string, (socket: Socket) => void>> = {
  shutdown: (socket) => void socket.end(CLOSE + LENGTH),
  'shutdown, no length': (socket) => void socket.end(`${CLOSE}\r\ntoo large`),
  'shutdown and close, no length': (socket) => void socket.end(`${CLOSE}\r\ntoo large`, () => socket.destroy()),
  close: (socket) => void socket.write(CLOSE + LENGTH, () => socket.destroy()),
  'close, in two writes': (socket) => {
    socket.write(CLOSE + LENGTH.slice(0, -9));
    socket.write(LENGTH.slice(-9), () => socket.destroy());
  },
  'close, against keep-alive': (socket) => void socket.write(HEAD + LENGTH, () => socket.destroy()),
  'close, chunked': (socket) =>
    void socket.write(`${HEAD}Transfer-Encoding: chunked\r\n\r\n9\r\ntoo large\r\n0\r\n\r\n`, () => socket.destroy()),
  reset: (socket) => void socket.write(CLOSE + LENGTH, () => socket.resetAndDestroy()),
  'reset after a pause in the content': (socket) => {
    const bytes = CLOSE + LENGTH;
    socket.write(bytes.slice(0, -5));
    afterRead(() => socket.write(bytes.slice(-5), () => afterRead(() => socket.resetAndDestroy(), 2)), 2);
  },
};

/** A backend that answers each upload before it has read it, in one of the ways of `EARLY`. */
export class EarlyBackend {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(answer: (socket: Socket) => void) {
    // Without `noDelay`, the kernel may hold a second small write back (Nagle), and drops it at a reset: it would never be sent.
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.#sockets.delete(socket));
      let head = '';
      socket.on('data', (chunk) => {
        head += chunk.toString('latin1');
        if (!head.includes('\r\n\r\n')) return;
        socket.pause().removeAllListeners('data');
        answer(socket);
      });
    });
  }

  static async start(kind: string): Promise<EarlyBackend> {
    const backend = new EarlyBackend(EARLY[kind] as (socket: Socket) => void);
    await new Promise<void>((resolve) => backend.#server.listen(0, '127.0.0.1', resolve));
    return backend;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

const PIECE = 'x'.repeat(30_000);
const PIECES = 10;

/**
 * Uploads 300 KB, and says what came of it: a status, behind which `cut` stands if the content was not all there, or how
 * the connection ended.
 *
 * @param round Uploads differ: of known length or in chunks, all at once or with a pause behind each piece.
 */
export async function upload(
  port: number,
  round: number,
  { connect }: Pick<Protocol, 'connect'> = RawClient,
): Promise<string> {
  const client = await connect(port);
  const isChunked = round % 2 === 1;
  const pauses = round % 4 >= 2;
  const framing = isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${PIECE.length * PIECES}`;
  try {
    client.send(`POST /upload HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n`);
    const response = client.response();
    response.catch(() => {});
    for (let i = 0; i < PIECES && client.closedBy === undefined; i += 1) {
      client.send(isChunked ? `${PIECE.length.toString(16)}\r\n${PIECE}\r\n` : PIECE);
      if (pauses) await pause('the pace of the upload', 1);
    }
    if (isChunked) client.send('0\r\n\r\n');
    const { status, content } = await response;
    return status === 413 && content.toString() !== 'too large' ? `${status} cut` : `${status}`;
  } catch {
    return client.closedBy ?? 'closed';
  } finally {
    client.close();
  }
}
