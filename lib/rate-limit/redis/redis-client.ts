import type { EventEmitter } from 'node:events';

type Emitter = Pick<EventEmitter, 'on' | 'off' | 'getMaxListeners' | 'setMaxListeners'>;

export interface RedisCommandOptions {
  readonly timeout?: number | undefined;
}

/** The part that we use of a node-redis client (`createClient()` of redis 5 or 6). */
export interface NodeRedisClient extends Emitter {
  readonly isOpen: boolean;
  readonly isReady: boolean;
  connect(): Promise<unknown>;
  sendCommand(args: readonly string[], options?: RedisCommandOptions): Promise<unknown>;
}

/** The part that we use of one connection of a cluster. */
export interface NodeRedisClusterMaster {
  readonly client?: Pick<NodeRedisClient, 'isReady' | 'sendCommand'> | undefined;
}

/** The part that we use of a node-redis cluster (`createCluster()` of redis 5 or 6). */
export interface NodeRedisCluster extends Emitter {
  readonly isOpen: boolean;
  readonly isReady: boolean;
  readonly masters: readonly NodeRedisClusterMaster[];
  /** By slot number. */
  readonly slots: readonly { readonly master: NodeRedisClusterMaster }[];
  connect(): Promise<unknown>;
  sendCommand(
    firstKey: string | undefined,
    isReadonly: boolean | undefined,
    args: string[],
    options?: RedisCommandOptions,
  ): Promise<unknown>;
}

/** The part that we use of a node-redis sentinel client (`createSentinel()` of redis 5 or 6). */
export interface NodeRedisSentinel extends Emitter {
  readonly isOpen: boolean;
  readonly isReady: boolean;
  /** The master, while there is a connection to it. */
  getMasterNode(): unknown;
  getSentinelNode(): unknown;
  connect(): Promise<unknown>;
  sendCommand(isReadonly: boolean | undefined, args: string[], options?: RedisCommandOptions): Promise<unknown>;
}

/** The part that we use of an ioredis client: `new Redis()`, also with Sentinels, or `new Cluster()`, of ioredis 5 or 6. */
export interface IoRedisClient extends Emitter {
  readonly status: string;
  /** Only a single connection has it. */
  readonly stream?: { readonly writable: boolean } | undefined;
  connect(): Promise<unknown>;
  call(command: string, ...args: string[]): Promise<unknown>;
}

/** A client that the app passes in. */
export type RedisClient = NodeRedisClient | NodeRedisCluster | NodeRedisSentinel | IoRedisClient;

export type RedisClientKind = 'node-redis' | 'node-redis-cluster' | 'node-redis-sentinel' | 'ioredis';

const METHODS = ['connect', 'on', 'off', 'getMaxListeners', 'setMaxListeners'] as const;

/** Recognises clients by their properties, because two copies of a package have no class in common. */
export function redisClientKind(value: unknown): RedisClientKind | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const client = value as Record<string, unknown>;
  if (METHODS.some((name) => typeof client[name] !== 'function')) return undefined;
  if (typeof client.status === 'string' && typeof client.call === 'function') return 'ioredis';
  if (typeof client.isReady !== 'boolean' || typeof client.sendCommand !== 'function') return undefined;
  if (Array.isArray(client.masters)) return 'node-redis-cluster';
  return typeof client.getSentinelNode === 'function' ? 'node-redis-sentinel' : 'node-redis';
}

const MADE_WITH = 'a client made with createClient(), createCluster() or createSentinel() of redis, or with ioredis';
const URL_LIKE = 'a URL like redis://localhost:6379';

/** Says why a value is no such client, and what to pass instead. */
export function redisClientProblem(value: unknown): string | undefined {
  return redisClientKind(value) === undefined ? `must be ${MADE_WITH}, or ${URL_LIKE}${hintFor(value)}` : undefined;
}

function hintFor(value: unknown): string {
  if (typeof value === 'function') return ': call the function, and pass its result';
  if (typeof value !== 'object' || value === null) return '';
  const given = value as Record<string, unknown>;
  if (typeof given.then === 'function') return ': await the promise';
  if (value instanceof URL) return ': pass its href';
  if (typeof given.createClient === 'function') return ': pass the result of createClient() of the package';
  if (['url', 'host', 'port', 'socket', 'path'].some((name) => Object.hasOwn(given, name))) {
    return ': these are settings: pass the client that createClient() makes from them';
  }
  return '';
}
