import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { GATEWAY_TTL_MS, Heartbeat } from '../../../lib/rate-limit/redis/heartbeat.ts';

let beats: Heartbeat;
let due: number;
let reply: unknown;
const sent: (readonly string[])[] = [];

beforeEach(() => {
  jest.useFakeTimers();
  sent.length = due = 0;
  reply = [1, 1];
  beats = new Heartbeat({
    prefix: 'rl:ip:',
    send: async (args) => {
      sent.push(args);
      return reply;
    },
    onDue: () => {
      due++;
    },
  });
});
afterEach(() => {
  beats.stop();
  expect(jest.getTimerCount()).toBe(0);
  jest.useRealTimers();
});

const beat = async (present: number, isNew = 0) => {
  reply = [isNew, present];
  return (await beats.beat()).gateways;
};

test('is due every 3 seconds or so, until it is stopped', () => {
  beats.start();
  jest.advanceTimersByTime(60_000);
  expect(due).toBeGreaterThanOrEqual(16);
  expect(due).toBeLessThanOrEqual(25);
  beats.stop();
  jest.advanceTimersByTime(60_000);
  expect(due).toBeLessThanOrEqual(25);
});

test('is due sooner when asked, and as ever after that', () => {
  beats.start();
  beats.start(100);
  jest.advanceTimersByTime(100);
  expect(due).toBe(1);
  jest.advanceTimersByTime(3_600);
  expect(due).toBe(2);
});

test('writes one key, with braces for a cluster, under one id for each gateway', async () => {
  await beat(1);
  const other = new Heartbeat({ prefix: 'rl:ip:', send: async (args) => [1, sent.push(args)], onDue() {} });
  await other.beat();
  const ids = sent.map(([command, , keys, key, id, ttl]) => {
    expect([command, keys, key, ttl]).toEqual(['EVALSHA', '1', 'rl:ip:{gateways}', String(GATEWAY_TTL_MS)]);
    return id;
  });
  expect(new Set(ids).size).toBe(2);
});

test('believes at once that there are more gateways, and after one TTL that there are fewer', async () => {
  expect(await beat(2)).toBe(2);
  expect(await beat(4)).toBe(4);
  jest.advanceTimersByTime(3_000);
  // A Redis that was flushed: the others are missing until their next beats.
  expect(await beat(1)).toBe(4);
  jest.advanceTimersByTime(3_000);
  expect(await beat(3)).toBe(4);
  jest.advanceTimersByTime(4_000);
  expect(await beat(3)).toBe(3);
  jest.advanceTimersByTime(GATEWAY_TTL_MS);
  expect(await beat(1)).toBe(1);
});

test('forgets a higher count from before the clock was set back', async () => {
  expect(await beat(4)).toBe(4);
  jest.setSystemTime(Date.now() - 3_600_000);
  expect(await beat(2)).toBe(2);
});

test('is due often at first, so that gateways that start together know of each other', () => {
  beats.hurry();
  // A gateway is ready 300 ms after it was heard of: one beat of the others may be late or lost.
  jest.advanceTimersByTime(300);
  expect(due).toBeGreaterThanOrEqual(2);
  jest.advanceTimersByTime(2_700);
  expect(due).toBeGreaterThanOrEqual(24);
  expect(due).toBeLessThanOrEqual(38);
  const before = due;
  jest.advanceTimersByTime(9_000);
  expect(due - before).toBeLessThanOrEqual(4);
});

test('is due as ever when the clock is set back while it is due often', () => {
  beats.hurry();
  jest.setSystemTime(Date.now() - 3_600_000);
  jest.advanceTimersByTime(20_000);
  expect(due).toBeLessThanOrEqual(10);
});

test('says how many are there, of how many there were', async () => {
  reply = [1, 4];
  expect(await beats.beat()).toEqual({ gateways: 4, present: 4 });
  reply = [0, 1];
  expect(await beats.beat()).toEqual({ gateways: 4, present: 1 });
});

test('checks whether Redis still knows it, without a beat that other gateways would notice', async () => {
  reply = [1, 0];
  expect(await beats.isForgotten()).toBe(false);
  expect(sent.at(-1)?.at(-1)).toBe('1');
  await beat(1, 1);
  expect(sent.at(-1)?.at(-1)).toBe('0');
  reply = [0, 1];
  expect(await beats.isForgotten()).toBe(false);
  reply = [1, 0];
  expect(await beats.isForgotten()).toBe(true);
});

test.each([0, -1, 1.5, 'OK', null, [], [1, 0], [1, 'many'], [1]])('does not take %p for a count', async (nothing) => {
  reply = nothing;
  await expect(beats.beat()).rejects.toThrow('no count of gateways');
});

test('a gateway that retires is taken off the count by its own id', async () => {
  await beat(1);
  const [, , , key, id] = sent[0] as string[];
  await beats.retire();
  expect(sent.at(-1)).toEqual(['ZREM', key, id]);
});
