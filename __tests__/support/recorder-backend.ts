import type { AddressInfo } from 'node:net';
import { createServer, type Server, type Socket } from 'node:net';
import { WHITESPACE } from './raw-client.ts';

/** A request as the backend saw it. */
export interface RecordedRequest {
  readonly line: string;
  readonly method: string;
  readonly target: string;
  readonly fields: readonly (readonly [string, string])[];
  field(name: string): string | undefined;
  all(name: string): string[];
}

/** What the backend does once it has read a request's head. */
export type Script = (connection: Socket, request: RecordedRequest, index: number) => void;

/** Answers at once, whole, with the nonce of the request in a field and in the content. */
export const answerOk: Script = (connection, request) => {
  const content = request.field('x-nonce') ?? 'ok';
  connection.write(`HTTP/1.1 200 OK\r\nX-Nonce: ${content}\r\nContent-Length: ${content.length}\r\n\r\n${content}`);
};

/** Sends the bytes given. */
export const answer =
  (bytes: string): Script =>
  (connection) =>
    connection.write(Buffer.from(bytes, 'latin1'));

/** A raw TCP server, lenient by design: it records what it gets and does what its script says. */
export class RecorderBackend {
  readonly requests: RecordedRequest[] = [];
  readonly connections = new Set<Socket>();
  script: Script;
  readonly #server: Server;
  /** What came over each connection, in order of acceptance: joined only when somebody looks, since joining each chunk takes quadratic time. */
  readonly #received: Buffer[][] = [];

  private constructor(script: Script) {
    this.script = script;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  static async start(script: Script = answerOk): Promise<RecorderBackend> {
    const backend = new RecorderBackend(script);
    await new Promise<void>((resolve) => backend.#server.listen(0, '127.0.0.1', resolve));
    return backend;
  }

  /** All bytes of each connection, in order of acceptance. */
  get received(): readonly Buffer[] {
    return this.#received.map(joined);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async close(): Promise<void> {
    for (const socket of this.connections) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #accept(socket: Socket): void {
    const chunks: Buffer[] = [];
    this.#received.push(chunks);
    this.connections.add(socket);
    let length = 0;
    let parsed = 0;
    let skip = 0;
    socket.on('error', () => socket.destroy());
    socket.on('end', () => socket.end());
    socket.on('close', () => this.connections.delete(socket));
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      length += chunk.length;
      for (;;) {
        if (length < parsed + skip) return;
        const all = joined(chunks);
        const start = parsed + skip;
        const end = all.indexOf('\r\n\r\n', start);
        if (end === -1) return;
        const request = parseHead(all.subarray(start, end).toString('latin1'));
        parsed = end + 4;
        // Content with a length is passed over; chunked content may only come last on a connection here.
        skip = Number(request.field('content-length') ?? 0);
        if (request.field('transfer-encoding') !== undefined) skip = Number.POSITIVE_INFINITY;
        this.requests.push(request);
        this.script(socket, request, this.requests.length - 1);
      }
    });
  }
}

/** Leaves them joined. */
function joined(chunks: Buffer[]): Buffer {
  if (chunks.length !== 1) chunks.splice(0, chunks.length, Buffer.concat(chunks));
  return chunks[0] as Buffer;
}

function parseHead(text: string): RecordedRequest {
  const [line = '', ...lines] = text.split('\r\n');
  const [method = '', target = ''] = line.split(' ');
  const fields = lines.map((entry) => {
    const colon = entry.indexOf(':');
    return [entry.slice(0, colon).toLowerCase(), entry.slice(colon + 1).replace(WHITESPACE, '')] as const;
  });
  const all = (name: string) => fields.filter(([key]) => key === name).map(([, value]) => value);
  return { line, method, target, fields, all, field: (name) => all(name)[0] };
}
