import { AsyncLocalStorage } from 'node:async_hooks';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { type AlgorithmName, rateLimitAlgorithms } from '../../../lib/rate-limit/algorithms/registry.ts';
import type { CounterAnswer, CounterQuestion } from '../../../lib/rate-limit/cluster/counter-question.ts';
import { limiterCounter } from '../../../lib/rate-limit/cluster/limiter-counter.ts';
import type { LimiterMeter } from '../../../lib/rate-limit/meter.ts';
import { openLimiterMeter } from '../../../lib/rate-limit/open-meter.ts';

// Four gateways, one client at six times its limit, and one that counts for all of them: in fake time, so that no machine is too slow.

const LIMIT = 100;
const WINDOW_MS = 2_000;
const TIMEOUT_MS = 50;
/** Each immediate takes two in fake time. */
const TURN_MS = 2;
/** The deadline, from the end of the turn of the event loop on, and the turn in which replies are read that are there by then. */
const LONGEST_MS = TIMEOUT_MS + 3 * TURN_MS;
const GATEWAYS = 4;
/** The failures of all tests repeat after three windows at most: two rounds, and the first window. */
const WINDOWS = 7;
const LONGEST_STALL_MS = 300;
const START = 1_790_000_000_000;

/** Until when the event loop of one gateway stands still; before `now` while it runs. */
type StandsStill = (gateway: number, now: number) => number;

/**
 * Event loops that stand still, in fake time: timers and immediates of a gateway, and what comes to it, wait until its loop goes on.
 * Then timers come first, then what is in the sockets, then immediates, as in a turn of the event loop of Node.
 */
class EventLoops {
  readonly #gateway = new AsyncLocalStorage<number>();
  readonly #standsStill: StandsStill;
  readonly #setTimeout = globalThis.setTimeout;
  readonly #setImmediate = globalThis.setImmediate;

  constructor(standsStill: StandsStill) {
    this.#standsStill = standsStill;
    const { clearTimeout, clearImmediate } = globalThis;
    const cancel = (timer?: LoopTimer): void => timer?.cancel();
    Object.assign(globalThis, {
      setTimeout: (fn: () => void, ms?: number) => {
        const timer = this.#setTimeout(
          this.#inGateway(() => this.#whenItRuns(fn)),
          ms,
        );
        const one: LoopTimer = { unref: () => one, cancel: () => clearTimeout(timer) };
        return one;
      },
      setImmediate: (fn: () => void) => {
        const run = this.#inGateway(fn);
        const immediate = this.#setImmediate(this.#inGateway(() => this.#whenItRuns(() => this.#setImmediate(run))));
        return { cancel: () => clearImmediate(immediate) };
      },
      clearTimeout: cancel,
      clearImmediate: cancel,
    });
  }

  /** The gateway whose turn it is. */
  get current(): number {
    return this.#gateway.getStore() ?? -1;
  }

  /** What a gateway does. */
  run<T>(gateway: number, fn: () => Promise<T>): Promise<T> {
    return this.#gateway.run(gateway, fn);
  }

  /** When the gateway whose turn it is reads what is in its socket by now. */
  read(): Promise<void> {
    return new Promise((resolve) => {
      // Behind the timers that are due at the same moment.
      const waitMs = this.#waitMs();
      if (waitMs > 0) this.#setTimeout(() => this.#setImmediate(resolve), waitMs);
      else resolve();
    });
  }

  /** What others do, who never stand still. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.#setTimeout(resolve, ms));
  }

  #whenItRuns(fn: () => void): void {
    const waitMs = this.#waitMs();
    if (waitMs > 0) this.#setTimeout(this.#inGateway(fn), waitMs);
    else fn();
  }

  /** Fake timers call in the context of the one who advances them. */
  #inGateway(fn: () => void): () => void {
    const gateway = this.#gateway.getStore();
    return gateway === undefined ? fn : () => this.#gateway.run(gateway, fn);
  }

  #waitMs(): number {
    const gateway = this.#gateway.getStore();
    return gateway === undefined ? 0 : Math.max(0, this.#standsStill(gateway, Date.now()) - Date.now());
  }
}

interface LoopTimer {
  unref?(): LoopTimer;
  cancel(): void;
}

interface CounterParts {
  /** Milliseconds that each claim takes the one who counts. */
  readonly msPerClaim?: number;
  /** Milliseconds that question and reply are under way. */
  readonly wayMs?: number;
  readonly pausedUntil?: (now: number) => number;
  /** Until when questions and replies of a gateway do not get through. */
  readonly cutOffUntil?: (gateway: number, now: number) => number;
}

/** Counts for all gateways. */
class SlowCounter {
  readonly #counter = limiterCounter();
  readonly #loops: EventLoops;
  readonly #parts: CounterParts;
  #freeAt = 0;

