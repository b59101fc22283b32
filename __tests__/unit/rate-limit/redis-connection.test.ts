import { EventEmitter } from 'node:events';
import { describe, expect, jest, test } from '@jest/globals';
import { ipRateLimit } from '../../../lib/rate-limit/ip-rate-limit.ts';
import { type RedisClient, redisClientKind, redisClientProblem } from '../../../lib/rate-limit/redis/redis-client.ts';
import { clusterSlot, connectionOf } from '../../../lib/rate-limit/redis/redis-connection.ts';
import { FakeRedisClient } from './fake-redis-client.ts';

const emitter = (more: object): RedisClient => Object.assign(new EventEmitter(), more) as unknown as RedisClient;
const connect = async () => {};
const ok = () => jest.fn(async (..._args: unknown[]): Promise<unknown> => 'OK');

function fakeCluster() {
  const nodes = [0, 1, 2].map(() => ({ client: { isReady: true, sendCommand: ok() } }));
  const slots = Array.from({ length: 16_384 }, (_, slot) => ({ master: nodes[Math.floor((slot * 3) / 16_384)] }));
  const sendCommand = ok();
  const client = emitter({ isOpen: true, isReady: true, masters: nodes, slots, connect, sendCommand });
  const nodeOf = (key: string) => nodes[Math.floor((clusterSlot(key) * 3) / 16_384)] as (typeof nodes)[number];
  return { client, connection: connectionOf(client), nodes, nodeOf, sendCommand };
}

describe('a connection to a cluster', () => {
  test('names the key first, and hides the rest of the library’s form', async () => {
    const { connection, sendCommand } = fakeCluster();
    await connection.send(['DEL', 'k'], 'k');
    expect(sendCommand).toHaveBeenCalledWith('k', false, ['DEL', 'k'], { timeout: undefined });
  });

  test('rejects commands for a node that is down at once, and goes on with the other nodes', async () => {
    const { connection, nodeOf, sendCommand } = fakeCluster();
    nodeOf('foo').client.isReady = false;
    await expect(connection.send(['DEL', 'foo'], 'foo')).rejects.toThrow('not connected');
    expect(sendCommand).not.toHaveBeenCalled();
    expect(nodeOf('bar')).not.toBe(nodeOf('foo'));
    await expect(connection.send(['DEL', 'bar'], 'bar')).resolves.toBe('OK');
    expect(connection.ready).toBe(true);
  });

  test('is down when all nodes are, though node-redis says that it is ready', async () => {
    const { connection, nodes } = fakeCluster();
    for (const { client } of nodes) client.isReady = false;
    expect(connection.ready).toBe(false);
    await expect(connection.send(['SCRIPT', 'LOAD', 'x'], undefined)).rejects.toThrow('not connected');
  });

  test('is down until the client is ready, though nodes are', async () => {
    const { client, connection, nodes, sendCommand } = fakeCluster();
    Object.assign(client, { isReady: false });
    expect(connection.ready).toBe(false);
    for (const key of ['k', undefined]) await expect(connection.send(['DEL'], key)).rejects.toThrow('no connection');
    for (const sent of [sendCommand, ...nodes.map((node) => node.client.sendCommand)])
      expect(sent).not.toHaveBeenCalled();
  });

  test('loads scripts in one node that is up, the key’s if there is one, instead of all', async () => {
    const { connection, nodes, nodeOf, sendCommand } = fakeCluster();
    const [first, second] = nodes as [(typeof nodes)[number], (typeof nodes)[number]];
    first.client.isReady = false;
    await connection.send(['SCRIPT', 'LOAD', 'x'], undefined);
    expect(second.client.sendCommand).toHaveBeenCalledTimes(1);
    await connection.send(['SCRIPT', 'LOAD', 'x'], 'foo');
    expect(nodeOf('foo').client.sendCommand).toHaveBeenCalledWith(['SCRIPT', 'LOAD', 'x'], { timeout: undefined });
    expect(sendCommand).not.toHaveBeenCalled();
  });
});

test('a connection by way of Sentinels is down while the master cannot be reached', async () => {
  let master: object | undefined = { host: 'one', port: 1 };
  const sendCommand = ok();
  const parts = {
    isOpen: true,
    isReady: true,
    connect,
    sendCommand,
    getSentinelNode() {},
    getMasterNode: () => master,
  };
  const connection = connectionOf(emitter(parts));
  await connection.send(['PING'], undefined);
  expect(sendCommand).toHaveBeenCalledWith(false, ['PING'], { timeout: undefined });
  master = undefined;
  expect(connection.ready).toBe(false);
  await expect(connection.send(['PING'], undefined)).rejects.toThrow('no connection');
  expect(sendCommand).toHaveBeenCalledTimes(1);
});

describe('a connection of ioredis', () => {
  test.each([
    ['ready', true, true],
    ['ready', false, false],
    ['ready', undefined, true],
    ['reconnecting', true, false],
    ['connect', true, false],
    ['wait', true, false],
    ['end', true, false],
  ])('%s, with a stream that is writable or not: %p, sends: %p', async (status, writable, sends) => {
    const call = ok();
    const stream = writable === undefined ? undefined : { writable };
    const connection = connectionOf(emitter({ status, stream, connect, call }));
    expect(connection.ready).toBe(sends);
    expect(connection.open).toBe(status !== 'wait');
    const sent = connection.send(['DEL', 'a', 'b'], 'a');
    if (sends) await sent;
    else await expect(sent).rejects.toThrow('no connection');
    expect(call.mock.calls).toEqual(sends ? [['DEL', 'a', 'b']] : []);
  });
});

