import { connect } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import { ipRateLimit } from 'expressway';
import { Redis as IoRedis } from 'ioredis';
import { createClient } from 'redis';
import { takeCommands } from '../../lib/testing/failing-redis.ts';
import { eventually, type RedisSwitch, startRedisSwitch } from '../../lib/testing/index.ts';
import { Cleanup } from '../support/gateway.ts';
import { pause } from '../support/pause.ts';
import { describeWithAnyRedis } from '../support/redis.ts';
import { listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const start = async (url?: string): Promise<RedisSwitch> => cleanup.add(await startRedisSwitch(url ? { url } : {}));

async function client(url: string) {
  const made = createClient({
    url,
    disableOfflineQueue: true,
    socket: { reconnectStrategy: () => 20, connectTimeout: 2_000 },
  });
  made.on('error', () => {}); // The connection is broken on purpose; commands reject by themselves.
  cleanup.add({ close: () => made.destroy() });
  await made.connect();
  return made;
}

/** Whether nothing comes of it for a while. */
const waits = (promise: Promise<unknown>): Promise<boolean> =>
  Promise.race([promise.then(() => false), pause('a silent Redis must not reply', 300).then(() => true)]);

describeWithAnyRedis('redisSwitch() before a real Redis', (redis) => {
  test('forwards, falls silent, and then delivers the held commands', async () => {
    const control = await start(redis.url);
    const one = await client(control.url);
    const key = `${redis.keyPrefix}silent`;
    expect(await one.incr(key)).toBe(1);
    await control.silence();
    const held = one.incr(key);
    expect(await waits(held)).toBe(true);
    await control.work();
    expect(await held).toBe(2);
  });

  test('accepts connections while it is silent', async () => {
    const control = await start(redis.url);
    await control.silence();
    const connected = client(control.url);
    expect(await waits(connected)).toBe(true);
    await control.work();
    expect(await (await connected).ping()).toBe('PONG');
  });

  test('refuses connections, and accepts the client again', async () => {
    const control = await start(redis.url);
    const one = await client(control.url);
    await control.refuse();
    await eventually('the client is cut off', () => !one.isReady);
    await expect(one.ping()).rejects.toThrow();
    const { port } = new URL(control.url);
    const refused = await new Promise<NodeJS.ErrnoException>((resolve) =>
      connect(Number(port), '127.0.0.1').on('error', resolve),
    );
    expect(refused.code).toBe('ECONNREFUSED');
    await control.work();
    await eventually('it is back', async () => (await one.ping()) === 'PONG');
  });

  test('replies with errors, and works again', async () => {
    const control = await start(redis.url);
    const one = await client(control.url);
    await control.fail('MISCONF not now');
    await eventually('it is told', () =>
      one.ping().then(
        () => false,
        (error: Error) => error.message === 'MISCONF not now',
      ),
    );
    await control.fail();
    await expect(one.ping()).rejects.toThrow('LOADING Redis is loading');
    await control.work();
    await eventually('it works', async () => (await one.ping()) === 'PONG');
  });

  test('makes the limiter fall back to local counts, and return', async () => {
    const control = await start(redis.url);
    const limiter = cleanup.add(ipRateLimit({ redis: control.url, keyPrefix: redis.keyPrefix, limit: 1_000 }));
    const app = express().use(limiter, (_req, res) => void res.send('ok'));
    const gateway = cleanup.add(await listen(app));
    const asks = async () => expect((await fetch(gateway.url)).status).toBe(200);
    const becomes = (mode: string) =>
      eventually(
        `the limiter is ${mode}`,
        async () => {
          await asks();
          return limiter.mode === mode;
        },
        30_000,
      );
    await becomes('redis');
    for (const turnOff of [() => control.silence(), () => control.refuse(), () => control.fail()]) {
      await turnOff();
      await becomes('local');
      await control.work();
      await becomes('redis');
    }
  });
});

describe('redisSwitch() without a Redis', () => {
  test('is silent, then replies with errors to both clients', async () => {
    const control = await start();
    const connected = client(control.url);
    expect(await waits(connected)).toBe(true);
    await control.fail('LOADING still');
    // What was held there has gone with its connection; the client tries again.
    await expect((await connected).ping()).rejects.toThrow('LOADING still');
    const other = new IoRedis(control.url, { enableReadyCheck: false, maxRetriesPerRequest: 0 });
    cleanup.add({ close: () => other.disconnect() });
    await expect(other.get('a')).rejects.toThrow('LOADING still');
  });

  test('cannot forward', async () => {
    const control = await start();
    await expect(control.work()).rejects.toThrow('no url of a Redis');
  });

  test('ends a connection with another protocol', async () => {
    const control = await start();
    await control.fail();
    const socket = connect(Number(new URL(control.url).port), '127.0.0.1');
    let told = '';
    socket.on('data', (chunk) => {
      told += chunk;
    });
    socket.write('GET / HTTP/1.1\r\n\r\n');
    await new Promise((resolve) => socket.on('close', resolve));
    expect(told).toMatch(/^-ERR Protocol error/);
  });

  test('keeps database and credentials in its URL, and refuses TLS', async () => {
    const control = await start('redis://ada:secret@[::1]:7000/3');
    const { username, password, pathname, hostname } = new URL(control.url);
    expect([username, password, pathname, hostname]).toEqual(['ada', 'secret', '/3', '127.0.0.1']);
    await expect(startRedisSwitch({ url: 'rediss://localhost' })).rejects.toThrow('must be a URL like redis://');
    await expect(control.fail('two\r\nlines')).rejects.toThrow('one line');
  });
});

describe('the parser of Redis commands', () => {
  const bytes = Buffer.from('*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n*1\r\n$4\r\nPING\r\n');

  test('reads commands in pieces of any length', () => {
    for (let at = 0; at <= bytes.length; at++) {
      const first = takeCommands(bytes.subarray(0, at));
      const second = takeCommands(Buffer.concat([first?.rest as Buffer, bytes.subarray(at)]));
      expect([...(first?.commands ?? []), ...(second?.commands ?? [])]).toEqual([['GET', 'a\r\nb'], ['PING']]);
      expect(second?.rest.length).toBe(0);
    }
  });

  test.each(['PING\r\n', '*x\r\n', '*1\r\n:3\r\n', '*-1\r\n'])('refuses %j', (text) => {
    expect(takeCommands(Buffer.from(text))).toBeUndefined();
  });
});
