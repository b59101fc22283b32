import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterEach, expect, jest, test } from '@jest/globals';
import { createClient, type RedisClientOptions } from 'redis';
import type { NodeRedisClient } from '../../lib/rate-limit/redis/redis-client.ts';
import { stays } from '../support/pause.ts';
import { describeWithRedis } from '../support/redis.ts';
import { eventually } from '../support/servers.ts';

describeWithRedis('redis 6 (node-redis)', (redis) => {
  const clients: { isOpen: boolean; destroy(): void }[] = [];

  function newClient(options: Partial<RedisClientOptions> = {}) {
    const client = createClient({ url: redis.url, ...options } as { url: string });
    const errors: Error[] = [];
    client.on('error', (error: Error) => errors.push(error));
    clients.push(client);
    return Object.assign(client, { errors });
  }

  const settled = (work: Promise<unknown>) => {
    const state = { done: false, error: undefined as Error | undefined };
    work.then(
      () => Object.assign(state, { done: true }),
      (error: Error) => Object.assign(state, { done: true, error }),
    );
    return state;
  };

  afterEach(async () => {
    jest.restoreAllMocks();
    redis.resume();
    for (const client of clients.splice(0)) if (client.isOpen) client.destroy();
  });

  test('connect() stays pending while Redis is down, and a second connect() throws', async () => {
    const client = newClient({ url: 'redis://127.0.0.1:1' });
    const connecting = settled(client.connect());
    await eventually('some attempts have failed', () => client.errors.length >= 3);
    expect(connecting.done).toBe(false);
    expect(client.isOpen).toBe(true);
    expect(client.isReady).toBe(false);
    await expect(client.connect()).rejects.toThrow('Socket already opened');
  });

  test('ends a process that has no error listener', async () => {
    const script = `import { createClient } from 'redis';
      const client = createClient({ url: 'redis://127.0.0.1:1' });
      client.connect();
      setTimeout(() => {}, 5_000);`;
    const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
    await expect(run).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining('ECONNREFUSED') });
  });

  test('queues commands while offline and sends them later, unless the queue is disabled', async () => {
    const strict = newClient({ disableOfflineQueue: true, socket: { reconnectStrategy: 50 } });
    const lenient = newClient({ socket: { reconnectStrategy: 50 } });
    await Promise.all([strict.connect(), lenient.connect()]);
    await redis.kill();
    await eventually('both noticed', () => !strict.isReady && !lenient.isReady);
    await expect(strict.sendCommand(['INCR', 'stale'])).rejects.toThrow('The client is offline');
    const stale = lenient.sendCommand(['INCR', 'stale']);
    await redis.start();
    expect(await stale).toBe(1);
  });

  test('emits ready after a recovery', async () => {
    const client = newClient({ socket: { reconnectStrategy: 50 } });
    await client.connect();
    const ready = jest.fn();
    client.on('ready', ready);
    await redis.restart();
    await eventually('it is ready again', () => ready.mock.calls.length > 0 && client.isReady);
  });

  test('times out only commands that were not sent yet', async () => {
    const client = newClient();
    await client.connect();
    redis.pause();
    const sent = settled(client.sendCommand(['PING'], { timeout: 50 }));
    await stays('what was sent has no timeout', () => !sent.done, 200);
    redis.resume();
    await eventually('the late reply came', () => sent.done);
    expect(sent.error).toBeUndefined();
  });

  test('makes an AbortSignal for each command, unless told that there is no timeout', async () => {
    const client = newClient();
    await client.connect();
    const timeout = jest.spyOn(AbortSignal, 'timeout');
    await client.sendCommand(['PING']);
    expect(timeout).toHaveBeenCalledTimes(1);
    await (client as NodeRedisClient).sendCommand(['PING'], { timeout: undefined });
    expect(timeout).toHaveBeenCalledTimes(1);
  });

  test('stops reconnecting after a socket timeout, unless its strategy returns a delay', async () => {
    const byDefault = newClient({ socket: { socketTimeout: 1_000 } });
    const stubborn = newClient({ socket: { socketTimeout: 1_000, reconnectStrategy: 50 } });
    await Promise.all([byDefault.connect(), stubborn.connect()]);
    const again = jest.fn();
    stubborn.on('reconnecting', again);
    await eventually('one gave up, one goes on', () => !byDefault.isOpen && again.mock.calls.length > 0);
    expect(stubborn.isOpen).toBe(true);
  });

  test('close() waits for a silent Redis, destroy() does not', async () => {
    const client = newClient();
    await client.connect();
    redis.pause();
    const ping = settled(client.sendCommand(['PING']));
    const closing = settled(client.close());
    await stays('close() waits', () => !closing.done, 100);
    client.destroy();
    await eventually('both ended', () => ping.done && closing.done);
    expect(ping.error?.message).toBe('Disconnects client');
  });
});
