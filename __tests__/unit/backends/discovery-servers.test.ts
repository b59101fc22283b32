import { describe, expect, test } from '@jest/globals';
import { inUse, namesServer, weigh } from '../../../lib/backends/discovery-servers.ts';

const record = (name: string, weight = 0, priority = 0, port = 80) => ({ name, port, weight, priority });

describe('weights of SRV records', () => {
  test.each([
    [
      [0, 0],
      [1, 1],
    ],
    [
      [50, 50],
      [1, 1],
    ],
    [
      [10, 20, 30],
      [1, 2, 3],
    ],
    [
      [65_535, 0],
      [1, 1],
    ],
    [
      [65_535, 1],
      [1_000, 1],
    ],
    [
      [65_535, 32_767],
      [1_000, 500],
    ],
    [[3], [1]],
  ])('%j become %j', (given, expected) => {
    expect(weigh(given.map((weight) => record('a', weight))).map(({ weight }) => weight)).toEqual(expected);
  });
});

describe('servers in use', () => {
  const servers = [record('backup', 0, 20), record('one', 0, 10), record('two', 0, 10)];

  test('are those of the lowest priority number', () => {
    expect(inUse(servers, () => true).map(({ name }) => name)).toEqual(['one', 'two']);
  });

  test('are the next ones where those have no address', () => {
    expect(inUse(servers, ({ name }) => name === 'two').map(({ name }) => name)).toEqual(['two']);
    expect(inUse(servers, ({ name }) => name === 'backup').map(({ name }) => name)).toEqual(['backup']);
    expect(inUse(servers, () => false)).toEqual([]);
  });

  test('a root name, or no port, is no server', () => {
    expect([record(''), record('.'), record('a', 0, 0, 0), record('a', 0, 0, 70_000)].map(namesServer)).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect(namesServer(record('a'))).toBe(true);
  });
});