  constructor(loops: EventLoops, parts: CounterParts) {
    this.#loops = loops;
    this.#parts = parts;
  }

  async ask(question: CounterQuestion): Promise<CounterAnswer> {
    const { msPerClaim = 0, wayMs = 0, pausedUntil = () => 0 } = this.#parts;
    const gateway = this.#loops.current;
    await this.#getThrough(gateway);
    const now = Date.now();
    this.#freeAt = Math.max(this.#freeAt, now, pausedUntil(now)) + question.all.length * msPerClaim;
    await this.#loops.sleep(this.#freeAt - now);
    const answer = this.#counter.answer(question);
    await this.#loops.sleep(wayMs);
    await this.#getThrough(gateway);
    await this.#loops.read();
    return answer;
  }

  async #getThrough(gateway: number): Promise<void> {
    const now = Date.now();
    const waitMs = (this.#parts.cutOffUntil?.(gateway, now) ?? now) - now;
    if (waitMs > 0) await this.#loops.sleep(waitMs);
  }
}

interface Four {
  readonly algorithm: AlgorithmName;
  readonly counter?: CounterParts;
  readonly standsStill?: StandsStill;
}

/** Four gateways, and one client. */
class FourGateways {
  /** When a gateway read each request that passed. */
  readonly passed: number[] = [];
  /** From when a gateway read a request until it had decided it. */
  longestMs = 0;
  /** What the gateways' modes became. */
  readonly modes: string[] = [];
  readonly #loops: EventLoops;
  readonly #meters: readonly LimiterMeter[];
  #asked = 0;

  constructor({ algorithm, counter: parts = {}, standsStill = () => 0 }: Four) {
    this.#loops = new EventLoops(standsStill);
    const counter = new SlowCounter(this.#loops, parts);
    const link = { processes: GATEWAYS, ask: (question: CounterQuestion) => counter.ask(question) };
    const settings = {
      algorithm,
      quotas: [{ limit: LIMIT, windowMs: WINDOW_MS, burst: LIMIT }],
      name: 'ip',
      maxKeys: 1_000,
      counter: link,
      prefix: '',
      storeTimeoutMs: TIMEOUT_MS,
      fallbackAfterMisses: 5,
      fallbackAfterMs: 1_000,
      onStoreError: 'local' as const,
    };
    this.#meters = Array.from({ length: GATEWAYS }, () => openLimiterMeter(settings, (_, to) => this.modes.push(to)));
  }

  ask(count: number): void {
    for (let i = 0; i < count; i++) {
      const gateway = this.#asked++ % GATEWAYS;
      void this.#loops.run(gateway, () => this.#ask(this.#meters[gateway] as LimiterMeter));
    }
  }

  async #ask(meter: LimiterMeter): Promise<void> {
    await this.#loops.read();
    const came = Date.now();
    const { allowed } = await meter.take({ key: 'k', cost: 1, limit: undefined });
    this.longestMs = Math.max(this.longestMs, Date.now() - came);
    if (allowed) this.passed.push(came);
  }

  /** Six times the limit, for so long. */
  async press(durationMs: number): Promise<void> {
    let sent = 0;
    for (let ms = 0; ms < durationMs; ms += 5) {
      const due = Math.floor((ms * 6 * LIMIT) / WINDOW_MS);
      this.ask(due - sent);
      sent = due;
      await jest.advanceTimersByTimeAsync(5);
    }
    await jest.advanceTimersByTimeAsync(LONGEST_STALL_MS + 2 * TIMEOUT_MS);
  }
}

beforeEach(() => {
  jest.useFakeTimers({ now: START });
});
afterEach(() => {
  jest.useRealTimers();
});

/** How many passed in each window. */
const windowsOf = (passed: readonly number[]) =>
  Array.from({ length: WINDOWS }, (_, i) => passed.filter((at) => Math.floor((at - START) / WINDOW_MS) === i).length);

/** What a bucket is refilled with. */
const refilled = (algorithm: AlgorithmName, ms: number): number =>
  algorithm === 'token-bucket' ? Math.ceil((ms * LIMIT) / WINDOW_MS) : 0;

