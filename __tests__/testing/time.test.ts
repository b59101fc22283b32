import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { advanceTime, answer, eventually, flushIo, startBackend } from '../../lib/testing/index.ts';
import { Cleanup } from '../support/gateway.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  jest.useRealTimers();
  await cleanup.run();
});

describe('eventually()', () => {
  test('waits under mock timers too, and names what did not happen', async () => {
    jest.useFakeTimers();
    let asked = 0;
    await eventually('the third time', () => ++asked === 3);
    expect(asked).toBe(3);
    await expect(eventually('pigs fly', () => false, 30)).rejects.toThrow('not within 30 ms: pigs fly');
  });

  test('treats a condition that throws as false, and reports its last error', async () => {
    let asked = 0;
    await eventually('no more errors', () => {
      if (++asked < 3) throw new Error('not yet');
      return true;
    });
    const failing = () => {
      throw new Error('still broken');
    };
    await expect(eventually('never', failing, 30)).rejects.toThrow('still broken');
  });
});

describe('advanceTime()', () => {
  test('completes the work of a timer before the next one', async () => {
    jest.useFakeTimers();
    const order: number[] = [];
    const tick = (left: number) =>
      setTimeout(() => {
        order.push(Date.now());
        if (left > 0) Promise.resolve().then(() => tick(left - 1));
      }, 50);
    const begun = Date.now();
    tick(3);
    await advanceTime(225, (ms) => jest.advanceTimersByTime(ms), { stepMs: 50 });
    expect(order.map((at) => at - begun)).toEqual([50, 100, 150, 200]);
    expect(Date.now() - begun).toBe(225);
  });

  test('releases a delayed response of a backend', async () => {
    const backend = cleanup.add(await startBackend({ plan: [answer({ delayMs: 60_000 })] }));
    jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask', 'performance'] });
    const response = fetch(backend.url);
    await eventually('it came', () => backend.requests.length === 1);
    await flushIo();
    await advanceTime(60_000, (ms) => jest.advanceTimersByTime(ms), { stepMs: 1_000 });
    jest.useRealTimers();
    expect((await response).status).toBe(200);
  });

  test('refuses invalid times and clocks', async () => {
    await expect(advanceTime(-1, () => {})).rejects.toThrow('ms must be an integer of at least 0');
    await expect(advanceTime(1, 5 as never)).rejects.toThrow('tick must be a function');
    await expect(advanceTime(1, () => {}, { stepMs: 0 })).rejects.toThrow('stepMs must be');
    await expect(flushIo(0)).rejects.toThrow('turns must be');
  });
});
