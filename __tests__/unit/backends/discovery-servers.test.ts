import { describe, expect, test } from '@jest/globals';
import { inUse, namesServer, weigh } from '../../../lib/backends/discovery/lookup.ts';
import { selectionPolicy } from '../../../lib/backends/selection/load-balancing.ts';
import { exchange, FakeBackend } from './fake-backend.ts';

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
      [1, 0.01],
    ],
    [
      [0, 100, 200],
      [0.01, 1, 2],
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

test.each(['weighted', 'least-requests', 'latency', 'hash'] as const)(
  '%s: a server of weight 0 beside others gets a very small share, and all requests when it is alone',
  (name) => {
    const policy = selectionPolicy(name);
    const servers = weigh([record('a', 0), record('b', 100)]).map(({ weight }) => new FakeBackend('http://a', weight));
    const [zero, other] = servers as [FakeBackend, FakeBackend];
    const share = () => {
      let picks = 0;
      for (let client = 0; client < 2_000; client += 1) {
        const one = exchange({ address: `192.0.${client >> 8}.${client & 255}` });
        // Requests in flight decide for some policies: one at a time.
        if (policy.select(servers, one, []) === zero) picks += 1;
      }
      return picks;
    };
    expect(share()).toBeLessThan(100);
    other.available = false;
    expect(share()).toBe(2_000);
  },
);

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
    const ports = [0, 70_000, 80.5, Number.NaN].map((port) => record('a', 0, 0, port));
    expect([record(''), record('.'), ...ports].map(namesServer)).toEqual(Array(6).fill(false));
    expect(namesServer(record('a'))).toBe(true);
  });
});
