import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { ipKeyGenerator, MemoryStore, type Options, rateLimit } from 'express-rate-limit';
import fc from 'fast-check';
import { addressKey } from '../../lib/core/address-key.ts';

type AnyMiddleware = (req: object, res: object, next: (error?: unknown) => void) => Promise<void>;

function limiter(options: Partial<Options>): AnyMiddleware {
  const quiet = { legacyHeaders: false, validate: false } as const;
  return rateLimit({ ...quiet, ...options }) as unknown as AnyMiddleware;
}

const stores: MemoryStore[] = [];
function memoryStore(windowMs = 60_000): MemoryStore {
  const store = new MemoryStore();
  store.init({ windowMs } as Options);
  stores.push(store);
  return store;
}

afterEach(() => {
  for (const store of stores.splice(0)) store.shutdown();
  jest.restoreAllMocks();
});

const brokenStore = (increment: () => Promise<never>) => ({
  increment,
  decrement: async () => {},
  resetKey: async () => {},
});

describe('express-rate-limit 8.7', () => {
  test('waits for its store without a deadline', async () => {
    let passed = false;
    const silent = brokenStore(() => new Promise(() => {}));
    jest.useFakeTimers();
    void limiter({ store: silent, keyGenerator: () => 'k', passOnStoreError: true })({}, {}, () => {
      passed = true;
    });
    await jest.advanceTimersByTimeAsync(3_600_000);
    jest.useRealTimers();
    expect(passed).toBe(false);
  });

  test('hands an error of its store to next(), or lets the request pass without a limit', async () => {
    const failing = brokenStore(() => Promise.reject(new Error('broken')));
    const next = jest.fn();
    await limiter({ store: failing, keyGenerator: () => 'k' })({}, {}, next);
    expect(next).toHaveBeenLastCalledWith(expect.objectContaining({ message: 'broken' }));

    const logger = { warn: jest.fn(), error: jest.fn() };
    await limiter({ store: failing, keyGenerator: () => 'k', passOnStoreError: true, logger })({}, {}, next);
    expect(next).toHaveBeenLastCalledWith();
    expect(logger.error).toHaveBeenCalledTimes(1);
  });

  test('judges pipelined requests by the count of the last one, with its own memory store', async () => {
    const handler = jest.fn();
    const next = jest.fn();
    const limited = limiter({ store: memoryStore(), limit: 2, keyGenerator: () => 'k', handler });
    await Promise.all([limited({}, {}, next), limited({}, {}, next), limited({}, {}, next)]);
    expect(next).toHaveBeenCalledTimes(0);
    expect(handler).toHaveBeenCalledTimes(3);
  });

  test('counts in its memory store before increment() returns, and replaces the reset time instead of changing it', async () => {
    jest.useFakeTimers();
    const store = memoryStore(1_000);
    const counting = store.increment('k');
    const record = store.current.get('k');
    const resetTime = record?.resetTime;
    expect(record?.totalHits).toBe(1);
    await counting;
    jest.advanceTimersByTime(1_000);
    await store.increment('k');
    expect(store.previous.get('k') ?? store.current.get('k')).toMatchObject({ totalHits: 1 });
    expect((await store.get('k'))?.resetTime).not.toBe(resetTime);
    jest.useRealTimers();
  });

  test('needs only a key from the request, and assigns its result before it calls next or the handler', async () => {
    const touched = new Set<PropertyKey>();
    const order: string[] = [];
    const request = new Proxy(
      {},
      {
        get: (_, name) => {
          touched.add(name);
          return undefined;
        },
        set: (_, name, value: { remaining: number }) => {
          order.push(`${String(name)} ${value.remaining}`);
          return true;
        },
      },
    );
    const limited = limiter({
      store: memoryStore(),
      limit: 1,
      keyGenerator: () => 'k',
      handler: (req) => void order.push(`handler ${req === request}`),
    });
    await limited(request, {}, () => order.push('next'));
    await limited(request, {}, () => order.push('next'));
    expect(order).toEqual(['rateLimit 0', 'next', 'rateLimit 0', 'handler true']);
    expect([...touched]).toEqual(['originalUrl', 'ip']);
  });

  test('calls the key generator in a microtask, stores the key under the configured property, and passes next to its handler', async () => {
    const seen: unknown[] = [];
    const store = {
      increment: async (one: string) => {
        seen.push(one);
        return { totalHits: 2, resetTime: undefined };
      },
      decrement: () => {},
      resetKey: () => {},
    };
    const request: { own?: { key: string } } = {};
    const keyGenerator = jest.fn(() => 'ticket');
    const handler = jest.fn((req: typeof request, _res: unknown, next: () => void) => {
      seen.push(req.own?.key);
      next();
    });
    const limited = limiter({ store, limit: 1, requestPropertyName: 'own', keyGenerator, handler: handler as never });
    const next = jest.fn();
    const done = limited(request, {}, next);
    expect(keyGenerator).not.toHaveBeenCalled();
    await done;
    expect(seen).toEqual(['ticket', 'ticket']);
    expect(next).toHaveBeenCalledTimes(1);
  });

  test('only prints an error of the init() of a store', () => {
    const logger = { warn: jest.fn(), error: jest.fn() };
    const store = {
      ...brokenStore(() => Promise.reject(new Error('never'))),
      init: () => {
        throw new Error('bad options');
      },
    };
    expect(() => limiter({ store, logger })).not.toThrow();
    expect(logger.error).toHaveBeenCalledTimes(1);
  });

  test('counts all requests without an address under one key', async () => {
    const store = memoryStore();
    await limiter({ store })({ headers: {}, app: { get: () => false } }, {}, () => {});
    expect(store.current.has(undefined as unknown as string)).toBe(true);
  });

  test('hashes the key of every request for draft-8', async () => {
    const fields: Record<string, string> = {};
    const response = { append: (name: string, value: string) => Object.assign(fields, { [name]: value }) };
    await limiter({ store: memoryStore(), standardHeaders: 'draft-8', identifier: 'ip', keyGenerator: () => 'k' })(
      {},
      response,
      () => {},
    );
    expect(fields['RateLimit-Policy']).toMatch(/^"ip"; q=5; w=60; pk=:[A-Za-z0-9+/]+:$/);
  });

  test('prints its problems instead of throwing them', () => {
    const logger = { warn: jest.fn(), error: jest.fn() };
    rateLimit({ ipv6Subnet: 1, logger, store: memoryStore() });
    expect(logger.error).toHaveBeenCalledWith(expect.objectContaining({ code: 'ERR_ERL_IPV6_SUBNET' }));
    rateLimit({ ipv6Subnet: 1, logger, validate: false, store: memoryStore() });
    expect(logger.error).toHaveBeenCalledTimes(1);
  });

  test('keeps no process alive with its memory store', () => {
    const store = memoryStore();
    expect(store.interval?.hasRef()).toBe(false);
  });

  test('ipKeyGenerator() uses the same IPv6 networks as our keys', () => {
    fc.assert(
      fc.property(fc.ipV6(), fc.integer({ min: 32, max: 64 }), (address, subnet) => {
        // Where it reads the dots of the deprecated IPv4-compatible form, one address has two keys.
        fc.pre(!/^[0:]*:\d+\.\d+\.\d+\.\d+$/.test(address));
        expect(addressKey(address, subnet)).toBe(ipKeyGenerator(address, subnet));
      }),
    );
  });

  test('ipKeyGenerator() has two keys for one address in two notations', () => {
    expect(ipKeyGenerator('::192.0.2.1')).not.toBe(ipKeyGenerator('::c000:201'));
    expect(addressKey('::192.0.2.1', 56)).toBe(addressKey('::c000:201', 56));
  });
});
