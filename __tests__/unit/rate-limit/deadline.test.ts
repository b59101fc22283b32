import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import {
  DeadlineError,
  type Turn,
  Turns,
  withDeadline as withDeadlineOf,
} from '../../../lib/rate-limit/fallback/deadline.ts';

describe('withDeadline', () => {
  /** Of a question that was sent at once. */
  const withDeadline = <T>(work: Promise<T>, ms: number, onLate: () => void): Promise<T> =>
    withDeadlineOf(work, ms, { endedAt: Date.now() }, onLate);

  beforeEach(() => {
    jest.useFakeTimers();
  });
  afterEach(() => {
    expect(jest.getTimerCount()).toBe(0);
    jest.useRealTimers();
  });

  const never = jest.fn();

  test('gives the result, or the error, that comes in time', async () => {
    await expect(withDeadline(Promise.resolve(7), 50, never)).resolves.toBe(7);
    await expect(withDeadline(Promise.reject(new Error('broken')), 50, never)).rejects.toThrow('broken');
    expect(never).not.toHaveBeenCalled();
  });

  test('gives up after the deadline, and tells of a late success once', async () => {
    const { promise, resolve } = Promise.withResolvers<number>();
    const late = jest.fn();
    const timed = expect(withDeadline(promise, 50, late)).rejects.toThrow(DeadlineError);
    await jest.advanceTimersByTimeAsync(51);
    await timed;
    expect(late).not.toHaveBeenCalled();
    resolve(7);
    await jest.advanceTimersByTimeAsync(0);
    expect(late).toHaveBeenCalledTimes(1);
  });

  test('lets a late failure go', async () => {
    const { promise, reject } = Promise.withResolvers<number>();
    const timed = expect(withDeadline(promise, 50, never)).rejects.toThrow('no reply from the store within 50 ms');
    await jest.advanceTimersByTimeAsync(51);
    await timed;
    reject(new Error('later'));
    await jest.advanceTimersByTimeAsync(0);
    expect(never).not.toHaveBeenCalled();
  });

  test('takes a reply that waited in the socket while the process stood still', async () => {
    const { promise, resolve } = Promise.withResolvers<number>();
    const timed = withDeadline(promise, 50, never);
    // The timer is due; the poll phase, in which the reply is read, comes between it and the immediate.
    jest.advanceTimersByTime(50);
    resolve(7);
    await expect(timed).resolves.toBe(7);
  });

  test('gives the store its time anew where the process stood still until after the deadline', async () => {
    const { promise, resolve } = Promise.withResolvers<number>();
    const timed = withDeadline(promise, 50, never);
    jest.setSystemTime(Date.now() + 200);
    await jest.advanceTimersByTimeAsync(60);
    resolve(7);
    await expect(timed).resolves.toBe(7);
  });

  test('gives it its time once for each time that the process stood still, from 10 ms on', async () => {
    const settled = jest.fn();
    withDeadline(new Promise(() => {}), 50, never).catch(settled);
    jest.setSystemTime(Date.now() + 10);
    await jest.advanceTimersByTimeAsync(99);
    expect(settled).not.toHaveBeenCalled();
    await jest.advanceTimersByTimeAsync(2);
    expect(settled).toHaveBeenCalledTimes(1);
    const other = jest.fn();
    withDeadline(new Promise(() => {}), 50, never).catch(other);
    jest.setSystemTime(Date.now() + 9);
    await jest.advanceTimersByTimeAsync(51);
    expect(other.mock.calls).toMatchObject([[{ name: 'DeadlineError' }]]);
  });

  test.each([1, 9, 40, 49, 50])(
    'the time of the store begins when the turn of the event loop ends in which it was asked: after %d ms',
    async (ms) => {
      const asked: Turn = {};
      let failed = false;
      const timed = withDeadlineOf(new Promise(() => {}), 50, asked, never).catch(() => {
        failed = true;
      });
      await jest.advanceTimersByTimeAsync(ms);
      asked.endedAt = Date.now();
      await jest.advanceTimersByTimeAsync(49);
      expect(failed).toBe(false);
      // The timer that finds the turn still under way begins anew.
      await jest.advanceTimersByTimeAsync(ms < 50 ? 2 : 51);
      expect(failed).toBe(true);
      await timed;
    },
  );

  test('a turn ends before the next one begins', async () => {
    const turns = new Turns();
    const { current } = turns;
    expect(turns.current).toBe(current);
    expect(current.endedAt).toBeUndefined();
    await jest.advanceTimersByTimeAsync(1);
    expect(current.endedAt).toBeDefined();
    expect(turns.current).not.toBe(current);
    await jest.advanceTimersByTimeAsync(1);
  });

  test('does so three times at most', async () => {
    const settled = jest.fn();
    const work = withDeadline(new Promise(() => {}), 50, never);
    work.catch(settled);
    const timed = expect(work).rejects.toThrow(DeadlineError);
    for (let i = 0; i < 4; i++) {
      expect(settled).not.toHaveBeenCalled();
      jest.setSystemTime(Date.now() + 200);
      await jest.advanceTimersByTimeAsync(50);
    }
    await jest.advanceTimersByTimeAsync(1);
    await timed;
  });
});
