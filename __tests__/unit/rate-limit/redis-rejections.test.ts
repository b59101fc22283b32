import { afterEach, describe, expect, test } from '@jest/globals';
import { GatewayEvents, type IpRateLimiter, ipRateLimit } from 'expressway';
import { flushIo } from '../../../lib/testing/index.ts';
import { Cleanup } from '../../support/gateway.ts';
import { FakeRedisClient } from './fake-redis-client.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** What the Redis client of an app may reject with, and emit. */
const VALUES: readonly (readonly [name: string, value: unknown])[] = [
  ['nothing', undefined],
  ['null', null],
  ['a text', 'no reply'],
  ['an object without a message', Object.create(null)],
];

function limiter(client: FakeRedisClient) {
  const events = new GatewayEvents();
  const changed = new Promise<Error | undefined>((resolve) => {
    events.once('limiterModeChange', ({ error }) => resolve(error));
  });
  const own: IpRateLimiter = cleanup.add(ipRateLimit({ redis: client, events }));
  const ask = (): Promise<unknown> => {
    const req = { socket: { remoteAddress: '192.0.2.1' }, headers: {}, method: 'GET', url: '/' };
    const res = { prependListener() {}, on() {}, setHeader() {}, getHeader() {}, hasHeader: () => false };
    return new Promise((resolve) => own(req as never, res as never, resolve));
  };
  return { own, changed, ask };
}

describe.each(VALUES)('a Redis client that fails with %s', (_name, value) => {
  async function withoutRejections(run: () => Promise<void>): Promise<void> {
    const rejections: unknown[] = [];
    const note = (reason: unknown) => rejections.push(reason);
    process.on('unhandledRejection', note);
    try {
      await run();
      // Node reports them when the microtasks are done.
      await flushIo();
    } finally {
      process.off('unhandledRejection', note);
    }
    expect(rejections).toEqual([]);
  }

  test('for a command is away, and the limiter counts by itself', () =>
    withoutRejections(async () => {
      const client = new FakeRedisClient();
      client.sendCommand = () => Promise.reject(value);
      const { own, changed, ask } = limiter(client);
      for (let request = 0; request < 6; request += 1) expect(await ask()).toBeUndefined();
      expect(await changed).toBeDefined();
      expect([own.mode, own.storeError]).toEqual(['local', await changed]);
    }));

  test('for connect() is away', () =>
    withoutRejections(async () => {
      const client = new FakeRedisClient();
      client.isOpen = client.isReady = false;
      client.connect = () => Promise.reject(value);
      const { own, changed, ask } = limiter(client);
      expect(await ask()).toBeUndefined();
      expect(await changed).toBeDefined();
      await flushIo();
      expect([own.mode, own.storeError === undefined]).toEqual(['local', false]);
    }));

  test('in its event "error" is away', () =>
    withoutRejections(async () => {
      const client = new FakeRedisClient();
      const { own, changed, ask } = limiter(client);
      expect(await ask()).toBeUndefined();
      client.isReady = false;
      client.emit('error', value);
      expect(await changed).toBeDefined();
      expect(own.mode).toBe('local');
    }));
});
