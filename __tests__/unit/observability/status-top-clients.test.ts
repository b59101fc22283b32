import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { TopClients } from '../../../lib/observability/status/top-clients.ts';

const MINUTE_MS = 60_000;

beforeEach(() => {
  jest.useFakeTimers({ now: new Date('2026-11-24T12:00:00Z') });
});

afterEach(() => {
  jest.useRealTimers();
});

describe('TopClients', () => {
  test('a million clients cost bounded memory, and do not hide the worst', () => {
    const clients = new TopClients();
    for (let i = 0; i < 200_000; i += 1) {
      clients.note('ip', `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, 5, false);
      if (i % 20 === 0) clients.note('ip', '192.0.2.1', 5, false);
    }
    const all = clients.top(1_000_000);
    expect(all).toHaveLength(64);
    const [first] = all;
    expect(first?.key).toBe('192.0.2.1');
    // At most as many as are said, and at least as many as remain without the overcount.
    expect(first?.refused).toBeGreaterThanOrEqual(10_000);
    expect((first?.refused ?? 0) - (first?.overcount ?? 0)).toBeLessThanOrEqual(10_000);
  });

  test('forgets hits after a quarter of an hour', () => {
    const clients = new TopClients();
    clients.note('ip', 'old', 5, false);
    jest.advanceTimersByTime(6 * MINUTE_MS);
    clients.note('ip', 'newer', 5, false);
    clients.note('ip', 'old', 5, false);
    expect(clients.top(10).map(({ key, refused }) => [key, refused])).toEqual([
      ['old', 2],
      ['newer', 1],
    ]);
    jest.advanceTimersByTime(16 * MINUTE_MS);
    expect(clients.top(10)).toEqual([]);
  });

  test('survives a clock that is set back', () => {
    const clients = new TopClients();
    clients.note('ip', 'a', 5, false);
    jest.setSystemTime(new Date('2026-11-24T11:00:00Z'));
    clients.note('ip', 'a', 5, false);
    expect(clients.top(10)).toMatchObject([{ key: 'a', refused: 2 }]);
  });

  test('the same key under two limiters is two clients', () => {
    const clients = new TopClients();
    clients.note('ip', 'a', 5, false);
    clients.note('login', 'a', 2, true);
    expect(clients.top(10)).toMatchObject([
      { limiter: 'ip', limit: 5, shadow: false },
      { limiter: 'login', limit: 2, shadow: true },
    ]);
  });

  test('shows only a part of keys that the app chooses', () => {
    const clients = new TopClients();
    for (const key of ['k:secret-token-1', 'k:secret-token-2']) clients.note('api', key, 5, false);
    const keys = clients.top(10).map(({ key }) => key);
    expect(keys).toEqual([
      expect.stringMatching(/^k:secr…[0-9a-f]{8}$/),
      expect.stringMatching(/^k:secr…[0-9a-f]{8}$/),
    ]);
    expect(new Set(keys).size).toBe(2);
    clients.forget('k:secret-token-1');
    expect(clients.top(10)).toHaveLength(1);
  });
});
