import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { createServer } from '../core/node-http.ts';
import { type Checks, func, resolveOptions } from '../core/options.ts';
import { answer, type Behaviour } from './behaviour.ts';

/** The behaviours for the first request, the second, and so on. Or a function that returns one for each index, from 0 on. */
export type Plan = readonly Behaviour[] | ((index: number, req: IncomingMessage) => Behaviour);

/** Options of {@link startBackend}. */
export interface BackendOptions {
  /** Behaviours by request. Default: none, so that all requests get `otherwise`. */
  plan?: Plan;
  /** Behaviour for requests after the end of the plan. Default `answer()`. */
  otherwise?: Behaviour;
}

const planCheck = (value: unknown) =>
  typeof value === 'function' || (Array.isArray(value) && value.every((one) => typeof one === 'function'))
    ? undefined
    : 'must be a function or an array of behaviours';

const checks: Checks<BackendOptions> = { plan: planCheck, otherwise: func };

/** A request that a scripted backend has received. */
export interface ReceivedRequest {
  readonly method: string;
  /** The target of its request line. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  /** The content that has arrived so far. */
  readonly content: Buffer;
  /** Whether the whole request has arrived. */
  readonly complete: boolean;
}

/**
 * Starts a backend on a free port of the loopback interface. It follows its plan, and records its requests until `close()`.
 *
 * ```ts
 * const backend = await startBackend({ plan: [fail(503), hang(), reset()] });
 * ```
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export async function startBackend(given?: BackendOptions): Promise<ScriptedBackend> {
  const { plan, otherwise } = resolveOptions('startBackend', given, { plan: [] as Plan, otherwise: answer() }, checks);
  const backend = new ScriptedBackend(plan, otherwise);
  await backend.accept();
  return backend;
}

/** Made by {@link startBackend}. */
export class ScriptedBackend {
  /** The requests so far, in the order of their heads. */
  readonly requests: ReceivedRequest[] = [];
  readonly #otherwise: Behaviour;
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  #plan: Plan;
  #planned = 0;
  #port = 0;
  #accepted = 0;

  constructor(plan: Plan, otherwise: Behaviour) {
    this.#plan = plan;
    this.#otherwise = otherwise;
    this.#server = createServer((req, res) => this.#serve(req, res));
    this.#server.on('connection', (socket) => {
      this.#accepted += 1;
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Number of open connections. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Number of connections accepted so far. */
  get accepted(): number {
    return this.#accepted;
  }

  /** Follows another plan from its beginning. */
  follow(plan: Plan): void {
    resolveOptions('follow', { plan }, {}, { plan: planCheck });
    this.#plan = plan;
    this.#planned = 0;
  }

  /** Resets existing connections and refuses new ones, as after a crash. */
  async refuse(): Promise<void> {
    if (!this.#server.listening) return;
    // Before `close()`, which would end idle connections with FIN.
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /**
   * Accepts connections again on the same port.
   *
   * @throws {Error} `EADDRINUSE` when another program has taken the port in the meantime
   */
  async accept(): Promise<void> {
    if (this.#server.listening) return;
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#port, '127.0.0.1', () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Closes it at once, with all connections. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(req: IncomingMessage, res: ServerResponse): void {
    this.requests.push(received(req));
    const index = this.#planned++;
    const planned = typeof this.#plan === 'function' ? this.#plan(index, req) : this.#plan[index];
    (planned ?? this.#otherwise)(req, res);
  }
}

function received(req: IncomingMessage): ReceivedRequest {
  const chunks: Buffer[] = [];
  // Records the content without reading it from the stream: the behaviour decides whether to read.
  const push = req.push.bind(req);
  req.push = (chunk: Buffer | null, ...rest) => {
    if (chunk !== null) chunks.push(chunk);
    return push(chunk, ...rest);
  };
  return {
    method: req.method ?? '',
    url: req.url ?? '',
    headers: req.headers,
    get content() {
      return Buffer.concat(chunks);
    },
    get complete() {
      return req.complete;
    },
  };
}