const away = { isOpen: true, isReady: false, connect, sendCommand: ok() };
const cluster = { ...away, masters: [], slots: [] };
const sentinels = { ...away, getSentinelNode() {}, getMasterNode() {} };

test.each<[string, object, string]>([
  ['node-redis', away, 'error'],
  ['a cluster', cluster, 'error'],
  ['a cluster', cluster, 'node-error'],
  ['Sentinels', sentinels, 'error'],
  ['Sentinels', sentinels, 'client-error'],
  ['ioredis', { status: 'connecting', connect, call: ok() }, 'error'],
])('with %s (%j), a limiter tells the error of the event %s until it is closed', async (_client, parts, event) => {
  const client = emitter(parts) as unknown as EventEmitter;
  const limiter = ipRateLimit({ redis: client as unknown as RedisClient });
  const error = new Error('WRONGPASS invalid username-password pair');
  client.emit(event, error);
  expect(limiter.storeError).toBe(error);
  await limiter.close();
  expect(client.listenerCount(event)).toBe(0);
});

test('clients are recognised by their methods', () => {
  expect(redisClientKind(new FakeRedisClient())).toBe('node-redis');
  expect(redisClientKind(fakeCluster().client)).toBe('node-redis-cluster');
  expect(redisClientProblem({ status: 'ready', call() {} })).toMatch(/must be a client made with createClient/);
});

// Of the specification of Redis Cluster, and of CLUSTER KEYSLOT.
test.each([
  ['123456789', 0x31c3],
  ['foo', 12_182],
  ['bar', 5_061],
  ['', 0],
])('the slot of %j is %d', (key, slot) => {
  expect(clusterSlot(key)).toBe(slot);
});

test.each([
  ['{user1000}.following', 'user1000'],
  ['rl:{user1000}.followers', 'user1000'],
  ['foo{bar}{zap}', 'bar'],
  ['foo{{bar}}zap', '{bar'],
  ['}{bar}', 'bar'],
])('the slot of %j is that of %j', (key, tag) => {
  expect(clusterSlot(key)).toBe(clusterSlot(tag));
});

test.each(['foo{}{bar}', 'foo{bar', '}foo{', '{}'])('the slot of %j is that of the whole key', (key) => {
  // The same bytes without braces that could be a tag's.
  expect(clusterSlot(key)).toBe(crc16(key) % 16_384);
});

/** CRC-16/XMODEM, bit by bit. */
function crc16(text: string): number {
  let crc = 0;
  for (const byte of Buffer.from(text)) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc & 0x8000 ? 0x1021 : 0);
    crc &= 0xffff;
  }
  return crc;
}

describe('a client that is passed as an option', () => {
  const nothing = () => {};
  const methods = { connect: nothing, on: nothing, off: nothing, getMaxListeners: nothing, setMaxListeners: nothing };
  const node = { ...methods, isReady: true, sendCommand: nothing };
  const io = { ...methods, status: 'ready', call: nothing };

  test.each<[object, string | undefined]>([
    [node, 'node-redis'],
    [{ ...node, masters: [] }, 'node-redis-cluster'],
    [{ ...node, getSentinelNode: nothing }, 'node-redis-sentinel'],
    [io, 'ioredis'],
    [{ ...io, isReady: true, sendCommand: nothing }, 'ioredis'],
    [{ ...node, status: 'x' }, 'node-redis'],
    [{ ...node, call: nothing }, 'node-redis'],
    [{ ...io, call: undefined }, undefined],
    [{ ...io, status: undefined }, undefined],
    [{ ...node, isReady: undefined }, undefined],
    [{ ...node, sendCommand: undefined }, undefined],
    ...Object.keys(methods).map((name): [object, undefined] => [{ ...node, [name]: undefined }, undefined]),
    [{}, undefined],
  ])('%#: is recognised by its properties: %2$s', (client, kind) => {
    expect(redisClientKind(client)).toBe(kind);
  });

  test.each([
    [null, ''],
    [7, ''],
    [{}, ''],
    [nothing, ': call the function, and pass its result'],
    [Promise.resolve(), ': await the promise'],
    [new URL('redis://one'), ': pass its href'],
    [{ createClient: nothing }, ': pass the result of createClient() of the package'],
    [{ host: 'one' }, ': these are settings: pass the client that createClient() makes from them'],
    ...['url', 'port', 'path'].map((name): [object, string] => [
      { [name]: 'x' },
      ': these are settings: pass the client that createClient() makes from them',
    ]),
    [{ socket: {} }, ': these are settings: pass the client that createClient() makes from them'],
  ])('%#: a value that is not a client gets a message with the next step', (value, hint) => {
    expect(redisClientProblem(value)).toMatch(/^must be a client .*, or a URL like redis:\/\/localhost:6379/);
    expect(redisClientProblem(value)?.split('6379')[1]).toBe(hint);
  });
});
