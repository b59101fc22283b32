import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { ImportRedis } from '../../../lib/rate-limit/redis/own-redis-client.ts';
import { LONGEST_RECONNECT_MS, reconnectStrategy } from '../../../lib/rate-limit/redis/own-redis-client.ts';
import { RedisUrl } from '../../../lib/rate-limit/redis/redis-address.ts';
import { RedisLink } from '../../../lib/rate-limit/redis/redis-link.ts';
import { eventually } from '../../support/servers.ts';
import { FakeRedisClient } from './fake-redis-client.ts';

const observer = () => ({ up: jest.fn(), down: jest.fn<(error: Error) => void>() });

afterEach(() => {
  jest.restoreAllMocks();
});

describe('RedisLink to a client that was handed in', () => {
  test('connects it once, and only when a request finds it unopened', () => {
    const client = new FakeRedisClient();
    client.isOpen = client.isReady = false;
    const link = new RedisLink(client, observer());
    expect(client.connects).toBe(0);
    link.wake();
    link.wake();
    expect(client.connects).toBe(1);
  });

  test('leaves the opening to the app that does it itself, and the reopening too', () => {
    const client = new FakeRedisClient();
    const link = new RedisLink(client, observer());
    client.isOpen = client.isReady = false;
    link.wake();
    expect(client.connects).toBe(0);
  });

  test('reports a connection that cannot be made', async () => {
    const client = new FakeRedisClient();
    client.isOpen = client.isReady = false;
    client.connect = () => Promise.reject(new Error('no such host'));
    const seen = observer();
    new RedisLink(client, seen).wake();
    await eventually('it is reported', () => seen.down.mock.calls.length > 0);
    expect(seen.down.mock.lastCall?.[0].message).toBe('no such host');
  });

  test('leaves it as it was when closed: open, with its own listeners', () => {
    const client = new FakeRedisClient();
    const links = Array.from({ length: 20 }, () => new RedisLink(client, observer()));
    expect(client.listenerCount('error')).toBe(20);
    expect(client.getMaxListeners()).toBe(30);
    for (const link of links) {
      link.close();
      link.close();
    }
    expect(client.eventNames()).toEqual([]);
    expect(client.getMaxListeners()).toBe(10);
    expect(client.isOpen).toBe(true);
  });

  test('never sends through a client that is not ready, so that nothing is queued for later', async () => {
    const client = new FakeRedisClient();
    client.isReady = false;
    await expect(new RedisLink(client, observer()).send(['PING'])).rejects.toThrow('no connection');
    expect(client.sent).toEqual([]);
  });
});

describe('RedisLink to a URL', () => {
  test('says loudly that the package is missing', async () => {
    const warning = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const seen = observer();
    const missing: ImportRedis = () => Promise.reject(new Error("Cannot find package 'redis'"));
    const link = new RedisLink(new RedisUrl('redis://localhost'), seen, missing);
    expect(link.ready).toBe(false);
    await eventually('it is reported', () => seen.down.mock.calls.length > 0);
    const [error] = seen.down.mock.lastCall as [Error];
    expect(error.message).toContain('is the package "redis" installed?');
    expect(error.cause).toMatchObject({ message: "Cannot find package 'redis'" });
    expect(warning).toHaveBeenCalledWith(error.message, expect.objectContaining({ type: 'ExpresswayRedisWarning' }));
  });

  test('does not connect any more when it was closed meanwhile', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const createClient = jest.fn(() => new FakeRedisClient());
    const seen = observer();
    const importRedis = async () => {
      await promise;
      return { createClient };
    };
    const link = new RedisLink(new RedisUrl('redis://localhost'), seen, importRedis as unknown as ImportRedis);
    link.close();
    resolve();
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(createClient.mock.results[0]?.value).toMatchObject({ connects: 0 });
    expect(seen.down).not.toHaveBeenCalled();
  });

  test('closes its client without waiting for replies', async () => {
    const client = new FakeRedisClient();
    client.isOpen = false;
    const importRedis = async () => ({ createClient: () => client });
    const url = new RedisUrl('redis://localhost');
    const link = new RedisLink(url, observer(), importRedis as unknown as ImportRedis);
    await eventually('it connects', () => client.isOpen);
    link.close();
    expect(client.isOpen).toBe(false);
    client.emit('error', new Error('too late to matter'));
  });

  test('waits longer from attempt to attempt, and never gives up', () => {
    for (const retries of [0, 1, 5, 50, 5_000]) {
      const wait = reconnectStrategy(retries);
      expect(wait).toBeGreaterThanOrEqual(Math.min(50 * 2 ** retries, LONGEST_RECONNECT_MS - 100));
      expect(wait).toBeLessThanOrEqual(LONGEST_RECONNECT_MS);
    }
  });
});
