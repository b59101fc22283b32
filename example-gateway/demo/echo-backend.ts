import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import { listen } from 'expressway/gateway';
import { WebSocketServer } from 'ws';

export interface EchoBackendOptions {
  readonly name: string;
  readonly port: number;
  readonly host?: string;
}

const STREAM_EVENTS = 5;
const STREAM_PAUSE_MS = 200;

/** The listener keeps the process alive; a response whose client has left must not. */
const delay = (ms: number): Promise<void> => setTimeout(ms, undefined, { ref: false });

/** A backend to try the gateway with: it answers with what it was asked. */
export class EchoBackend {
  readonly name: string;
  readonly #server: Server;
  readonly #webSockets = new WebSocketServer({ noServer: true });
  #failing = false;
  #url = '';

  constructor(name: string) {
    this.name = name;
    this.#server = createServer((req, res) => {
      this.#answer(req, res).catch((error: Error) => {
        process.stderr.write(`backend ${name}: ${error.message}\n`);
        res.destroy();
      });
    });
    this.#server.on('upgrade', (req, socket, head) => {
      this.#webSockets.handleUpgrade(req, socket, head, (webSocket) => {
        webSocket.on('message', (data, isBinary) => webSocket.send(isBinary ? data : `${name}: ${data}`));
        webSocket.on('error', (error) => process.stderr.write(`backend ${name}: ${error.message}\n`));
      });
    });
  }

  get url(): string {
    return this.#url;
  }

  async open(host: string, port: number): Promise<void> {
    const name = { what: `backend ${this.name}`, host: '--host', port: '--port' };
    this.#url = await listen(this.#server, name, { host, port });
  }

  /** Ends as a crash would: without waiting for anybody. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    for (const webSocket of this.#webSockets.clients) webSocket.terminate();
    await closed;
  }

  async #answer(req: IncomingMessage, res: ServerResponse): Promise<void> {
    let bytes = 0;
    for await (const chunk of req) bytes += chunk.length;
    const { pathname, searchParams } = new URL(req.url ?? '/', 'http://localhost');
    if (pathname === '/fail' && req.method === 'POST') {
      this.#failing = searchParams.get('on') === '1';
      return this.#send(res, 200, { failing: this.#failing });
    }
    if (this.#failing) return this.#send(res, 500, { failing: true });
    if (pathname === '/stream') return this.#stream(res);
    if (pathname === '/slow') await delay(Number(searchParams.get('ms')) || 1_000);
    this.#send(res, statusIn(pathname), { method: req.method, url: req.url, headers: req.headers, bytes });
  }

  #send(res: ServerResponse, status: number, facts: object): void {
    res.writeHead(status, { 'Content-Type': 'application/json' });
    res.end(`${JSON.stringify({ backend: this.name, ...facts })}\n`);
  }

  async #stream(res: ServerResponse): Promise<void> {
    res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    for (let number = 1; number <= STREAM_EVENTS && !res.destroyed; number += 1) {
      res.write(`id: ${number}\ndata: ${JSON.stringify({ backend: this.name, number })}\n\n`);
      await delay(STREAM_PAUSE_MS);
    }
    res.end();
  }
}

/** `/status/404` asks for 404. A status below 200 would be no final answer. */
function statusIn(pathname: string): number {
  const status = Number(/^\/status\/(\d{3})$/.exec(pathname)?.[1]);
  return status >= 200 && status <= 599 ? status : 200;
}

/**
 * @throws {ListenError} when it cannot listen on the port.
 */
export async function startEchoBackend({ name, port, host = '127.0.0.1' }: EchoBackendOptions): Promise<EchoBackend> {
  const backend = new EchoBackend(name);
  await backend.open(host, port);
  return backend;
}
