import type { RedisAddress } from './redis-address.ts';
import type { NodeRedisClient, NodeRedisCluster, NodeRedisSentinel } from './redis-client.ts';

/** Longest wait between two attempts to connect. */
export const LONGEST_RECONNECT_MS = 1_000;
const CONNECT_TIMEOUT_MS = 2_000;
const PING_INTERVAL_MS = 1_000;
/** A connection without a reply to three pings is dead, even if the kernel still keeps it. */
const SOCKET_TIMEOUT_MS = 3 * PING_INTERVAL_MS;
/** Far above the commands of one deadline. It only bounds the memory. */
const MOST_COMMANDS = 10_000;
/** Milliseconds between two checks which Redis is the master, in addition to what the Sentinels announce. */
const SENTINEL_SCAN_MS = 1_000;
/** Milliseconds after which other nodes are asked which node has the slots of one that does not come back. */
const TOPOLOGY_REFRESH_MS = 500;
/** A slot that has moved needs one redirection. More than a few mean that the nodes of the cluster disagree. */
const MOST_REDIRECTIONS = 3;

/** The optional peer dependency, as `import('redis')` gives it. */
export type ImportRedis = () => Promise<
  Pick<typeof import('redis'), 'createClient' | 'createCluster' | 'createSentinel'>
>;

/** Inside a `try`, so that bundlers know that the package is optional and leave it out where it is not installed. */
export const importRedis: ImportRedis = async () => {
  try {
    return await import('redis');
  } catch (cause) {
    throw new Error(`The package "redis" cannot be loaded: ${cause}`, { cause });
  }
};

export type OwnRedisClient = (NodeRedisClient | NodeRedisCluster | NodeRedisSentinel) & {
  destroy(): void | Promise<void>;
};

/**
 * A client that never gives up, while node-redis's own strategy stops for good after a socket timeout. It rejects commands while it is
 * offline, because node-redis would send them later and so count requests that already have their response.
 */
export async function ownRedisClient(address: RedisAddress, importRedis: ImportRedis): Promise<OwnRedisClient> {
  const { createClient, createCluster, createSentinel } = await importRedis();
  const { hosts, database } = address;
  const socket = { connectTimeout: CONNECT_TIMEOUT_MS, socketTimeout: SOCKET_TIMEOUT_MS, ...tlsOf(address) };
  const common = {
    ...loginOf(address.username, address.password),
    disableOfflineQueue: true,
    commandsQueueMaxLength: MOST_COMMANDS,
    pingInterval: PING_INTERVAL_MS,
    socket: { ...socket, reconnectStrategy },
  };
  switch (address.shape) {
    case 'cluster':
      return createCluster({
        rootNodes: hosts.map((host) => ({ socket: host })),
        defaults: common,
        maxCommandRedirections: MOST_REDIRECTIONS,
        topologyRefreshOnReconnectionAttemptStrategy: TOPOLOGY_REFRESH_MS,
      });
    case 'sentinel':
      return createSentinel({
        name: address.masterName,
        sentinelRootNodes: [...hosts],
        nodeClientOptions: { ...common, database },
        sentinelClientOptions: {
          ...loginOf(address.sentinelUsername, address.sentinelPassword),
          disableOfflineQueue: true,
          pingInterval: PING_INTERVAL_MS,
          socket,
        },
        // With more, a command that fails together with its master would be sent to the next master, seconds later.
        maxCommandRediscovers: 0,
        scanInterval: SENTINEL_SCAN_MS,
      });
    case 'single':
      return createClient({ ...common, database, socket: { ...common.socket, ...hosts[0] } });
  }
}

const loginOf = (username: string | undefined, password: string | undefined) => ({
  ...(username === undefined ? {} : { username }),
  ...(password === undefined ? {} : { password }),
});

const tlsOf = ({ tls }: RedisAddress) => (tls === undefined ? {} : { tls: true as const, ...tls });

/** Milliseconds to wait before the next attempt to connect. */
export function reconnectStrategy(retries: number): number {
  // Jitter: a thousand gateways must not come back at the same time.
  return Math.min(50 * 2 ** Math.min(retries, 10), LONGEST_RECONNECT_MS - 100) + Math.floor(Math.random() * 100);
}
