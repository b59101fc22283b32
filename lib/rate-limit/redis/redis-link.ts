import { thrown, warn } from '../../core/warnings.ts';
import { messageOf } from './foreign-key.ts';
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

/** Is notified when the connection is made or lost. */
export interface LinkObserver {
  up(): void;
  down(error: Error): void;
}

/** Milliseconds that a cluster may take to connect. */
const LONGEST_START_MS = 5_000;

/**
 * The connection to Redis: its own, made from a URL, or a client that the app passed in.
 *
 * A client of the app is used only while it is ready, so that its offline queue stays empty. If the app has not connected it, the first
 * request does. (At construction that would be too early: the app's `connect()` may be on the next line, and a second one throws.) It is
 * never closed here.
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
   * Rejects when the connection is down, or when Redis replies with an error; has no deadline.
   *
   * @param key One of the command's keys. It decides which node of a cluster gets the command.
   */
  send(args: readonly string[], key?: string): Promise<unknown> {
    if (this.#connection === undefined) return Promise.reject(new Error('there is no connection to Redis'));
    return this.#connection.send(args, key);
  }

  /** Connects a client of the app that is not connected yet. */
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
      // Not close(), which would wait for the replies of a Redis that may hang.
      void (client as OwnRedisClient).destroy();
    }
  }

  readonly #onReady = (): void => {
    this.#asleep = false;
    // In a cluster each node emits this, and the first one may do so before the cluster is ready.
    if (this.ready) this.#observer.up();
  };

  readonly #onError = (error: unknown): void => {
    if (!this.#closed && !this.ready) this.#observer.down(redisError(error));
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
      warn('WARN_EXPRESSWAY_REDIS_CLIENT', error.message, thrown(cause));
    }
  }

  /**
   * Starts again when a cluster takes too long: node-redis waits for all nodes that it knows, and would wait for ever for one that has
   * died.
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

  /** The clients of clusters and Sentinels give up when no node replies, so this tries again. */
  async #connect(connection: RedisConnection): Promise<void> {
    try {
      await connection.client.connect();
    } catch (error) {
      if (this.#closed || this.#connection !== connection) return;
      this.#observer.down(redisError(error));
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

/** What a client rejected with, or emitted, as an error. */
const redisError = (error: unknown): Error =>
  messageOf(error) === ''
    ? new Error(`The Redis client failed with ${thrown(error)}`, { cause: error })
    : (error as Error);

/** Each limiter adds its own listener to a shared client. Node must not warn of a leak. */
function raiseListeners(client: RedisClient, by: 1 | -1): void {
  const limit = client.getMaxListeners();
  if (limit > 0) client.setMaxListeners(limit + by);
}
