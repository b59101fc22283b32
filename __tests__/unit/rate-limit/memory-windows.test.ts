import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Options } from 'express-rate-limit';
import { MemoryWindows } from '../../../lib/rate-limit/memory-windows.ts';

describe('MemoryWindows', () => {
  let store: MemoryWindows;

  beforeEach(() => {
    jest.useFakeTimers();
    store = new MemoryWindows();
    store.init({ windowMs: 1_000 } as Options);
  });
  afterEach(() => {
    store.close();
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });

  test('gives each of several hits at once its own count', async () => {
    const counts = await Promise.all([store.increment('k'), store.increment('k'), store.increment('k')]);
    expect(counts.map(({ totalHits }) => totalHits)).toEqual([1, 2, 3]);
    await store.increment('k');
    expect(counts.map(({ totalHits }) => totalHits)).toEqual([1, 2, 3]);
  });

  test('starts a new window when the old one is over', async () => {
    const start = Date.now();
    jest.advanceTimersByTime(700);
    expect(await store.increment('k')).toEqual({ totalHits: 1, resetTime: new Date(start + 1_700) });
    jest.advanceTimersByTime(999);
    expect(await store.increment('k')).toEqual({ totalHits: 2, resetTime: new Date(start + 1_700) });
    jest.advanceTimersByTime(1);
    expect(await store.increment('k')).toEqual({ totalHits: 1, resetTime: new Date(start + 2_700) });
  });

  test('forgets clients that do not come back', async () => {
    for (let i = 0; i < 100; i++) await store.increment(`k${i}`);
    jest.advanceTimersByTime(2_000);
    expect(store.current.size + store.previous.size).toBe(0);
  });

  test('still counts after close()', async () => {
    store.close();
    await store.increment('k');
    expect(await store.increment('k')).toMatchObject({ totalHits: 2 });
  });
});
