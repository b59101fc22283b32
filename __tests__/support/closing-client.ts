import { Agent, request } from 'node:http';
import { pause } from './pause.ts';

export interface Tally {
  /** Requests by the status that they got, or by the code of their error. */
  readonly results: Map<string, number>;
  /** Who answered, and how often. */
  readonly answeredBy: Map<string, number>;
}

/**
 * Clients that keep their connections, send requests at an even rate, and follow `Connection: close`: the next request goes
 * to whichever origin is named by then, on another connection. Nothing is ever sent twice.
 */
export class ClosingClients implements Tally {
  readonly results = new Map<string, number>();
  readonly answeredBy = new Map<string, number>();
  readonly #origin: () => string;
  readonly #method: (sent: number) => string;
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>;

  /**
   * @param origin Where a new connection goes.
   * @param method Of a client's request, by how many it has sent before.
   */
  constructor(
    clients: number,
    requestsPerSecond: number,
    origin: () => string,
    method: (sent: number) => string = () => 'GET',
  ) {
    this.#origin = origin;
    this.#method = method;
    const pauseMs = (1_000 * clients) / requestsPerSecond;
    this.#running = Promise.all(Array.from({ length: clients }, (_, index) => this.#client(index, clients, pauseMs)));
  }

  get total(): number {
    return [...this.results.values()].reduce((sum, count) => sum + count, 0);
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #client(index: number, clients: number, pauseMs: number): Promise<void> {
    await pause('the clients take turns', (index * pauseMs) / clients);
    let origin = this.#origin();
    let agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let sent = 0; !this.#stop.signal.aborted; sent += 1) {
      const { result, by, closes } = await ask(origin, agent, this.#method(sent));
      this.results.set(result, (this.results.get(result) ?? 0) + 1);
      if (by !== '') this.answeredBy.set(by, (this.answeredBy.get(by) ?? 0) + 1);
      if (closes) {
        agent.destroy();
        agent = new Agent({ keepAlive: true, maxSockets: 1 });
        origin = this.#origin();
      }
      await pause('the pace of the load', pauseMs);
    }
    agent.destroy();
  }
}

function ask(origin: string, agent: Agent, method: string): Promise<{ result: string; by: string; closes: boolean }> {
  return new Promise((resolve) => {
    const req = request(origin, { agent, method }, (res) => {
      let by = '';
      res.setEncoding('utf8').on('data', (text: string) => {
        by += text;
      });
      res.on('error', (error: NodeJS.ErrnoException) => resolve({ result: String(error.code), by: '', closes: true }));
      res.on('end', () => {
        resolve({ result: String(res.statusCode), by, closes: res.headers.connection === 'close' });
      });
    });
    req.on('error', (error: NodeJS.ErrnoException) => resolve({ result: String(error.code), by: '', closes: true }));
    req.end(method === 'POST' ? 'some content' : undefined);
  });
}
