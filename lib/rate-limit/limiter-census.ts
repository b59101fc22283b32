import type { IncomingMessage } from 'node:http';
import type { Server } from 'node:net';
import { noticeMaking } from '../core/made-per-request.ts';
import { warn } from '../core/warnings.ts';
import type { RedisUrl } from './redis/redis-address.ts';
import type { RedisClient } from './redis/redis-client.ts';

/** More than any program has limiters. It bounds the memory that a mistake can take. */
const MOST_PREFIXES = 1_000;

/** One prefix of keys in one Redis, and the limiter that last counted there. */
interface PrefixUse {
  last: LimiterMember | undefined;
  isTold: boolean;
}

/** The limiters that one server has used. */
interface Census {
  readonly uses: Map<LimiterKeys['redis'], Map<string, PrefixUse>>;
}

const kCensus = Symbol('expressway.limiters');

/** The keys that a limiter writes. */
export interface LimiterKeys {
  /** As in the options. The same URL, or the same client object, is the same Redis. */
  readonly redis: RedisClient | RedisUrl | string;
  readonly prefix: string;
}

/**
 * One limiter among those of a server. Detects limiters that are created per request, and two limiters that count under one prefix. While
 * nothing new comes, a request costs one comparison, of `use.last` with this object.
 */
export class LimiterMember {
  readonly #madeAt = Date.now();
  readonly #keys: LimiterKeys | undefined;
  #isKnown = false;
  use: PrefixUse = { last: undefined, isTold: false };

  readonly #isManaged: boolean;

  /**
   * @param keys `undefined` without Redis, where limiters cannot share counts by mistake.
   * @param isManaged Whether the suite itself creates the limiter. Then a new one during traffic is no mistake.
   */
  constructor(keys: LimiterKeys | undefined, isManaged: boolean) {
    this.#keys = keys;
    this.#isManaged = isManaged;
  }

  /** Call it for a request when `use.last` is another limiter. */
  called(req: IncomingMessage): void {
    const comesBack = this.#isKnown;
    if (!comesBack) this.#introduce(req);
    const { use } = this;
    use.last = this;
    // A limiter that replaces another one for good is no mistake: that is how an app changes a limit during traffic.
    if (!comesBack || use.isTold) return;
    use.isTold = true;
    warn(
      'WARN_EXPRESSWAY_LIMITER_PREFIX',
      `Two rate limiters use the same keys in Redis, "${this.#keys?.prefix}…": requests that pass one also count against the limit ` +
        'of the other. Give each its own name, or mount one limiter in both places.',
    );
  }

  #introduce(req: IncomingMessage): void {
    this.#isKnown = true;
    const place = (req.socket as { server?: Server & { [kCensus]?: Census } } | undefined)?.server;
    if (place === undefined) return;
    place[kCensus] ??= { uses: new Map() };
    const census = place[kCensus];
    if (this.#keys !== undefined) this.use = useOf(census, this.#keys, this.use);
    if (this.#isManaged) return;
    noticeMaking(
      req,
      this.#madeAt,
      'WARN_EXPRESSWAY_LIMITER_PER_REQUEST',
      'rate limiters were made within a minute while requests came in. A limiter that is made for each request has its own counts ' +
        'and limits no client. Call ipRateLimit() once, where you set up the app.',
    );
  }
}

function useOf({ uses }: Census, { redis, prefix }: LimiterKeys, fresh: PrefixUse): PrefixUse {
  const found = uses.get(redis)?.get(prefix);
  if (found !== undefined) return found;
  const ofRedis = uses.get(redis) ?? new Map<string, PrefixUse>();
  if (uses.size < MOST_PREFIXES && ofRedis.size < MOST_PREFIXES) uses.set(redis, ofRedis.set(prefix, fresh));
  return fresh;
}
