import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { undiciTransport } from 'expressway';
import { createProxyMiddleware, type Options } from 'http-proxy-middleware';
import { certificate } from './certificate.ts';
import { Cleanup } from './gateway.ts';
import { PROTOCOLS, type Protocol } from './protocols.ts';
import { RecorderBackend, type Script } from './recorder-backend.ts';
import { closedPort, listen } from './servers.ts';

/** Where the targets of a case are. */
export interface Places {
  /** A plain server, also on `::1` and on the Unix socket `path`. */
  readonly port: number;
  /** A server over TLS, with a certificate for `localhost` and `127.0.0.1`. */
  readonly tls: number;
  /** Nothing listens here. */
  readonly dead: number;
  /** The backend that follows the script of the case. */
  readonly scripted: number;
  readonly path: string;
}

export interface Case {
  readonly options: (at: Places) => Options;
  /** The bytes that the client sends. Default {@link GET}. */
  readonly request?: string;
  /** What the backend at `scripted` does. */
  readonly script?: Script;
  /** Runs before the proxy. */
  readonly before?: RequestListener;
  /** Add an `error` listener that records what it is given and answers 599. */
  readonly listens?: boolean;
  /** A row of the table of differences in docs/http-proxy-middleware.md, and what undici makes of the case. */
  readonly differs?: { readonly row: string; readonly undici: (native: Seen) => Partial<Seen> };
}

export const GET = 'GET /api/x?q=1 HTTP/1.1\r\nHost: gw.example:81\r\nX-A: 1\r\nConnection: close\r\n\r\n';

/** All that can be seen of one exchange from outside. */
export interface Seen {
  readonly status: string;
  readonly fields: readonly string[];
  readonly content: string;
  readonly complete: boolean;
  /** What arrived at the backend. */
  readonly requests: readonly { line: string; fields: readonly string[]; content: string }[];
  /** What the `error` listener and the handler behind the proxy were given. */
  readonly errors: readonly string[];
}

/** Fields that belong to one connection: which of them a proxy sends is up to its transport. */
const CONNECTION = new Set(['connection', 'keep-alive', 'date', 'transfer-encoding', 'x-powered-by']);

/** One gateway and its backends, for one exchange after another, over the native transport or over ours. */
export class TransportPair {
  readonly #cleanup = new Cleanup();
  readonly #seen: { line: string; fields: string[]; content: string }[] = [];
  #listener: RequestListener = () => {};
  #gateway = 0;
  #at!: Places;
  readonly #protocol: Protocol;

  private constructor(protocol: Protocol) {
    this.#protocol = protocol;
  }

