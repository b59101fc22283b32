import type { RedisAddress } from './redis-address.ts';
import type { NodeRedisClient, NodeRedisCluster, NodeRedisSentinel } from './redis-client.ts';

/** Longest wait between two attempts to connect. */
export const LONGEST_RECONNECT_MS = 1_000;
const CONNECT_TIMEOUT_MS = 2_000;
const PING_INTERVAL_MS = 1_000;
/** A connection that is silent for three pings is dead, whatever the kernel still hopes. */
const SOCKET_TIMEOUT_MS = 3 * PING_INTERVAL_MS;
/** Far above what is in flight within one deadline; only there to bound the memory. */
const MOST_COMMANDS = 10_000;
/** Between two looks at who the master is, beside what the Sentinels announce. */
const SENTINEL_SCAN_MS = 1_000;
/** After which the others are asked who has the slots of a node that does not come back. */
const TOPOLOGY_REFRESH_MS = 500;
/** A slot that is moved needs one; more than a few say that the cluster is not at one with itself. */
const MOST_REDIRECTIONS = 3;

/** The optional peer dependency, as `import('redis')` gives it. */
export type ImportRedis = () => Promise<
  Pick<typeof import('redis'), 'createClient' | 'createCluster' | 'createSentinel'>
>;

/** Within a `try`, which tells bundlers that the package is optional: they leave it out where it is not installed. */
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
 * A client that never gives up: node-redis's own strategy stops for good after a socket timeout. It refuses
 * commands while it is offline, because node-redis would send them later, as hits of requests long answered.
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
        // With more, a command that fails together with its master is sent to the next one, seconds later.
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
  // Jitter: a thousand gateways must not come back in step.
  return Math.min(50 * 2 ** Math.min(retries, 10), LONGEST_RECONNECT_MS - 100) + Math.floor(Math.random() * 100);
}
