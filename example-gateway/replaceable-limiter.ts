import type { IncomingMessage, ServerResponse } from 'node:http';
import { type GatewayEvents, type IpRateLimiter, ipRateLimit } from 'expressway';
import type { Config } from './config.ts';

/** Far longer than a limiter waits for Redis: by then it has decided about every request that it was given. */
const RETIRE_AFTER_MS = 1_000;

/** A limiter in whose place another one can be put while requests pass. */
export interface ReplaceableLimiter extends IpRateLimiter {
  /** The one before decides about the requests that it has, and is closed then. */
  replace(next: IpRateLimiter): void;
}

/** @throws {OptionsError} for values that are good one by one, and not together. */
export const createLimiter = ({ rateLimit, redisUrl, trustProxy }: Config, events: GatewayEvents): IpRateLimiter =>
  ipRateLimit({ ...rateLimit, redis: redisUrl, trustProxy, events });

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
