import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { MemoryWindows } from '../../../lib/rate-limit/memory-windows.ts';

describe('MemoryWindows', () => {
  let store: MemoryWindows;

  beforeEach(() => {
    jest.useFakeTimers();
    store = new MemoryWindows({ limit: 5, windowMs: 1_000, burst: 5 });
  });
  afterEach(() => {
    store.close();
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });

  const hit = async (key = 'k') => (await store.take({ key, cost: 1, limit: undefined })).standings[0];

  test('gives each of several hits at once its own count', async () => {
    const standings = await Promise.all([hit(), hit(), hit()]);
    expect(standings.map((standing) => standing?.remaining)).toEqual([4, 3, 2]);
    await hit();
    expect(standings.map((standing) => standing?.remaining)).toEqual([4, 3, 2]);
  });

  test('starts a new window when the old one is over', async () => {
    jest.advanceTimersByTime(700);
    expect(await hit()).toEqual({ remaining: 4, resetMs: 1_000 });
    jest.advanceTimersByTime(999);
    expect(await hit()).toEqual({ remaining: 3, resetMs: 1 });
    jest.advanceTimersByTime(1);
    expect(await hit()).toEqual({ remaining: 4, resetMs: 1_000 });
  });

  test('forgets clients that do not come back', async () => {
    for (let i = 0; i < 100; i++) await hit(`k${i}`);
    expect(store.size).toBe(100);
    jest.advanceTimersByTime(2_000);
    expect(store.size).toBe(0);
  });

  test('refuses what is over the limit, of the limiter or of the claim', async () => {
    for (let i = 0; i < 5; i++) await hit();
    jest.advanceTimersByTime(400);
    expect(await store.take({ key: 'k', cost: 1, limit: undefined })).toMatchObject({
      allowed: false,
      retryAfterMs: 600,
    });
    expect(await store.take({ key: 'k', cost: 1, limit: 7 })).toMatchObject({ allowed: true, retryAfterMs: 0 });
  });

  test('forgets one client', async () => {
    await hit();
    await store.reset('k');
    expect(await hit()).toMatchObject({ remaining: 4 });
  });

  test('still counts after close()', async () => {
    store.close();
    await hit();
    expect(await hit()).toMatchObject({ remaining: 3 });
  });
});
