import { clusterSlot } from './cluster-slot.ts';
import {
  type IoRedisClient,
  type NodeRedisClient,
  type NodeRedisCluster,
  type NodeRedisClusterMaster,
  type NodeRedisSentinel,
  type RedisClient,
  redisClientKind,
} from './redis-client.ts';

/** One client library's shape of Redis, brought into one form. */
export interface RedisConnection {
  readonly client: RedisClient;
  /** Emitted when it becomes ready. */
  readonly readyEvents: readonly string[];
  /** Emitted with an error; without a listener, node-redis ends the process. */
  readonly errorEvents: readonly string[];
  /** Whether somebody has connected it, or is about to. */
  readonly open: boolean;
  /** Whether a command would be sent at once, to one node at least. */
  readonly ready: boolean;
  /** Rejects at once where the command would have to wait for a connection: it would count hits long answered. */
  send(args: readonly string[], key: string | undefined): Promise<unknown>;
}

/** The timeout of node-redis 6 makes an AbortSignal per command, at five times the cost of the command itself. */
const WITHOUT_TIMEOUT = Object.freeze({ timeout: undefined });

const offline = (what = 'there is no connection to Redis'): Promise<never> => Promise.reject(new Error(what));

export function connectionOf(client: RedisClient): RedisConnection {
  const kind = redisClientKind(client);
  if (kind === 'ioredis') return new IoRedisConnection(client as IoRedisClient);
  if (kind === 'node-redis-cluster') return new ClusterConnection(client as NodeRedisCluster);
  if (kind === 'node-redis-sentinel') return new SentinelConnection(client as NodeRedisSentinel);
  return new SingleConnection(client as NodeRedisClient);
}

class SingleConnection implements RedisConnection {
  readonly client: NodeRedisClient;
  readonly readyEvents = ['ready'];
  readonly errorEvents = ['error'];

  constructor(client: NodeRedisClient) {
    this.client = client;
  }

  get open(): boolean {
    return this.client.isOpen;
  }

  get ready(): boolean {
    return this.client.isReady;
  }

  send(args: readonly string[]): Promise<unknown> {
    return this.client.isReady ? this.client.sendCommand(args, WITHOUT_TIMEOUT) : offline();
  }
}

class SentinelConnection implements RedisConnection {
  readonly client: NodeRedisSentinel;
  readonly readyEvents = ['ready'];
  readonly errorEvents = ['error', 'client-error'];

  constructor(client: NodeRedisSentinel) {
    this.client = client;
  }

  get open(): boolean {
    return this.client.isOpen;
  }

  /** Its `isReady` stays true when the master is gone, until the Sentinels name another. */
  get ready(): boolean {
    return this.client.isReady && this.client.getMasterNode() !== undefined;
  }

  send(args: readonly string[]): Promise<unknown> {
    return this.ready ? this.client.sendCommand(false, args as string[], WITHOUT_TIMEOUT) : offline();
  }
}

class ClusterConnection implements RedisConnection {
  readonly client: NodeRedisCluster;
  /** It has no `ready`; its nodes have, also when they come back. */
  readonly readyEvents = ['connect', 'node-ready'];
  readonly errorEvents = ['error', 'node-error'];

  constructor(client: NodeRedisCluster) {
    this.client = client;
  }

  get open(): boolean {
    return this.client.isOpen;
  }

  /** Its `isReady` stays true when all nodes are gone. */
  get ready(): boolean {
    return this.client.isReady && this.client.masters.some(isUsable);
  }

  send(args: readonly string[], key: string | undefined): Promise<unknown> {
    if (!this.client.isReady) return offline();
    const { masters, slots } = this.client;
    const master = key === undefined ? masters.find(isUsable) : slots[clusterSlot(key)]?.master;
    if (master === undefined || !isUsable(master)) {
      return offline('the node of the Redis cluster that has the key is not connected');
    }
    // node-redis would have all nodes load a script, and wait for those that are down.
    if ((key === undefined || args[0] === 'SCRIPT') && master.client !== undefined) {
      return master.client.sendCommand(args, WITHOUT_TIMEOUT);
    }
    return this.client.sendCommand(key, false, args as string[], WITHOUT_TIMEOUT);
  }
}

/** A node without a client is one that is connected by its first command (`minimizeConnections`): there is no other way. */
const isUsable = ({ client }: NodeRedisClusterMaster): boolean => client === undefined || client.isReady;

class IoRedisConnection implements RedisConnection {
  readonly client: IoRedisClient;
  readonly readyEvents = ['ready'];
  readonly errorEvents = ['error'];

  constructor(client: IoRedisClient) {
    this.client = client;
  }

  /** `wait` is a client with `lazyConnect`; one that has ended was closed by the app. */
  get open(): boolean {
    return this.client.status !== 'wait';
  }

  /** Its `status` stays `ready` for a moment when the connection has ended, and a command of then is queued. */
  get ready(): boolean {
    return this.client.status === 'ready' && this.client.stream?.writable !== false;
  }

  /** Finds the key by itself, from what it knows of commands. */
  send(args: readonly string[]): Promise<unknown> {
    if (!this.ready) return offline();
    const [command, ...rest] = args as [string, ...string[]];
    return this.client.call(command, ...rest);
  }
}
