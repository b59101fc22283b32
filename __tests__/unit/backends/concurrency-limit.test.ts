import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { ConcurrencyLimit } from '../../../lib/backends/concurrency-limit.ts';
import {
  type AdaptiveConcurrencyOptions,
  adaptiveConcurrencyDefaults,
} from '../../../lib/backends/concurrency-options.ts';
import { exponential, mixed, QueueingBackend } from './queueing-backend.ts';

let now = (): number => 0;

beforeEach(() => {
  jest.spyOn(performance, 'now').mockImplementation(() => now());
  // Without jitter.
  jest.spyOn(Math, 'random').mockReturnValue(0.5);
});
afterEach(() => {
  jest.restoreAllMocks();
});

function backendOf(...args: ConstructorParameters<typeof QueueingBackend>): QueueingBackend {
  const backend = new QueueingBackend(...args);
  now = backend.now;
  return backend;
}

/** 500 requests a second, of 20 ms each. */
const TEN = { servers: 10, serviceMs: 20 };
const SEEDS = [1, 2, 3];

describe.each([
  ['M/M/c', exponential],
  ['a tenth of the requests much slower', mixed],
])('a backend with ten servers, %s', (_name, service) => {
  test.each(SEEDS)('below its capacity, hardly anything is refused (seed %i)', (seed) => {
    const { refused, goodput } = backendOf({}, seed, service).run({ ...TEN, seconds: 30, rate: 350 }, 2);
    expect(refused).toBeLessThan(0.03 * 350);
    expect(goodput).toBeGreaterThan(0.9 * 350);
  });

  test.each(SEEDS)('at twice its capacity the backend is fully used, without a long queue (seed %i)', (seed) => {
    const backend = backendOf({}, seed, service);
    const before = backend.run({ ...TEN, seconds: 5, rate: 300 });
    const during = backend.run({ ...TEN, seconds: 20, rate: 1_000 }, 1);
    expect(during.goodput).toBeGreaterThan(0.85 * 500);
    expect(during.p50Ms).toBeLessThan(4 * before.p50Ms);
    expect(during.p99Ms).toBeLessThan(3 * before.p99Ms);
  });

  test.each(SEEDS)('when its capacity halves, the limit follows, and comes back within 2 s (seed %i)', (seed) => {
    const backend = backendOf({}, seed, service);
    backend.run({ ...TEN, seconds: 5, rate: 350 });
    const half = backend.run({ ...TEN, servers: 5, seconds: 15, rate: 350 }, 2);
    expect(half.goodput).toBeGreaterThan(0.85 * 250);
    expect(half.highestLimit).toBeLessThan(40);
    const whole = backend.run({ ...TEN, seconds: 10, rate: 350 }, 2);
    expect(whole.goodput).toBeGreaterThan(0.93 * 350);
    expect(whole.refused).toBeLessThan(0.05 * 350);
  });

  test.each(SEEDS)('after an overload it refuses nothing any more within 2 s (seed %i)', (seed) => {
    const backend = backendOf({}, seed, service);
    backend.run({ ...TEN, seconds: 10, rate: 1_500 });
    expect(backend.run({ ...TEN, seconds: 10, rate: 300 }, 2).refused).toBeLessThan(0.02 * 300);
  });
});

test.each(SEEDS)('requests that become slower by themselves are no overload (seed %i)', (seed) => {
  const backend = backendOf({}, seed);
  backend.run({ servers: 40, serviceMs: 20, seconds: 5, rate: 900 });
  const slower = backend.run({ servers: 40, serviceMs: 40, seconds: 20, rate: 850 }, 3);
  expect(slower.refused).toBeLessThan(0.03 * 850);
});

test.each(SEEDS)('a backend of 200 servers gets all its requests within 2 s of a cold start (seed %i)', (seed) => {
  const backend = backendOf({}, seed);
  backend.run({ servers: 200, serviceMs: 30, seconds: 2, rate: 5_000 });
  expect(backend.run({ servers: 200, serviceMs: 30, seconds: 3, rate: 5_000 }).refused).toBeLessThan(50);
});

test.each(SEEDS)('a slow backend converges as well, started in the middle of an overload (seed %i)', (seed) => {
  const backend = backendOf({}, seed);
  const { goodput, p50Ms } = backend.run({ servers: 50, serviceMs: 500, seconds: 90, rate: 200 }, 30);
  expect(goodput).toBeGreaterThan(80);
  expect(p50Ms).toBeLessThan(1_500);
});

describe('bounds', () => {
  test.each(SEEDS)('the limit always stays between the lowest and the highest (seed %i)', (seed) => {
    const backend = backendOf({ minLimit: 3, maxLimit: 30, initialLimit: 10 }, seed);
    const phases = [
      { seconds: 5, rate: 2_000, servers: 100, serviceMs: 10 },
      { seconds: 5, rate: 2_000, servers: 1, serviceMs: 100 },
      { seconds: 5, rate: 2, servers: 1, serviceMs: 900 },
      { seconds: 5, rate: 2_000, servers: 100, serviceMs: 1 },
    ];
    for (const phase of phases) {
      const { lowestLimit, highestLimit } = backend.run(phase);
      expect(lowestLimit).toBeGreaterThanOrEqual(3);
      expect(highestLimit).toBeLessThanOrEqual(30);
    }
  });

  test('a backend that hardly works still gets requests', () => {
    const backend = backendOf();
    backend.run({ ...TEN, seconds: 5, rate: 400 });
    const { goodput } = backend.run({ servers: 1, serviceMs: 500, seconds: 60, rate: 400 }, 20);
    expect(goodput).toBeGreaterThan(1.5);
  });
});

