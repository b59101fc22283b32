import { type ImportRedis, importRedis } from './own-redis-client.ts';
import { RedisUrl } from './redis-address.ts';
import { type LinkObserver, RedisLink } from './redis-link.ts';

/** The part of a connection to Redis that a limiter uses. */
export type Link = Pick<RedisLink, 'ready' | 'send' | 'wake' | 'close'>;

/** Milliseconds for which one limiter's count of gateways is valid for the others. */
const COUNT_TTL_MS = 10_000;

/** One connection to Redis for several limiters. The first that needs it makes it, and it stays until `close()`. */
export class SharedRedis extends RedisUrl {
  readonly #observers = new Set<LinkObserver>();
  readonly #links = new WeakMap<Link, RedisLink>();
  #current: RedisLink | undefined;
  /** The last error of the connection, until it is back. */
  #error: Error | undefined;
  #count = { gateways: 1, at: 0 };
  #isClosed = false;
  readonly #importPackage: ImportRedis;

  constructor(href: string, importPackage: ImportRedis = importRedis) {
    super(href);
    this.#importPackage = importPackage;
  }

  /**
   * @param instead A link that leads to the wrong Redis. The first limiter that reports it gets a new connection.
   */
  join(observer: LinkObserver, instead?: Link): Link {
    instead?.close();
    if (instead !== undefined && this.#links.get(instead) === this.#current) {
      this.#current?.close();
      this.#current = undefined;
    }
    this.#observers.add(observer);
    if (this.#current === undefined) this.#current = this.#connect();
    else if (this.#error !== undefined) this.#tellOfFailure(observer);
    const get = (): RedisLink => this.#current as RedisLink;
    const link: Link = {
      get ready() {
        return get().ready;
      },
      send: (args, key) => get().send(args, key),
      wake: () => get().wake(),
      close: () => void this.#observers.delete(observer),
    };
    this.#links.set(link, get());
    return link;
  }

  /** The highest count of gateways that any limiter got lately. A new limiter has no count of its own yet. */
  get gateways(): number {
    const age = Date.now() - this.#count.at;
    return age >= 0 && age < COUNT_TTL_MS ? this.#count.gateways : 1;
  }

  heardOf(gateways: number): void {
    if (gateways >= this.gateways) this.#count = { gateways, at: Date.now() };
  }

  /** Call it when all limiters are closed. */
  close(): void {
    this.#isClosed = true;
    this.#observers.clear();
    this.#current?.close();
  }

  #connect(): RedisLink {
    const all: LinkObserver = {
      up: () => {
        this.#error = undefined;
        for (const observer of [...this.#observers]) observer.up();
      },
      down: (error) => {
        this.#error = error;
        for (const observer of [...this.#observers]) observer.down(error);
      },
    };
    const link = new RedisLink(this, all, this.#importPackage);
    if (this.#isClosed) link.close();
    return link;
  }

  /** In a later tick, as a connection of its own would. */
  #tellOfFailure(observer: LinkObserver): void {
    queueMicrotask(() => {
      if (this.#error !== undefined && this.#observers.has(observer)) observer.down(this.#error);
    });
  }
}
