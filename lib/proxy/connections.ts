import { Pool } from 'undici';

export interface ConnectionOptions {
  /** Milliseconds until an attempt to connect is given up. Default 2 000. */
  readonly connectTimeoutMs: number;
}

/** One undici `Pool` of connections per origin. */
export class Connections {
  readonly #options: ConnectionOptions;
  readonly #pools = new Map<string, Pool>();

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  to(origin: string): Pool {
    let pool = this.#pools.get(origin);
    if (pool === undefined) {
      pool = new Pool(origin, {
        connectTimeout: this.#options.connectTimeoutMs,
        // One request at a time on a connection: a slow answer must not hold up another request.
        pipelining: 1,
        allowH2: false,
        // The watchdog sees to both, more cheaply and without cutting event streams.
        headersTimeout: 0,
        bodyTimeout: 0,
      });
      this.#pools.set(origin, pool);
    }
    return pool;
  }

  /** Lets running requests end, then closes the connections to an origin that left the pool. */
  async remove(origin: string): Promise<void> {
    const pool = this.#pools.get(origin);
    this.#pools.delete(origin);
    await pool?.close();
  }

  async close(): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.close()));
  }
}
