import { createServer, type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse } from 'node:http';
import { type Dispatcher, Pool } from 'undici';
import { backendOrigins, serveTarget } from '../harness/target-side.ts';

// The least that a careful person would write: correct, streaming, and nothing more.

/** RFC 9110 §7.6.1. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Field names that `Connection` lists, besides the usual ones. */
function listedIn(connection: string | undefined): Set<string> {
  if (connection === undefined || /^(keep-alive|close)$/i.test(connection)) return HOP_BY_HOP;
  return new Set([...HOP_BY_HOP, ...connection.split(',').map((name) => name.trim().toLowerCase())]);
}

function requestFields(req: IncomingMessage): string[] {
  const dropped = listedIn(req.headers.connection);
  const fields: string[] = [];
  const { rawHeaders } = req;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase();
    if (dropped.has(name) || name === 'expect' || name === 'x-forwarded-for') continue;
    fields.push(name, rawHeaders[i + 1] as string);
  }
  fields.push('x-forwarded-for', req.socket.remoteAddress ?? 'unknown');
  return fields;
}

/** Puts a backend's answer into the client's response. */
class Relay implements Dispatcher.DispatchHandler {
  readonly #res: ServerResponse;
  #controller: Dispatcher.DispatchController | undefined;

  constructor(res: ServerResponse) {
    this.#res = res;
    res.once('close', () => {
      if (!res.writableFinished) this.#controller?.abort(new Error('the client left'));
    });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#res.destroyed) controller.abort(new Error('the client left'));
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: OutgoingHttpHeaders, text?: string): void {
    if (status < 200) return;
    const dropped = listedIn(headers.connection as string | undefined);
    const kept: OutgoingHttpHeaders = {};
    for (const name of Object.keys(headers)) {
      if (!dropped.has(name)) kept[name] = headers[name];
    }
    this.#res.writeHead(status, text ?? '', kept);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#res.write(chunk)) return;
    controller.pause();
    this.#res.once('drain', () => controller.resume());
  }

  onResponseEnd(): void {
    this.#res.end();
  }

  onResponseError(): void {
    if (this.#res.headersSent) this.#res.destroy();
    else this.#res.writeHead(502).end();
  }
}

const pools = backendOrigins().map((origin) => new Pool(origin));
let cursor = 0;

const server = createServer((req, res) => {
  const pool = pools[cursor++ % pools.length] as Pool;
  const hasContent = req.headers['content-length'] !== undefined || req.headers['transfer-encoding'] !== undefined;
  try {
    pool.dispatch(
      {
        method: req.method as Dispatcher.HttpMethod,
        path: req.url as string,
        headers: requestFields(req),
        body: hasContent ? req : null,
      },
      new Relay(res),
    );
  } catch {
    // undici throws for a request that it refuses to send.
    res.writeHead(502).end();
  }
});

await serveTarget(server);
