import { describe, expect, jest, test } from '@jest/globals';
import type { Options } from 'express-rate-limit';
import { RedisStore, type SendCommandFn } from 'rate-limit-redis';
import { createClient } from 'redis';
import { describeWithAnyRedis } from '../support/redis.ts';

const WINDOW = { windowMs: 60_000 } as Options;

function storeOn(send: (command: string) => Promise<unknown>) {
  const sendCommand = jest.fn((...args: string[]) => send(args[0] as string));
  const store = new RedisStore({ prefix: 'contract:', sendCommand: sendCommand as unknown as SendCommandFn });
  return { store, sendCommand };
}

describe('rate-limit-redis 6', () => {
  test('never repeats a failed script load', async () => {
    let down = true;
    const { store } = storeOn(async (command) => {
      if (down) throw new Error('down');
      return command === 'SCRIPT' ? 'sha' : [1, 60_000];
    });
    await expect(store.init(WINDOW)).rejects.toThrow('down');
    down = false;
    await expect(store.increment('k')).rejects.toThrow('down');
    await expect(store.increment('k')).rejects.toThrow('down');
    await store.init(WINDOW);
    await expect(store.increment('k')).resolves.toMatchObject({ totalHits: 1 });
  });

  test('loads the script again after NOSCRIPT, and retries after no other error', async () => {
    const errors = ['NOSCRIPT No matching script', 'READONLY You can not write', 'LOADING', 'OOM'];
    const { store, sendCommand } = storeOn(async (command) => {
      if (command === 'SCRIPT') return 'sha';
      const message = errors.shift();
      if (message !== undefined) throw new Error(message);
      return [1, 60_000];
    });
    await store.init(WINDOW);
    await expect(store.increment('k')).rejects.toThrow('READONLY');
    sendCommand.mockClear();
    await expect(store.increment('k')).rejects.toThrow('LOADING');
    await expect(store.increment('k')).rejects.toThrow('OOM');
    expect(sendCommand).toHaveBeenCalledTimes(2);
  });

  test('gives up when the script is lost again right after it was loaded', async () => {
    const { store, sendCommand } = storeOn(async (command) => {
      if (command === 'SCRIPT') return 'sha';
      throw new Error('NOSCRIPT No matching script');
    });
    await store.init(WINDOW);
    sendCommand.mockClear();
    await expect(store.increment('k')).rejects.toThrow('NOSCRIPT');
    expect(sendCommand.mock.calls.map(([command]) => command)).toEqual(['EVALSHA', 'SCRIPT', 'EVALSHA']);
  });

  test('accepts a reply that is not a number as a count', async () => {
    const { store } = storeOn(async (command) => (command === 'SCRIPT' ? 'sha' : ['junk', 'junk']));
    await store.init(WINDOW);
    expect(await store.increment('k')).toMatchObject({ totalHits: Number.NaN });
  });

  test('has no deadline', async () => {
    const { store } = storeOn((command) => (command === 'SCRIPT' ? Promise.resolve('sha') : new Promise(() => {})));
    await store.init(WINDOW);
    const settled = jest.fn();
    jest.useFakeTimers();
    store.increment('k').then(settled, settled);
    await jest.advanceTimersByTimeAsync(3_600_000);
    jest.useRealTimers();
    expect(settled).not.toHaveBeenCalled();
  });
});

describeWithAnyRedis('rate-limit-redis 6 on Redis', (redis) => {
  const newClient = () => createClient({ url: redis.url });

  async function withStore(use: (store: RedisStore, client: ReturnType<typeof newClient>) => Promise<void>) {
    const client = newClient();
    client.on('error', () => {});
    await client.connect();
    const send = ((...args: string[]) => client.sendCommand(args)) as SendCommandFn;
    const store = new RedisStore({ prefix: redis.keyPrefix, sendCommand: send });
    await store.init(WINDOW);
    await use(store, client);
    client.destroy();
  }

  test('gives each key an expiry with its first hit, and one to a key that has none', () =>
    withStore(async (store, client) => {
      await store.increment('new');
      expect(await client.pTTL(`${redis.keyPrefix}new`)).toBeGreaterThan(0);
      await client.set(`${redis.keyPrefix}stray`, '7');
      expect(await store.increment('stray')).toMatchObject({ totalHits: 1 });
      expect(await client.pTTL(`${redis.keyPrefix}stray`)).toBeGreaterThan(0);
    }));

  test('leaves -1 without an expiry when a hit of an ended window is taken back', () =>
    withStore(async (store, client) => {
      await store.decrement('ended');
      expect(await client.get(`${redis.keyPrefix}ended`)).toBe('-1');
      expect(await client.pTTL(`${redis.keyPrefix}ended`)).toBe(-1);
      await client.del(`${redis.keyPrefix}ended`);
    }));
});
