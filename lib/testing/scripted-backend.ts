import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { createServer } from '../core/node-http.ts';
import { type Checks, func, resolveOptions } from '../core/options.ts';
import { answer, type Behaviour } from './behaviour.ts';

/** What is done with the first request, the second, and so on; or a function that is asked for each, from index 0 on. */
export type Plan = readonly Behaviour[] | ((index: number, req: IncomingMessage) => Behaviour);

/** Options of {@link startBackend}. */
export interface BackendOptions {
  /** Default: none, so that all requests get `otherwise`. */
  plan?: Plan;
  /** What is done with the requests behind the end of a plan. Default `answer()`. */
  otherwise?: Behaviour;
}

const planCheck = (value: unknown) =>
  typeof value === 'function' || (Array.isArray(value) && value.every((one) => typeof one === 'function'))
    ? undefined
    : 'must be a function or an array of behaviours';

const checks: Checks<BackendOptions> = { plan: planCheck, otherwise: func };

/** A request as a scripted backend got it. */
export interface ReceivedRequest {
  readonly method: string;
  /** The target of its request line. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  /** What has come of its content. */
  readonly content: Buffer;
  /** Whether it came to its end. */
  readonly complete: boolean;
}

/**
 * A backend on a free port of the loopback interface that does what its plan says, and keeps what it got until `close()`.
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
  /** In the order in which their heads came. */
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

  /** Connections that are open now. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Connections that were ever accepted. */
  get accepted(): number {
    return this.#accepted;
  }

  /** Goes on with another plan, from its beginning. */
  follow(plan: Plan): void {
    resolveOptions('follow', { plan }, {}, { plan: planCheck });
    this.#plan = plan;
    this.#planned = 0;
  }

  /** As after a crash: connections that exist are reset, new ones refused. */
  async refuse(): Promise<void> {
    if (!this.#server.listening) return;
    // Before `close()`, which ends idle connections in order.
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /**
   * Takes connections again, on the port that it had.
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

  /** Ends it, whatever is in progress. */
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
  // Reads without making the content flow: whether it is taken is for the behaviour to say.
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
