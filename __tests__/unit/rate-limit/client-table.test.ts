import { describe, expect, jest, test } from '@jest/globals';
import { ClientTable } from '../../../lib/rate-limit/memory/client-table.ts';
import { settledHeap } from '../../support/settled-heap.ts';

const LIFETIME_MS = 1_000;

function tableOf(maxKeys: number) {
  const onFull = jest.fn();
  const table = new ClientTable(LIFETIME_MS, maxKeys, onFull);
  /** Asks for a client as its first or next request would. */
  const touch = (key: string, now: number) => {
    const record = table.find(key, now);
    record.at = now;
    record.spent++;
    return record;
  };
  return { table, onFull, touch };
}

describe('ClientTable', () => {
  test('keeps a record for as long as it matters, and forgets it soon after', () => {
    const { table, touch } = tableOf(1_000);
    touch('k', 5_000);
    expect(table.find('k', 5_000 + LIFETIME_MS - 1).spent).toBe(1);
    const { table: other, touch: touchOther } = tableOf(1_000);
    for (let i = 0; i < 500; i++) touchOther(`k${i}`, 5_000);
    expect(other.size).toBe(500);
    for (let round = 1; round <= 3; round++) for (let i = 0; i < 500; i++) touchOther(`r${i}`, 5_000 + round * 1_100);
    // Those of the last round, and no more of the others than one generation.
    expect(other.size).toBeLessThanOrEqual(1_000);
    expect(other.find('k7', 8_400).spent).toBe(0);
  });

  test('keeps the record of a client that comes all the time', () => {
    const { touch } = tableOf(1_000);
    for (let now = 0; now < 10_000; now += 300) touch('k', now);
    expect(touch('k', 10_000).spent).toBe(35);
  });

  test('survives a clock that is set back', () => {
    const { touch } = tableOf(1_000);
    touch('k', 1_000_000);
    expect(touch('k', 500_000).spent).toBe(2);
    expect(touch('k', 500_900).spent).toBe(3);
  });

  test('when it is full, old clients keep their records, new ones share, and no client is forgotten', () => {
    const { table, onFull, touch } = tableOf(1_000);
    touch('old', 0);
    for (let i = 0; i < 50_000; i++) touch(`attacker-${i}`, i / 100);
    expect(onFull).toHaveBeenCalled();
    expect(table.size).toBeLessThanOrEqual(1_100);
    expect(table.find('old', 500).spent).toBe(1);
    const shared = new Set(Array.from({ length: 1_000 }, (_, i) => table.find(`new-${i}`, 500)));
    // One record for each of the shards, in which everything is counted that came too late.
    expect(shared.size).toBeLessThanOrEqual(16);
    for (const record of shared) expect(record.spent).toBeGreaterThan(100);
  });

  /** A table that is full, and the records that its latest clients share: one for each part of the table. */
  function fullTable(maxKeys: number) {
    const { table } = tableOf(maxKeys);
    for (let i = 0; i < 3 * maxKeys + 200; i++) table.find(`client-${i}`, 0);
    return { table, sharedBy: (keys: readonly string[]) => Map.groupBy(keys, (key) => table.find(key, 0)) };
  }
  const late = Array.from({ length: 4_000 }, (_, i) => `late-${i}`);

  test.each([
    [64, 1],
    [127, 1],
    [128, 2],
    [1_000, 8],
    [8_191, 64],
    [8_192, 128],
    [40_000, 128],
  ])('of %d clients at most has %d parts at most, each of 64 clients or more', (maxKeys, parts) => {
    const { table, sharedBy } = fullTable(maxKeys);
    expect(sharedBy(late).size).toBe(parts);
    expect(table.size).toBeGreaterThanOrEqual(maxKeys);
    expect(table.size).toBeLessThan(maxKeys + parts);
  });

  test('a client cannot choose others to share a part with: it is another choice in each table', () => {
    const [one, other] = [fullTable(1_000), fullTable(1_000)];
    const [together = []] = one.sharedBy(late).values();
    expect(other.sharedBy(together).size).toBeGreaterThan(1);
  });

  test('when it is full, it makes room by forgetting entries that no longer matter', () => {
    const { table, touch } = tableOf(1_000);
    for (let i = 0; i < 5_000; i++) touch(`a${i}`, 0);
    // The first one moves the generations on, the others find those of the past.
    for (let i = 0; i < 5_000; i++) touch(`b${i}`, LIFETIME_MS + 1);
    expect(table.size).toBeLessThanOrEqual(1_100);
    const own = new Set(Array.from({ length: 500 }, (_, i) => touch(`b${i}`, LIFETIME_MS + 2)));
    expect(own.size).toBe(500);
  });

  test.each([
    [5_000, 6_000, 0],
    [5_900, 6_000, 1],
    [5_001, 6_000, 1],
  ])('when it is full of clients of %d, a new one at %d shares: %d', (came, now, shares) => {
    const { onFull, touch } = tableOf(64);
    touch('k0', 5_000);
    for (let i = 0; i < 64; i++) touch(`k${i}`, came);
    expect(onFull).not.toHaveBeenCalled();
    touch('new', now);
    expect(onFull).toHaveBeenCalledTimes(shares);
  });

  test('when it is full, each new client costs a few looks for one that is forgotten, and goes on behind the last look', () => {
    const { onFull, touch } = tableOf(64);
    for (let i = 0; i < 64; i++) touch(`k${i}`, 5_000);
    for (let i = 0; i < 64; i++) if (i !== 16) touch(`k${i}`, 5_500);
    const shares = ['a', 'b', 'c', 'd'].map((key) => {
      const calls = onFull.mock.calls.length;
      touch(key, 6_000);
      return onFull.mock.calls.length > calls;
    });
    expect(shares).toEqual([true, true, false, true]);
  });

  test('has no more records than it may', () => {
    const { table, onFull, touch } = tableOf(64);
    for (let i = 0; i < 64; i++) touch(`k${i}`, 5_000);
    touch('more', 5_000);
    expect([table.size, onFull.mock.calls.length]).toEqual([64, 1]);
  });

  test('forgets one client', () => {
    const { table, touch } = tableOf(1_000);
    touch('k', 0);
    table.delete('k');
    expect(touch('k', 1).spent).toBe(1);
    for (let i = 0; i < 500; i++) touch(`other-${i}`, LIFETIME_MS + 500);
    table.delete('k');
    expect(touch('k', LIFETIME_MS + 501).spent).toBe(1);
  });

  test('tells keys apart that differ only in halves of characters', () => {
    const { table, touch } = tableOf(1_000);
    const keys = ['\ud800', '\ud801', '\ufffd', 'ä', '한국어'];
    for (const key of keys) touch(key, 0);
    expect(keys.map((key) => table.find(key, 1).spent)).toEqual([1, 1, 1, 1, 1]);
  });

  // Only Node 22 would; Node 26 makes copies for its maps.
  test('does not keep the field from which an address was cut', () => {
    const { table, touch } = tableOf(10_000);
    const before = settledHeap();
    for (let i = 0; i < 400; i++) touch(`${'x'.repeat(100_000)}, 198.51.100.${100 + i}`.slice(100_002), 0);
    const after = settledHeap();
    expect(table.size).toBe(400);
    expect(after - before).toBeLessThan(10_000_000);
  });
});
