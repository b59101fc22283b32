import {
  type IoRedisClient,
  type NodeRedisClient,
  type NodeRedisCluster,
  type NodeRedisClusterMaster,
  type NodeRedisSentinel,
  type RedisClient,
  redisClientKind,
} from './redis-client.ts';

/** A connection to Redis with the same interface for each client library. */
export interface RedisConnection {
  readonly client: RedisClient;
  /** Events of the client when it becomes ready. */
  readonly readyEvents: readonly string[];
  /** Events of the client with an error. Without a listener, node-redis ends the process. */
  readonly errorEvents: readonly string[];
  /** Whether it is connected or connecting. */
  readonly open: boolean;
  /** Whether a command would be sent at once, at least to one node. */
  readonly ready: boolean;
  /** Rejects at once where the command would have to wait for a connection: it would count requests that already have their response. */
  send(args: readonly string[], key: string | undefined): Promise<unknown>;
}

/** With a timeout, node-redis 6 makes an AbortSignal for each command, which costs five times as much as the command itself. */
const WITHOUT_TIMEOUT = Object.freeze({ timeout: undefined });

const offline = (what = 'there is no connection to Redis'): Promise<never> => Promise.reject(new Error(what));

export function connectionOf(client: RedisClient): RedisConnection {
  switch (redisClientKind(client)) {
    case 'ioredis':
      return ioRedisConnection(client as IoRedisClient);
    case 'node-redis-cluster':
      return clusterConnection(client as NodeRedisCluster);
    case 'node-redis-sentinel':
      return sentinelConnection(client as NodeRedisSentinel);
    default:
      return singleConnection(client as NodeRedisClient);
  }
}

const singleConnection = (client: NodeRedisClient): RedisConnection => ({
  client,
  readyEvents: ['ready'],
  errorEvents: ['error'],
  get open() {
    return client.isOpen;
  },
  get ready() {
    return client.isReady;
  },
  send: (args) => (client.isReady ? client.sendCommand(args, WITHOUT_TIMEOUT) : offline()),
});

const sentinelConnection = (client: NodeRedisSentinel): RedisConnection => ({
  client,
  readyEvents: ['ready'],
  errorEvents: ['error', 'client-error'],
  get open() {
    return client.isOpen;
  },
  /** Its `isReady` stays true when the master is gone, until the Sentinels name another. */
  get ready() {
    return client.isReady && client.getMasterNode() !== undefined;
  },
  send(args) {
    return this.ready ? client.sendCommand(false, args as string[], WITHOUT_TIMEOUT) : offline();
  },
});

const clusterConnection = (client: NodeRedisCluster): RedisConnection => ({
  client,
  /** It has no `ready`; its nodes have, also when they come back. */
  readyEvents: ['connect', 'node-ready'],
  errorEvents: ['error', 'node-error'],
  get open() {
    return client.isOpen;
  },
  /** Its `isReady` stays true when all nodes are gone. */
  get ready() {
    return client.isReady && client.masters.some(isUsable);
  },
  send(args, key) {
    if (!client.isReady) return offline();
    const master = key === undefined ? client.masters.find(isUsable) : client.slots[clusterSlot(key)]?.master;
    if (master === undefined || !isUsable(master)) {
      return offline('the node of the Redis cluster that has the key is not connected');
    }
    // node-redis would have all nodes load the script, and wait for those that are down.
    if ((key === undefined || args[0] === 'SCRIPT') && master.client !== undefined) {
      return master.client.sendCommand(args, WITHOUT_TIMEOUT);
    }
    return client.sendCommand(key, false, args as string[], WITHOUT_TIMEOUT);
  },
});

/** With `minimizeConnections`, a node without a client connects with its first command. */
const isUsable = ({ client }: NodeRedisClusterMaster): boolean => client === undefined || client.isReady;

const ioRedisConnection = (client: IoRedisClient): RedisConnection => ({
  client,
  readyEvents: ['ready'],
  errorEvents: ['error'],
  /** `wait` is a client with `lazyConnect`. A client with the status `end` was closed by the app. */
  get open() {
    return client.status !== 'wait';
  },
  /** Its `status` stays `ready` for a moment after the connection has ended, and commands of that moment are queued. */
  get ready() {
    return client.status === 'ready' && client.stream?.writable !== false;
  },
  /** ioredis finds the key in the command itself. */
  send(args) {
    if (!this.ready) return offline();
    const [command, ...rest] = args as [string, ...string[]];
    return client.call(command, ...rest);
  },
});

const SLOTS = 16_384;

/** CRC16 of XMODEM: polynomial 0x1021, from 0. */
const TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  return crc;
});

/**
 * The slot of a key in a Redis Cluster (Redis Cluster specification, "Key distribution model" and "Hash tags"). Only for keys of ASCII
 * characters, which those of a limiter are.
 */
export function clusterSlot(key: string): number {
  let [start, end] = [0, key.length];
  const open = key.indexOf('{');
  if (open >= 0) {
    const close = key.indexOf('}', open + 1);
    if (close > open + 1) [start, end] = [open + 1, close];
  }
  let crc = 0;
  for (let i = start; i < end; i++) {
    crc = ((crc << 8) ^ (TABLE[((crc >> 8) ^ key.charCodeAt(i)) & 0xff] as number)) & 0xffff;
  }
  return crc % SLOTS;
}
