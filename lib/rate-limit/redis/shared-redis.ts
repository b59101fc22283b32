import { type ImportRedis, importRedis } from './own-redis-client.ts';
import { RedisUrl } from './redis-address.ts';
import { type LinkObserver, RedisLink } from './redis-link.ts';

/** What a limiter uses of a connection to Redis. */
export type Link = Pick<RedisLink, 'ready' | 'send' | 'wake' | 'close'>;

/** So long, in milliseconds, one limiter's count of gateways is good for the others. */
const COUNT_TTL_MS = 10_000;

/** One connection to Redis for several limiters. It is made when the first of them needs it, and stays until `close()`. */
export class SharedRedis extends RedisUrl {
  readonly #observers = new Set<LinkObserver>();
  readonly #links = new WeakMap<Link, RedisLink>();
  #current: RedisLink | undefined;
  /** What the connection failed with last, until it is back. */
  #error: Error | undefined;
  #count = { gateways: 1, at: 0 };
  #isClosed = false;
  readonly #importPackage: ImportRedis;

  constructor(href: string, importPackage: ImportRedis = importRedis) {
    super(href);
    this.#importPackage = importPackage;
  }

  /**
   * @param instead A link that leads to the wrong Redis: for the first limiter that says so, the connection is made anew.
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

  /** The most gateways that a limiter has heard of a short while ago: one that is new has not heard of any yet. */
  get gateways(): number {
    const age = Date.now() - this.#count.at;
    return age >= 0 && age < COUNT_TTL_MS ? this.#count.gateways : 1;
  }

  heardOf(gateways: number): void {
    if (gateways >= this.gateways) this.#count = { gateways, at: Date.now() };
  }

  /** To be called when the limiters are closed. */
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
