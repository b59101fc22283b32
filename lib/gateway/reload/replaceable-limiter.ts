import type { IncomingMessage, ServerResponse } from 'node:http';
import { type CounterLink, type GatewayEvents, type IpRateLimiter, ipRateLimit } from 'expressway';
import type { Config } from '../config/config.ts';

/** Far longer than a limiter waits for Redis, or a counter: by then it has decided about every request that it was given. */
const RETIRE_AFTER_MS = 5_000;

/** A limiter in whose place another one can be put while requests pass. */
export interface ReplaceableLimiter extends IpRateLimiter {
  /** The one before decides about the requests that it has, and is closed then. */
  replace(next: IpRateLimiter): void;
}

/**
 * A primary that serves no traffic is late only where the machine has no time left: a client waits so long for its answer, and
 * then the worker counts alone with its part of the limit.
 */
const COUNTER_TIMEOUT_MS = 1_000;

/**
 * @param counter Counts for a worker, unless Redis does.
 * @throws {OptionsError} for values that are good one by one, and not together.
 */
export function createLimiter(
  { rateLimit, redisUrl, trustProxy }: Config,
  events: GatewayEvents,
  counter: CounterLink | undefined,
): IpRateLimiter {
  const options = { ...rateLimit, trustProxy, events };
  if (redisUrl !== undefined || counter === undefined) return ipRateLimit({ ...options, redis: redisUrl });
  return ipRateLimit({ ...options, counter, storeTimeoutMs: COUNTER_TIMEOUT_MS });
}

export function replaceableLimiter(first: IpRateLimiter): ReplaceableLimiter {
  let current = first;
  const retired = new Map<IpRateLimiter, NodeJS.Timeout>();

  function limit(req: IncomingMessage, res: ServerResponse, next: (error?: unknown) => void): void {
    current(req, res, next);
  }

  return Object.defineProperties(limit, {
    name: { value: first.name },
    mode: { get: () => current.mode, enumerable: true },
    events: { value: first.events, enumerable: true },
    resetKey: { value: (key: string) => current.resetKey(key), enumerable: true },
    ready: { value: () => current.ready(), enumerable: true },
    replace: {
      value(next: IpRateLimiter): void {
        const old = current;
        current = next;
        const timer = setTimeout(() => {
          retired.delete(old);
          void old.close();
        }, RETIRE_AFTER_MS).unref();
        retired.set(old, timer);
      },
    },
    close: {
      async value(): Promise<void> {
        for (const timer of retired.values()) clearTimeout(timer);
        const all = [current, ...retired.keys()];
        retired.clear();
        await Promise.all(all.map((limiter) => limiter.close()));
      },
    },
  }) as unknown as ReplaceableLimiter;
}
