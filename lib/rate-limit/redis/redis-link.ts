import { warn } from '../../core/warnings.ts';
import {
  type ImportRedis,
  importRedis,
  type OwnRedisClient,
  ownRedisClient,
  reconnectStrategy,
} from './own-redis-client.ts';
import { RedisUrl } from './redis-address.ts';
import type { RedisClient } from './redis-client.ts';
import { connectionOf, type RedisConnection } from './redis-connection.ts';

/** Hears when the connection comes and goes. */
export interface LinkObserver {
  up(): void;
  down(error: Error): void;
}

/** How long a cluster may take to connect. */
const LONGEST_START_MS = 5_000;

/**
 * The connection to Redis: its own, made from a URL, or one that was handed in. The latter is only ever used
 * while it is ready, so that its offline queue stays empty; it is connected at the first request that finds
 * it unopened (at construction would be too early: the app's own `connect()` may be on the next line, and a
 * second one throws), and never closed.
 */
export class RedisLink {
  readonly #observer: LinkObserver;
  readonly #own: boolean;
  #connection: RedisConnection | undefined;
  #asleep = false;
  #closed = false;
  #retry: NodeJS.Timeout | undefined;
  #retries = 0;
  #start: NodeJS.Timeout | undefined;

  constructor(target: RedisClient | RedisUrl, observer: LinkObserver, importPackage: ImportRedis = importRedis) {
    this.#observer = observer;
    this.#own = target instanceof RedisUrl;
    if (target instanceof RedisUrl) {
      void this.#open(target, importPackage);
      return;
    }
    const connection = connectionOf(target);
    this.#asleep = !connection.open;
    this.#listen(connection);
  }

  get ready(): boolean {
    return this.#connection?.ready === true;
  }

  /**
   * Rejects when the link is down, or when Redis answers with an error; has no deadline.
   *
   * @param key One of the command's keys, which says where in a cluster it belongs.
   */
  send(args: readonly string[], key?: string): Promise<unknown> {
    if (this.#connection === undefined) return Promise.reject(new Error('there is no connection to Redis'));
    return this.#connection.send(args, key);
  }

  /** Connects a client that was passed in and is not connected yet. */
  wake(): void {
    if (!this.#asleep) return;
    this.#asleep = false;
    if (this.#connection?.open === false) void this.#connect(this.#connection);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#retry);
    clearTimeout(this.#start);
    const connection = this.#connection;
    if (connection === undefined) return;
    const { client, readyEvents, errorEvents, open } = connection;
    if (!this.#own) {
      for (const event of readyEvents) client.off(event, this.#onReady);
      for (const event of errorEvents) client.off(event, this.#onError);
      raiseListeners(client, -1);
    } else if (open) {
      // Not close(): that waits for the replies of a Redis that may be silent.
      void (client as OwnRedisClient).destroy();
    }
  }

  readonly #onReady = (): void => {
    this.#asleep = false;
    // Of a cluster, the first node may be ready before the cluster is; and every node says so.
    if (this.ready) this.#observer.up();
  };

  readonly #onError = (error: Error): void => {
    if (!this.#closed && !this.ready) this.#observer.down(error);
  };

  /** Without an `error` listener, node-redis ends the process when the connection is lost. */
  #listen(connection: RedisConnection): void {
    this.#connection = connection;
    const { client, readyEvents, errorEvents } = connection;
    raiseListeners(client, 1);
    for (const event of errorEvents) client.on(event, this.#onError);
    for (const event of readyEvents) client.on(event, this.#onReady);
  }

  async #open(url: RedisUrl, importPackage: ImportRedis): Promise<void> {
    try {
      const client = await ownRedisClient(url.address, importPackage);
      if (this.#closed) return;
      const connection = connectionOf(client);
      this.#listen(connection);
      if (url.address.shape === 'cluster') this.#watchStart(url, client, importPackage);
      await this.#connect(connection);
    } catch (cause) {
      if (this.#closed) return;
      const error = new Error('The Redis client cannot be made: is the package "redis" installed?', { cause });
      this.#observer.down(error);
      warn('WARN_EXPRESSWAY_REDIS_CLIENT', error.message, String(cause));
    }
  }

  /**
   * A cluster connects to every node that it knows, and waits for all: for ever, where one has died and another
   * has its slots by now. So it asks anew.
   */
  #watchStart(url: RedisUrl, client: OwnRedisClient, importPackage: ImportRedis): void {
    this.#start = setTimeout(() => {
      if (this.#closed || client.isReady) return;
      clearTimeout(this.#retry);
      if (client.isOpen) void client.destroy();
      void this.#open(url, importPackage);
    }, LONGEST_START_MS);
    this.#start.unref();
  }

  /** Clusters and Sentinels give up when no node replies, or soon after. */
  async #connect(connection: RedisConnection): Promise<void> {
    try {
      await connection.client.connect();
    } catch (error) {
      if (this.#closed || this.#connection !== connection) return;
      this.#observer.down(error as Error);
      clearTimeout(this.#retry);
      this.#retry = setTimeout(
        () => {
          if (!connection.open) void this.#connect(connection);
        },
        reconnectStrategy(this.#retries++),
      );
      this.#retry.unref();
    }
  }
}

/** Each limiter adds a listener of its own to a shared client, which is no leak for Node to warn of. */
function raiseListeners(client: RedisClient, by: 1 | -1): void {
  const limit = client.getMaxListeners();
  if (limit > 0) client.setMaxListeners(limit + by);
}
