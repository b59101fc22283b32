import { Agent, type IncomingMessage, request } from 'node:http';
import { answerFor, NONCE_FIELD, nonceOf, PATH } from '../harness/answer.ts';
import { BACKEND_FIELD } from './settings.ts';

/** Milliseconds after which a client gives up: longer than anything that a gateway here may take. */
const PATIENCE_MS = 8_000;
/** After an error, so that a gateway that fails at once is not asked all the faster. */
const PAUSE_MS = 20;

const CONTENT = '{"order":1}';

/** How one request ended, as its client saw it. */
export interface Ending {
  readonly startedAt: number;
  readonly endedAt: number;
  readonly tookMs: number;
  /** Nothing for the right answer; else the status, or what became of the connection. */
  readonly error: string | undefined;
  /** Which backend answered, if it was one. */
  readonly backend: string | undefined;
}

/** An answer to another request: the worst that a gateway can do. */
export const MIX_UP = 'mix-up';

/** What all clients of one load share. */
export interface Demand {
  readonly port: number;
  readonly method: string;
  /** The same over all loads of a run: a late answer to an earlier one would be seen. */
  readonly nonces: { next: number };
  /** Requests that may still begin. */
  left: number;
  readonly endings: Ending[];
}

/** A closed loop on one kept connection: the next request leaves when the last one has ended, however it did. */
export class Client {
  readonly #demand: Demand;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  #running = true;
  readonly #over: Promise<void>;

  constructor(demand: Demand) {
    this.#demand = demand;
    this.#over = this.#loop();
  }

  /** Resolves when the request under way has ended. */
  async stop(): Promise<void> {
    this.#running = false;
    await this.#over;
    this.#agent.destroy();
  }

  async #loop(): Promise<void> {
    while (this.#running && this.#demand.left > 0) {
      this.#demand.left -= 1;
      const ending = await this.#one(nonceOf(this.#demand.nonces.next++));
      this.#demand.endings.push(ending);
      if (ending.error !== undefined) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  #one(nonce: string): Promise<Ending> {
    const { port, method } = this.#demand;
    const startedAt = Date.now();
    const begin = performance.now();
    return new Promise((resolve) => {
      const end = (error: string | undefined, backend?: string) =>
        resolve({ startedAt, endedAt: Date.now(), tookMs: performance.now() - begin, error, backend });
      const headers = { [NONCE_FIELD]: nonce, ...(method === 'POST' ? { 'content-type': 'application/json' } : {}) };
      const outgoing = request({ port, host: '127.0.0.1', path: PATH, method, headers, agent: this.#agent });
      const patience = setTimeout(() => {
        end('no answer');
        outgoing.destroy();
      }, PATIENCE_MS);
      outgoing.once('response', (res) => read(res, nonce, end));
      outgoing.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
      outgoing.once('close', () => clearTimeout(patience));
      outgoing.end(method === 'POST' ? CONTENT : undefined);
    });
  }
}

function read(res: IncomingMessage, nonce: string, end: (error: string | undefined, backend?: string) => void): void {
  let content = '';
  res.setEncoding('latin1').on('data', (text: string) => {
    content += text;
  });
  res.on('error', () => {});
  // The agent has the socket back only some ticks after `end`; nobody else wants it, so that costs no new one.
  res.once('close', () => {
    const backend = res.headers[BACKEND_FIELD];
    const of = typeof backend === 'string' ? backend : undefined;
    const fromBackend = /"nonce":"(\d*)"/.exec(content)?.[1];
    if (!res.complete) end('cut', of);
    else if (fromBackend !== undefined && fromBackend !== nonce) end(MIX_UP, of);
    else if (res.statusCode !== 200) end(`${res.statusCode}`, of);
    else if (content !== answerFor(nonce)) end('wrong content', of);
    else end(undefined, of);
  });
}
