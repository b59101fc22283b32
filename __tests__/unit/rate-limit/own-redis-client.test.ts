import { describe, expect, jest, test } from '@jest/globals';
import {
  type ImportRedis,
  LONGEST_RECONNECT_MS,
  ownRedisClient,
  reconnectStrategy,
} from '../../../lib/rate-limit/redis/own-redis-client.ts';
import { RedisUrl } from '../../../lib/rate-limit/redis/redis-address.ts';

/** What the package is asked to make. */
async function askedFor(href: string): Promise<[string, Record<string, unknown>]> {
  const asked: [string, Record<string, unknown>][] = [];
  const make = (name: string) => (options: Record<string, unknown>) => void asked.push([name, options]);
  const fake = { createClient: make('client'), createCluster: make('cluster'), createSentinel: make('sentinel') };
  await ownRedisClient(new RedisUrl(href).address, (async () => fake) as never as ImportRedis);
  return asked[0] as [string, Record<string, unknown>];
}

/** Dead connections are noticed, and nothing waits while there is none. */
const COMMON = { disableOfflineQueue: true, commandsQueueMaxLength: 10_000, pingInterval: 1_000 };
const SOCKET = { connectTimeout: 2_000, socketTimeout: 3_000 };

describe('our own client', () => {
  test('of a single Redis', async () => {
    expect(await askedFor('redis://u:p@one:7000/3')).toEqual([
      'client',
      {
        ...COMMON,
        username: 'u',
        password: 'p',
        database: 3,
        socket: { ...SOCKET, reconnectStrategy, host: 'one', port: 7_000 },
      },
    ]);
    expect(await askedFor('rediss://:p@one')).toEqual([
      'client',
      {
        ...COMMON,
        password: 'p',
        database: 0,
        socket: { ...SOCKET, reconnectStrategy, tls: true, host: 'one', port: 6_379 },
      },
    ]);
  });

  test('of a cluster', async () => {
    expect(await askedFor('redis+cluster://u@one,two:7001')).toEqual([
      'cluster',
      {
        rootNodes: [{ socket: { host: 'one', port: 6_379 } }, { socket: { host: 'two', port: 7_001 } }],
        defaults: { ...COMMON, username: 'u', socket: { ...SOCKET, reconnectStrategy } },
        maxCommandRedirections: 3,
        topologyRefreshOnReconnectionAttemptStrategy: 500,
      },
    ]);
  });

  test('of Sentinels, with a login of their own, and no second try of a command', async () => {
    expect(await askedFor('redis+sentinel://u:p@one/main/2?sentinel_username=su&sentinel_password=sp')).toEqual([
      'sentinel',
      {
        name: 'main',
        sentinelRootNodes: [{ host: 'one', port: 26_379 }],
        nodeClientOptions: {
          ...COMMON,
          username: 'u',
          password: 'p',
          database: 2,
          socket: { ...SOCKET, reconnectStrategy },
        },
        sentinelClientOptions: {
          username: 'su',
          password: 'sp',
          disableOfflineQueue: true,
          pingInterval: 1_000,
          socket: SOCKET,
        },
        maxCommandRediscovers: 0,
        scanInterval: 1_000,
      },
    ]);
  });

  test('waits longer and longer before it connects again, a second at most, with jitter', () => {
    const random = jest.spyOn(Math, 'random');
    random.mockReturnValue(0);
    expect([0, 1, 2, 3, 4, 5, 20].map(reconnectStrategy)).toEqual([50, 100, 200, 400, 800, 900, 900]);
    random.mockReturnValue(0.9999);
    expect([0, 20].map(reconnectStrategy)).toEqual([149, LONGEST_RECONNECT_MS - 1]);
    random.mockRestore();
  });
});