  /** @param protocol What the client speaks. */
  static async start(protocol = PROTOCOLS[0] as Protocol): Promise<TransportPair> {
    const pair = new TransportPair(protocol);
    const server = protocol.serverOf((req, res) => pair.#listener(req, res));
    const gateway = pair.#cleanup.add(await listen(() => {}, server));
    gateway.server.setMaxListeners(0);
    pair.#gateway = gateway.port;
    const record: RequestListener = (req, res) => pair.#record(req).then(() => res.end('ok'));
    const { port } = pair.#cleanup.add(await listen(record));
    await pair.#also(createServer(record), { port, host: '::1' });
    const path = join(tmpdir(), `expressway-${process.pid}-${port}.sock`);
    await pair.#also(createServer(record), { path });
    const tls = createTlsServer(certificate, record);
    await pair.#also(tls, { port: 0, host: '127.0.0.1' });
    pair.#at = { port, path, tls: (tls.address() as AddressInfo).port, dead: await closedPort(), scripted: 0 };
    return pair;
  }

  close(): Promise<void> {
    return this.#cleanup.run();
  }

  async run(it: Case, transport: 'native' | 'undici'): Promise<Seen> {
    const backend = it.script && (await RecorderBackend.start(it.script));
    const at = { ...this.#at, scripted: backend?.port ?? 0 };
    const errors: string[] = [];
    const options = it.options(at);
    const listener = {
      error: (error: NodeJS.ErrnoException, _req: unknown, res: { writeHead?: unknown }, target: unknown) => {
        errors.push(`${error.code}, target ${describeTarget(target)}`);
        const response = res as import('node:http').ServerResponse;
        if (!response.headersSent) response.writeHead(599);
        response.end('mine');
      },
    };
    const proxy = createProxyMiddleware({
      logger: { info() {}, warn() {}, error() {} },
      ...options,
      ...(it.listens ? { on: { ...options.on, error: listener.error as never } } : {}),
      plugins: [...(options.plugins ?? []), ...(transport === 'undici' ? [undiciTransport()] : [])],
    });
    this.#seen.length = 0;
    this.#listener = (req, res) => {
      it.before?.(req, res);
      void proxy(
        req as never,
        res as never,
        ((error?: NodeJS.ErrnoException) => {
          errors.push(`next(${error?.code ?? error?.message ?? ''})`);
          if (!res.headersSent) res.writeHead(404);
          res.end();
        }) as never,
      );
    };
    try {
      return { ...(await this.#ask(it.request ?? GET, at)), errors: errors.map((text) => this.#plain(text, at)) };
    } finally {
      await backend?.close();
    }
  }

  async #ask(request: string, at: Places): Promise<Omit<Seen, 'errors'>> {
    const client = await this.#protocol.connect(this.#gateway);
    client.send(request);
    const method = request.slice(0, request.indexOf(' '));
    // A stream that ends without a response has the status 0.
    const next = () =>
      client.response(method).then(
        (one) => (one.status === 0 ? undefined : one),
        () => undefined,
      );
    let response = await next();
    while (response !== undefined && response.status < 200) response = await next();
    if (response?.framingComplete !== true) await client.closed();
    client.close();
    return {
      status: response?.startLine ?? `closed by ${client.closedBy}`,
      fields: this.#fields(response?.fields ?? [], at),
      content: this.#plain(response?.content.toString('latin1') ?? '', at),
      complete: response?.framingComplete ?? false,
      requests: this.#seen.map((one) => ({ ...one, fields: one.fields.map((field) => this.#plain(field, at)).sort() })),
    };
  }

  async #record(req: IncomingMessage): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk as Buffer);
    const fields = pairs(req.rawHeaders).filter(([name]) => !CONNECTION.has(name));
    this.#seen.push({
      line: `${req.method} ${req.url} over ${'encrypted' in req.socket ? 'TLS' : 'TCP'}`,
      fields: fields.map(([name, value]) => `${name}: ${value}`),
      content: Buffer.concat(chunks).toString('latin1'),
    });
  }

  #fields(fields: readonly (readonly [string, string])[], at: Places): string[] {
    const kept = fields.filter(([name]) => !CONNECTION.has(name));
    return kept.map(([name, value]) => this.#plain(`${name}: ${value}`, at)).sort();
  }

  #plain(text: string, at: Places): string {
    let plain = text;
    for (const [name, port] of Object.entries(at))
      if (port !== 0) plain = plain.replaceAll(String(port), name.toUpperCase());
    return plain;
  }

  async #also(server: Server, where: { port?: number; host?: string; path?: string }): Promise<void> {
    await new Promise<void>((resolve) => server.listen(where, resolve));
    this.#cleanup.add({
      close: () =>
        new Promise<void>((resolve) => {
          server.close(() => resolve());
          server.closeAllConnections();
        }),
    });
  }
}

function pairs(raw: readonly string[]): [string, string][] {
  const lines: [string, string][] = [];
  for (let i = 0; i < raw.length; i += 2) lines.push([(raw[i] as string).toLowerCase(), raw[i + 1] as string]);
  return lines;
}

function describeTarget(target: unknown): string {
  return target instanceof URL ? target.href : JSON.stringify(target);
}
