import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { all } from './head-reader.ts';
import { type ReadRequest, readRequests } from './request-reader.ts';

/** The field that names a request's answer among {@link StrictBackend.answers}. */
export const ANSWER_FIELD = 'x-answer';

/** What to send in place of an innocent answer. */
export interface BackendAnswer {
  readonly slices: readonly Buffer[];
  /** What becomes of the connection then. */
  readonly after: 'keep' | 'end' | 'reset';
}

/** A request that has reached the backend: its head at least. */
export interface Arrived {
  readonly request: ReadRequest;
  /** All of its content came, in the way its framing said. */
  complete: boolean;
}

/**
 * A backend without any leniency: what a gateway sends it must be HTTP to the letter. Answers each request with its
 * nonce, or as it is told to.
 */
export class StrictBackend {
  readonly arrived: Arrived[] = [];
  /** What came that was no HTTP. */
  readonly violations: string[] = [];
  readonly answers = new Map<string, BackendAnswer>();
  readonly connections = new Set<Socket>();
  /** Connections that an answer ends, until they are gone. */
  readonly ending = new Set<Socket>();
  readonly #server: Server;

  private constructor() {
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => new Connection(this, socket));
  }

  static async start(): Promise<StrictBackend> {
    const backend = new StrictBackend();
    await new Promise<void>((resolve) => backend.#server.listen(0, '127.0.0.1', resolve));
    return backend;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.connections) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

class Connection {
  readonly #backend: StrictBackend;
  readonly #socket: Socket;
  /** Bytes from the start of the request that is being read. */
  #bytes = Buffer.alloc(0);
  #current: Arrived | undefined;
  #over = false;

  constructor(backend: StrictBackend, socket: Socket) {
    this.#backend = backend;
    this.#socket = socket;
    backend.connections.add(socket);
    socket.on('data', (chunk) => this.#data(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('end', () => socket.end());
    socket.on('close', () => {
      backend.connections.delete(socket);
      backend.ending.delete(socket);
    });
  }

  #data(chunk: Buffer): void {
    if (this.#over) return;
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    const { requests, end, why, next } = readRequests(this.#bytes);
    if (end === 'error') {
      this.#backend.violations.push(`${why}: ${JSON.stringify(this.#bytes.toString('latin1', next, next + 300))}`);
      this.#over = true;
    }
    for (const request of requests) {
      if (this.#current === undefined) {
        this.#current = { request, complete: false };
        this.#backend.arrived.push(this.#current);
      }
      if (!request.complete) break;
      this.#backend.arrived[this.#backend.arrived.indexOf(this.#current)] = { request, complete: true };
      this.#current = undefined;
      this.#answer(request);
    }
    this.#bytes = this.#bytes.subarray(next);
    // The other protocol is no business of this reader.
    if (end === 'upgrade') this.#over = true;
  }

  #answer({ method, nonce, fields, upgrade }: ReadRequest): void {
    const answer = this.#backend.answers.get(all(fields, ANSWER_FIELD)[0] ?? '');
    if (answer !== undefined) {
      this.#give(answer);
    } else if (upgrade) {
      this.#socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    } else {
      const content = method === 'HEAD' ? '' : nonce;
      this.#socket.write(`HTTP/1.1 200 OK\r\nX-Nonce: ${nonce}\r\nContent-Length: ${nonce.length}\r\n\r\n${content}`);
    }
  }

  #give({ slices: [first, ...rest], after }: BackendAnswer): void {
    if (after !== 'keep') this.#backend.ending.add(this.#socket);
    if (first !== undefined && first.length > 0) this.#socket.write(first);
    if (rest.length > 0) setImmediate(() => this.#give({ slices: rest, after }));
    else if (after === 'end') this.#socket.end();
    // Not before the bytes have gone: a reset takes back those that have not been read.
    else if (after === 'reset') setTimeout(() => this.#socket.resetAndDestroy(), 1);
  }
}
