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
  jest.useRealTimers();
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

  test('leaves the opening to an app that is about to open it', () => {
    const client = new FakeRedisClient();
    client.isOpen = client.isReady = false;
    const link = new RedisLink(client, observer());
    client.isOpen = true;
    link.wake();
    expect(client.connects).toBe(0);
  });

  test('leaves the reopening to an app that opened it after the link was made', () => {
    const client = new FakeRedisClient();
    client.isOpen = client.isReady = false;
    const seen = observer();
    const link = new RedisLink(client, seen);
    client.isOpen = true;
    client.regain();
    expect(seen.up).toHaveBeenCalledTimes(1);
    client.destroy();
    link.wake();
    expect(client.connects).toBe(0);
  });

  test('has a connection only when the client says so, regardless of its events', () => {
    const client = new FakeRedisClient();
    const seen = observer();
    const link = new RedisLink(client, seen);
    expect(link.ready).toBe(true);
    client.isReady = false;
    client.emit('ready');
    expect([seen.up.mock.calls.length, link.ready]).toEqual([0, false]);
  });

  test('tries again, less and less often, until it is open or the link is closed', async () => {
    jest.useFakeTimers();
    jest.spyOn(Math, 'random').mockReturnValue(0);
    const client = new FakeRedisClient();
    client.isOpen = client.isReady = false;
    const triedAt: number[] = [];
    client.connect = async () => {
      triedAt.push(Date.now() - start);
      throw new Error('no such host');
    };
    const seen = observer();
    const link = new RedisLink(client, seen);
    const start = Date.now();
    link.wake();
    await jest.advanceTimersByTimeAsync(0);
    link.wake();
    await jest.advanceTimersByTimeAsync(400);
    expect(triedAt).toEqual([0, 50, 150, 350]);
    expect(seen.down).toHaveBeenCalledTimes(4);
    client.isOpen = true;
    await jest.advanceTimersByTimeAsync(10_000);
    expect([triedAt.length, jest.getTimerCount()]).toEqual([4, 0]);
    link.close();
  });

  test('neither tries again nor reports anything once the link is closed', async () => {
    jest.useFakeTimers();
    for (const closesAfterMs of [0, 20]) {
      const client = new FakeRedisClient();
      client.isOpen = client.isReady = false;
      client.connect = () => new Promise((_, reject) => setTimeout(reject, 10, new Error('no such host')));
      const connect = jest.spyOn(client, 'connect');
      const seen = observer();
      const link = new RedisLink(client, seen);
      link.wake();
      await jest.advanceTimersByTimeAsync(closesAfterMs);
      link.close();
      await jest.advanceTimersByTimeAsync(10_000);
      expect([connect.mock.calls.length, seen.down.mock.calls.length]).toEqual([1, closesAfterMs > 0 ? 1 : 0]);
    }
  });

  test('adds nothing to a client that may have any number of listeners', () => {
    const client = new FakeRedisClient();
    client.setMaxListeners(0);
    new RedisLink(client, observer()).close();
    expect(client.getMaxListeners()).toBe(0);
    const link = new RedisLink(client, observer());
    expect(client.getMaxListeners()).toBe(0);
    link.close();
  });

  test('reports a connection that cannot be made', async () => {
    const client = new FakeRedisClient();
    client.isOpen = client.isReady = false;
    client.connect = () => Promise.reject(new Error('no such host'));
    const seen = observer();
    const link = new RedisLink(client, seen);
    link.wake();
    await eventually('it is reported', () => seen.down.mock.calls.length > 0);
    expect(seen.down.mock.lastCall?.[0].message).toBe('no such host');
    link.close();
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
    await eventually('a client is created', () => createClient.mock.calls.length === 1);
    expect(createClient.mock.results[0]?.value).toMatchObject({ connects: 0 });
    expect(seen.down).not.toHaveBeenCalled();
  });

  test('says nothing when the package cannot be loaded and the link is closed', async () => {
    const warning = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const { promise, reject } = Promise.withResolvers<never>();
    const seen = observer();
    const link = new RedisLink(new RedisUrl('redis://localhost'), seen, () => promise);
    await expect(link.send(['PING'])).rejects.toThrow('there is no connection to Redis');
    link.close();
    reject(new Error("Cannot find package 'redis'"));
    await new Promise(setImmediate);
    expect([seen.down.mock.calls, warning.mock.calls]).toEqual([[], []]);
  });

  /** Clients that connect for as long as the test wants, one after the other. */
  function opening(scheme: 'redis' | 'redis+cluster', connecting?: Promise<never>) {
    jest.useFakeTimers();
    const clients: (FakeRedisClient & { destroyed: number })[] = [];
    const create = () => {
      const client = Object.assign(new FakeRedisClient(), { destroyed: 0, slots: [], getNode: () => {} });
      if (scheme === 'redis+cluster') Object.assign(client, { masters: [{}] });
      client.isOpen = client.isReady = false;
      if (connecting !== undefined && clients.length === 0) client.connect = () => connecting;
      client.destroy = () => {
        client.destroyed++;
        client.isOpen = client.isReady = false;
      };
      clients.push(client);
      return client;
    };
    const importRedis = async () => ({ createClient: create, createCluster: create });
    const seen = observer();
    const link = new RedisLink(new RedisUrl(`${scheme}://localhost`), seen, importRedis as unknown as ImportRedis);
    return { link, seen, clients };
  }

  test('a cluster that has not connected after five seconds is asked anew for its nodes', async () => {
    const { link, seen, clients } = opening('redis+cluster');
    await jest.advanceTimersByTimeAsync(4_999);
    expect(clients.map(({ connects }) => connects)).toEqual([1]);
    await jest.advanceTimersByTimeAsync(1);
    expect(clients.map(({ connects, destroyed }) => [connects, destroyed])).toEqual([
      [1, 1],
      [1, 0],
    ]);
    (clients[1] as FakeRedisClient).isReady = true;
    clients[1]?.emit('node-ready');
    expect(seen.up).toHaveBeenCalledTimes(1);
    await jest.advanceTimersByTimeAsync(60_000);
    expect([clients.length, link.ready]).toEqual([2, true]);
    link.close();
    expect(jest.getTimerCount()).toBe(0);
  });

  test('a cluster that cannot be reached is tried again as well, whatever the result of the first try', async () => {
    const first = Promise.withResolvers<never>();
    const { link, seen, clients } = opening('redis+cluster', first.promise);
    await jest.advanceTimersByTimeAsync(5_000);
    expect(clients.map(({ destroyed }) => destroyed)).toEqual([0, 0]);
    (clients[1] as FakeRedisClient).isReady = true;
    first.reject(new Error('too late'));
    await jest.advanceTimersByTimeAsync(1_000);
    expect(seen.down).not.toHaveBeenCalled();
    link.close();
    await jest.advanceTimersByTimeAsync(60_000);
    expect(clients).toHaveLength(2);
  });

  test('a single Redis is waited for with one client', async () => {
    const { link, clients } = opening('redis');
    await jest.advanceTimersByTimeAsync(60_000);
    expect(clients.map(({ connects }) => connects)).toEqual([1]);
    link.close();
    expect(clients[0]?.destroyed).toBe(1);
  });

  test('a client of its own that could not connect tries again when it is time to, not when a request comes', async () => {
    const { link, seen, clients } = opening('redis', Promise.reject(new Error('no such host')));
    const connect = jest.fn(() => Promise.reject(new Error('no such host')));
    await jest.advanceTimersByTimeAsync(0);
    expect(seen.down).toHaveBeenCalledTimes(1);
    Object.assign(clients[0] as FakeRedisClient, { connect });
    link.wake();
    expect(connect).not.toHaveBeenCalled();
    await jest.advanceTimersByTimeAsync(200);
    expect(connect).toHaveBeenCalled();
    link.close();
  });

  test('a client that is not open is not closed', async () => {
    const { link, clients } = opening('redis');
    await jest.advanceTimersByTimeAsync(0);
    (clients[0] as FakeRedisClient).isOpen = false;
    link.close();
    expect(clients[0]?.destroyed).toBe(0);
  });

  test('closes its client without waiting for replies', async () => {
    const client = new FakeRedisClient();
    client.isOpen = false;
    const importRedis = async () => ({ createClient: () => client });
    const url = new RedisUrl('redis://localhost');
    const seen = observer();
    const link = new RedisLink(url, seen, importRedis as unknown as ImportRedis);
    await eventually('it connects', () => client.isOpen);
    link.close();
    expect(client.isOpen).toBe(false);
    client.emit('error', new Error('too late to matter'));
    expect(seen.down).not.toHaveBeenCalled();
  });

  test('waits longer from attempt to attempt, and never gives up', () => {
    for (const retries of [0, 1, 5, 50, 5_000]) {
      const wait = reconnectStrategy(retries);
      expect(wait).toBeGreaterThanOrEqual(Math.min(50 * 2 ** retries, LONGEST_RECONNECT_MS - 100));
      expect(wait).toBeLessThanOrEqual(LONGEST_RECONNECT_MS);
    }
  });
});
