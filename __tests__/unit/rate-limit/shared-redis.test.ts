import { expect, jest, test } from '@jest/globals';
import type { ImportRedis } from '../../../lib/rate-limit/redis/own-redis-client.ts';
import { SharedRedis } from '../../../lib/rate-limit/redis/shared-redis.ts';
import { eventually } from '../../support/servers.ts';
import { FakeRedisClient } from './fake-redis-client.ts';

const observer = () => ({ up: jest.fn(), down: jest.fn<(error: Error) => void>() });

/** A shared Redis, and the clients that it has made. */
function shared() {
  const clients: FakeRedisClient[] = [];
  const createClient = () => {
    const client = new FakeRedisClient();
    client.isOpen = client.isReady = false;
    clients.push(client);
    return client;
  };
  const redis = new SharedRedis('redis://localhost', (async () => ({ createClient })) as never as ImportRedis);
  const connects = async (count: number) => {
    await eventually('it connects', () => clients.length === count && clients[count - 1]?.isOpen === true);
    const client = clients[count - 1] as FakeRedisClient;
    client.isReady = true;
    client.emit('ready');
    return client;
  };
  return { redis, clients, connects };
}

test('all limiters have one connection, which stays when one of them leaves, until it is closed', async () => {
  const { redis, clients, connects } = shared();
  const [one, two] = [observer(), observer()];
  const [first, second] = [redis.join(one), redis.join(two)];
  const client = await connects(1);
  expect([one.up.mock.calls.length, two.up.mock.calls.length, first.ready, second.ready]).toEqual([1, 1, true, true]);
  first.close();
  client.isReady = false;
  client.emit('error', new Error('lost'));
  expect([one.down.mock.calls.length, two.down.mock.calls.length]).toEqual([0, 1]);
  second.close();
  expect(client.isOpen).toBe(true);
  redis.join(observer());
  expect(clients).toHaveLength(1);
  redis.close();
  expect(client.isOpen).toBe(false);
});

test('a limiter that is made while Redis is away gets the reason', async () => {
  const { redis, connects } = shared();
  redis.join(observer());
  const client = await connects(1);
  client.isReady = false;
  client.emit('error', new Error('lost'));
  const late = observer();
  redis.join(late);
  expect(late.down).not.toHaveBeenCalled();
  await Promise.resolve();
  expect(late.down.mock.lastCall?.[0].message).toBe('lost');
  client.isReady = true;
  client.emit('ready');
  const later = observer();
  expect(redis.join(later).ready).toBe(true);
  await Promise.resolve();
  expect(later.down).not.toHaveBeenCalled();
  redis.close();
});

test('of several limiters that say that it leads to the wrong Redis, the first has it made anew', async () => {
  const { redis, clients, connects } = shared();
  const [one, two] = [observer(), observer()];
  const [first, second] = [redis.join(one), redis.join(two)];
  const wrong = await connects(1);
  const again = redis.join(one, first);
  expect(wrong.isOpen).toBe(false);
  await connects(2);
  redis.join(two, second);
  expect(clients).toHaveLength(2);
  expect([one.up.mock.calls.length, two.up.mock.calls.length]).toEqual([2, 2]);
  redis.join(one, again);
  await connects(3);
  redis.close();
});

test('news of one limiter about other gateways counts for all limiters, for ten seconds', () => {
  jest.useFakeTimers();
  try {
    const { redis } = shared();
    expect(redis.gateways).toBe(1);
    redis.heardOf(3);
    redis.heardOf(2);
    expect(redis.gateways).toBe(3);
    jest.advanceTimersByTime(10_000);
    expect(redis.gateways).toBe(1);
    redis.heardOf(2);
    expect(redis.gateways).toBe(2);
  } finally {
    jest.useRealTimers();
  }
});