describe.each(rateLimitAlgorithms)('%s over four gateways', (algorithm) => {
  test.each([0, 0.2, 1, 5])('a first burst of 600, of which each takes %d ms to count', async (msPerClaim) => {
    const four = new FourGateways({ algorithm, counter: { msPerClaim } });
    four.ask(600);
    await jest.advanceTimersByTimeAsync(2 * TIMEOUT_MS);
    expect(four.passed.length).toBeGreaterThanOrEqual(0.9 * LIMIT);
    expect(four.passed.length).toBeLessThanOrEqual(1.05 * LIMIT + refilled(algorithm, 2 * TIMEOUT_MS));
    expect(four.longestMs).toBeLessThanOrEqual(LONGEST_MS);
  });

  test.each([1, 20, 30, 46])(
    'a reply that takes %d ms is in time: each request waits for one reply, and is decided by it',
    async (wayMs) => {
      const four = new FourGateways({ algorithm, counter: { wayMs } });
      await four.press(3 * WINDOW_MS);
      expect(four.longestMs).toBeLessThanOrEqual(wayMs + 2 * TURN_MS);
      expect(four.modes).toEqual([]);
    },
  );

  describe.each([50, 55, 100, 200, LONGEST_STALL_MS])('with event loops that stand still for %d ms', (stallMs) => {
    const stall = (now: number, start: number): number => (now >= start && now < start + stallMs ? start + stallMs : 0);

    test.each([1, 2, 3, 4])('in %d gateways: a first burst is counted exactly', async (count) => {
      for (const startMs of [0, 1, 2, 3, 10, 40]) {
        jest.setSystemTime(START);
        const four = new FourGateways({
          algorithm,
          counter: { wayMs: 2 },
          standsStill: (gateway, now) => (gateway < count ? stall(now, START + startMs) : 0),
        });
        four.ask(600);
        await jest.advanceTimersByTimeAsync(stallMs + 4 * TIMEOUT_MS);
        expect([startMs, four.passed.length, four.modes]).toEqual([startMs, expect.any(Number), []]);
        expect(four.passed.length).toBeGreaterThanOrEqual(LIMIT);
        expect(four.passed.length).toBeLessThanOrEqual(LIMIT + refilled(algorithm, stallMs + 2 * TIMEOUT_MS));
      }
    });

    test('once in 700 ms, each at another time: each window is counted exactly', async () => {
      const four = new FourGateways({
        algorithm,
        counter: { wayMs: 2 },
        standsStill: (gateway, now) => {
          const start = now - ((now - START + gateway * 160) % 700);
          return stall(now, start);
        },
      });
      await four.press(5 * WINDOW_MS);
      const [first, ...others] = windowsOf(four.passed).slice(0, 5);
      expect(four.modes).toEqual([]);
      // A full bucket, and what is refilled meanwhile.
      expect(first).toBeLessThanOrEqual(algorithm === 'token-bucket' ? 2 * LIMIT : LIMIT);
      expect(Math.max(...others)).toBeLessThanOrEqual(1.01 * LIMIT);
      expect(Math.min(...others)).toBeGreaterThanOrEqual(0.99 * LIMIT);
    });
  });

  test('one gateway at a time is cut off for 250 ms: requests that it lets pass meanwhile are charged later', async () => {
    const cutOffUntil = (gateway: number, now: number) => {
      const turn = Math.floor((now - START) / 300);
      return (turn * 7) % GATEWAYS === gateway ? START + turn * 300 + 250 : 0;
    };
    const four = new FourGateways({ algorithm, counter: { wayMs: 2, cutOffUntil } });
    await four.press(WINDOWS * WINDOW_MS);
    const [, ...others] = windowsOf(four.passed);
    const mean = others.reduce((sum, count) => sum + count) / others.length;
    // A fixed window that is full cannot be charged more.
    const excess = algorithm === 'fixed-window' ? 0.15 : 0.05;
    expect(mean).toBeLessThanOrEqual((1 + excess / 2) * LIMIT);
    expect(mean).toBeGreaterThanOrEqual(0.95 * LIMIT);
    expect(Math.max(...others)).toBeLessThanOrEqual((1 + excess) * LIMIT);
  });

  test.each([60, 150, 300])(
    'pauses of %d ms once a second: 5 %% too many at most, and no request waits longer than the deadline',
    async (pauseMs) => {
      const pausedUntil = (now: number) => {
        const second = (now - START) % 1_000;
        return second < pauseMs ? now - second + pauseMs : 0;
      };
      const four = new FourGateways({ algorithm, counter: { msPerClaim: 0.2, pausedUntil } });
      await four.press(WINDOWS * WINDOW_MS);
      expect(four.longestMs).toBeLessThanOrEqual(LONGEST_MS);
      const [first, ...others] = windowsOf(four.passed);
      // A full bucket, and what is refilled meanwhile.
      expect(first).toBeLessThanOrEqual(algorithm === 'token-bucket' ? 2 * LIMIT : LIMIT);
      expect(Math.max(...others)).toBeLessThanOrEqual(1.05 * LIMIT);
      expect(Math.min(...others)).toBeGreaterThanOrEqual(0.8 * LIMIT);
    },
  );
});