describe('step by step', () => {
  let clock = 0;
  const settings = (options: AdaptiveConcurrencyOptions) => ({ ...adaptiveConcurrencyDefaults, ...options });
  beforeEach(() => {
    clock = 0;
    now = () => clock;
  });

  /** So many rounds in which `concurrency` requests are sent at once and answered after `ms`. */
  function rounds(limit: ConcurrencyLimit, count: number, concurrency: number, ms: number): void {
    for (let round = 0; round < count; round += 1) {
      const sentAt = clock;
      const sent = Math.min(concurrency, Math.max(0, limit.limit - limit.inFlight));
      for (let request = 0; request < sent; request += 1) limit.enter();
      clock += ms;
      for (let request = 0; request < sent; request += 1) {
        limit.observe(sentAt, clock);
        limit.leave();
      }
      // A round in which everything is refused: time passes, and someone asks.
      void limit.hasRoom;
    }
  }

  test('it grows only while it is used', () => {
    const limit = new ConcurrencyLimit(settings({ initialLimit: 20 }));
    rounds(limit, 200, 5, 20);
    expect(limit.limit).toBe(20);
    rounds(limit, 100, 20, 20);
    expect(limit.limit).toBeGreaterThan(39);
  });

  test('hundreds of long polls beside quick requests take room, and do not shrink it', () => {
    const limit = new ConcurrencyLimit(settings({}));
    rounds(limit, 100, 40, 10);
    const polls = 30;
    const sentAt = clock;
    for (let poll = 0; poll < polls; poll += 1) limit.enter();
    rounds(limit, 500, 20, 10);
    const before = limit.limit;
    for (let poll = 0; poll < polls; poll += 1) {
      limit.observe(sentAt, clock);
      limit.leave();
    }
    rounds(limit, 50, 20, 10);
    expect(limit.limit).toBeGreaterThan(0.7 * before);
    expect(limit.unloadedMs).toBeLessThan(40);
  });

  test('long polls that fill the places of a probe end it after 200 ms', () => {
    const limit = new ConcurrencyLimit(settings({ initialLimit: 40, maxLimit: 40, probeIntervalMs: 1_000 }));
    rounds(limit, 20, 40, 10);
    for (let poll = 0; poll < 30; poll += 1) limit.enter();
    let blockedMs = 0;
    for (let round = 0; round < 500; round += 1) {
      if (!limit.hasRoom) blockedMs += 10;
      rounds(limit, 1, 10, 10);
    }
    expect(blockedMs).toBeGreaterThan(0);
    expect(blockedMs).toBeLessThan(5 * 250);
  });

  test('a place that is left without a response frees room, and teaches nothing', () => {
    const limit = new ConcurrencyLimit(settings({ initialLimit: 4 }));
    for (let request = 0; request < 4; request += 1) limit.enter();
    expect(limit.hasRoom).toBe(false);
    limit.leave();
    expect(limit.hasRoom).toBe(true);
    expect(limit).toMatchObject({ limit: 4, inFlight: 3, unloadedMs: 0 });
  });

  test('tells who waits that there is room', () => {
    const freed = jest.fn();
    const limit = new ConcurrencyLimit(settings({}), freed);
    limit.enter();
    limit.leave();
    expect(freed).toHaveBeenCalledTimes(1);
  });

  test('a backend that comes back starts anew, and responses to earlier requests do not count', () => {
    const limit = new ConcurrencyLimit(settings({}));
    rounds(limit, 100, 50, 20);
    expect(limit.unloadedMs).toBeCloseTo(20);
    limit.forget();
    expect(limit).toMatchObject({ limit: 50, unloadedMs: 0 });
    for (let request = 0; request < 100; request += 1) limit.observe(clock - 1, clock + 500);
    expect(limit.unloadedMs).toBe(0);
  });

  test('an hour without requests changes nothing', () => {
    const limit = new ConcurrencyLimit(settings({}));
    rounds(limit, 100, 40, 20);
    const before = limit.limit;
    clock += 3_600_000;
    rounds(limit, 5, 10, 20);
    expect(limit.limit).toBeGreaterThanOrEqual(before / 4);
    rounds(limit, 50, 10, 20);
    expect(limit.limit).toBe(before);
  });
});

test('tells since when the limit leaves no room, until it has left some for ten seconds', () => {
  jest.useFakeTimers({ now: 1_000_000, doNotFake: ['performance'] });
  try {
    const limit = new ConcurrencyLimit({ ...adaptiveConcurrencyDefaults, initialLimit: 4 });
    for (let i = 0; i < 4; i += 1) {
      expect(limit.hasRoom).toBe(true);
      limit.enter();
    }
    expect(limit.limitedSince).toBeUndefined();
    expect(limit.hasRoom).toBe(false);
    jest.advanceTimersByTime(6_000);
    expect(limit.hasRoom).toBe(false);
    jest.advanceTimersByTime(9_000);
    expect(limit.limitedSince).toBe(1_000_000);
    limit.leave();
    expect(limit.hasRoom).toBe(true);
    jest.advanceTimersByTime(1_000);
    expect(limit.limitedSince).toBeUndefined();
    limit.enter();
    expect(limit.hasRoom).toBe(false);
    expect(limit.limitedSince).toBe(1_016_000);
  } finally {
    jest.useRealTimers();
  }
});
