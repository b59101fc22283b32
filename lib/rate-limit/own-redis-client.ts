import type { RedisClient } from './redis-client.ts';
import type { RedisUrl } from './redis-url.ts';

/** Longest wait between two attempts to connect. */
export const LONGEST_RECONNECT_MS = 1_000;
const CONNECT_TIMEOUT_MS = 2_000;
const PING_INTERVAL_MS = 1_000;
/** A connection that is silent for three pings is dead, whatever the kernel still hopes. */
const SOCKET_TIMEOUT_MS = 3 * PING_INTERVAL_MS;
/** Far above what is in flight within one deadline; only there to bound the memory. */
const MOST_COMMANDS = 10_000;

/** The optional peer dependency, as `import('redis')` gives it. */
export type ImportRedis = () => Promise<Pick<typeof import('redis'), 'createClient'>>;

/**
 * A client that never gives up: node-redis's own strategy stops for good after a socket timeout. It refuses
 * commands while it is offline, because node-redis would send them later, as hits of requests long answered.
 */
export async function ownRedisClient(url: RedisUrl, importRedis: ImportRedis): Promise<RedisClient> {
  const { createClient } = await importRedis();
  return createClient({
    url: url.href,
    disableOfflineQueue: true,
    commandsQueueMaxLength: MOST_COMMANDS,
    pingInterval: PING_INTERVAL_MS,
    socket: { connectTimeout: CONNECT_TIMEOUT_MS, socketTimeout: SOCKET_TIMEOUT_MS, reconnectStrategy },
  });
}

/** Milliseconds to wait before the next attempt to connect. */
export function reconnectStrategy(retries: number): number {
  // Jitter: a thousand gateways must not come back in step.
  return Math.min(50 * 2 ** Math.min(retries, 10), LONGEST_RECONNECT_MS - 100) + Math.floor(Math.random() * 100);
}
