import type { IncomingMessage } from 'node:http';
import type { Server } from 'node:net';
import { noticeMaking } from '../core/made-per-request.ts';
import { warn } from '../core/warnings.ts';
import type { RedisUrl } from './redis/redis-address.ts';
import type { RedisClient } from './redis/redis-client.ts';

/** More than the limiters of any one program: it bounds what a mistake can fill. */
const MOST_PREFIXES = 1_000;

/** The keys of one prefix in one Redis, and who was the last to count there. */
interface PrefixUse {
  last: LimiterMember | undefined;
  isTold: boolean;
}

/** What one server has seen of limiters. */
interface Census {
  readonly uses: Map<LimiterKeys['redis'], Map<string, PrefixUse>>;
}

const kCensus = Symbol('expressway.limiters');

/** The keys that a limiter writes. */
export interface LimiterKeys {
  /** As it was given: the same URL, or the very same client, is the same Redis. */
  readonly redis: RedisClient | RedisUrl | string;
  readonly prefix: string;
}

/**
 * One limiter, as the server sees it that it works for: finds limiters that are made per request, and two that count under
 * one prefix. As long as nothing new is seen, a request costs the comparison of `use.last` with the member.
 */
export class LimiterMember {
  readonly #madeAt = Date.now();
  readonly #keys: LimiterKeys | undefined;
  #isKnown = false;
  use: PrefixUse = { last: undefined, isTold: false };

  readonly #isManaged: boolean;

  /**
   * @param keys Nothing without Redis, where nothing can be shared by mistake.
   * @param isManaged Whether the suite itself makes the limiter, so that one that is new while requests come is no mistake.
   */
  constructor(keys: LimiterKeys | undefined, isManaged: boolean) {
    this.#keys = keys;
    this.#isManaged = isManaged;
  }

  /** A request came to this limiter and it was not the last in its use. */
  called(req: IncomingMessage): void {
    const comesBack = this.#isKnown;
    if (!comesBack) this.#introduce(req);
    const { use } = this;
    use.last = this;
    // One that takes another's place for good is no mistake: that is how a limit is changed while traffic flows.
    if (!comesBack || use.isTold) return;
    use.isTold = true;
    warn(
      'WARN_EXPRESSWAY_LIMITER_PREFIX',
      `Two rate limiters use the same keys in Redis, "${this.#keys?.prefix}…": what passes one is counted against the limit ` +
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
      'rate limiters were made within a minute while requests were coming: one that is made per request has counts of its own ' +
        'and limits no client. Call ipRateLimit() once, where the app is put together.',
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
