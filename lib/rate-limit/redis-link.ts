import { type ImportRedis, ownRedisClient } from './own-redis-client.ts';
import type { RedisClient } from './redis-client.ts';
import { RedisUrl } from './redis-url.ts';

/** Is told when the connection comes and goes. */
export interface LinkObserver {
  up(): void;
  down(error: Error): void;
}

/** The timeout of node-redis 6 makes an AbortSignal per command, at five times the cost of the command itself. */
const WITHOUT_TIMEOUT = Object.freeze({ timeout: undefined });

/**
 * The connection to Redis: its own, made from a URL, or one that was handed in. The latter is only ever used
 * while it is ready, so that its offline queue stays empty; it is connected at the first request that finds
 * it unopened (at construction would be too early: the app's own `connect()` may be on the next line, and a
 * second one throws), and never closed.
 */
export class RedisLink {
  readonly #observer: LinkObserver;
  readonly #own: boolean;
  #client: RedisClient | undefined;
  #asleep: boolean;
  #closed = false;

  constructor(
    target: RedisClient | RedisUrl,
    observer: LinkObserver,
    importRedis: ImportRedis = () => import('redis'),
  ) {
    this.#observer = observer;
    this.#own = target instanceof RedisUrl;
    this.#asleep = !this.#own && !(target as RedisClient).isOpen;
    if (target instanceof RedisUrl) void this.#open(target, importRedis);
    else this.#listen(target);
  }

  get ready(): boolean {
    return this.#client?.isReady === true;
  }

  /** Rejects when the link is down, or when Redis answers with an error; has no deadline. */
  send(args: readonly string[]): Promise<unknown> {
    if (this.#client?.isReady !== true) return Promise.reject(new Error('there is no connection to Redis'));
    return this.#client.sendCommand(args, WITHOUT_TIMEOUT);
  }

  /** Connects a client that was handed in and that nobody has connected so far. */
  wake(): void {
    if (!this.#asleep) return;
    this.#asleep = false;
    const client = this.#client;
    if (client !== undefined && !client.isOpen) void this.#connect(client);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const client = this.#client;
    if (client === undefined) return;
    if (!this.#own) {
      client.off('ready', this.#onReady);
      client.off('error', this.#onError);
      raiseListeners(client, -1);
    } else if (client.isOpen) {
      // Not close(): that waits for the replies of a Redis that may be silent.
      (client as RedisClient & { destroy(): void }).destroy();
    }
  }

  readonly #onReady = (): void => {
    this.#asleep = false;
    this.#observer.up();
  };

  readonly #onError = (error: Error): void => {
    if (!this.ready) this.#observer.down(error);
  };

  /** Without an `error` listener, node-redis ends the process when the connection is lost. */
  #listen(client: RedisClient): void {
    this.#client = client;
    raiseListeners(client, 1);
    client.on('error', this.#onError);
    client.on('ready', this.#onReady);
  }

  async #open(url: RedisUrl, importRedis: ImportRedis): Promise<void> {
    try {
      const client = await ownRedisClient(url, importRedis);
      if (this.#closed) return;
      this.#listen(client);
      await this.#connect(client);
    } catch (cause) {
      if (this.#closed) return;
      const error = new Error('The Redis client cannot be made: is the package "redis" installed?', { cause });
      this.#observer.down(error);
      process.emitWarning(error.message, { type: 'ExpresswayRedisWarning', detail: String(cause) });
    }
  }

  async #connect(client: RedisClient): Promise<void> {
    try {
      await client.connect();
    } catch (error) {
      if (!this.#closed) this.#observer.down(error as Error);
    }
  }
}

/** Each limiter adds a listener of its own to a shared client, which is no leak for Node to warn of. */
function raiseListeners(client: RedisClient, by: 1 | -1): void {
  const limit = client.getMaxListeners();
  if (limit > 0) client.setMaxListeners(limit + by);
}
