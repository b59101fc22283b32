import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { ALGORITHMS, type AlgorithmName, rateLimitAlgorithms } from '../../../lib/rate-limit/algorithms/registry.ts';
import type { CounterAnswer, CounterQuestion } from '../../../lib/rate-limit/cluster/counter-question.ts';
import { limiterCounter } from '../../../lib/rate-limit/cluster/limiter-counter.ts';
import type { LimiterMeter } from '../../../lib/rate-limit/meter.ts';
import { openLimiterMeter } from '../../../lib/rate-limit/open-meter.ts';

// Four gateways, one client at six times its limit, and one that counts for all of them: in fake time, so that no machine is too slow.

const LIMIT = 100;
const WINDOW_MS = 2_000;
const TIMEOUT_MS = 50;
/** The deadline, and the turn of the event loop in which replies are read that are there by then. */
const LONGEST_MS = TIMEOUT_MS + 1;
const GATEWAYS = 4;
const WINDOWS = 20;
const START = 1_790_000_000_000;

/** Counts for all, so long for each claim, and not at all while it is paused. */
class SlowCounter {
  readonly #counter = limiterCounter();
  readonly #msPerClaim: number;
  readonly #pausedUntil: (now: number) => number;
  #freeAt = 0;

  constructor(msPerClaim: number, pausedUntil: (now: number) => number = () => 0) {
    this.#msPerClaim = msPerClaim;
    this.#pausedUntil = pausedUntil;
  }

  async ask(question: CounterQuestion): Promise<CounterAnswer> {
    this.#freeAt =
      Math.max(this.#freeAt, Date.now(), this.#pausedUntil(Date.now())) + question.all.length * this.#msPerClaim;
    await new Promise((resolve) => setTimeout(resolve, this.#freeAt - Date.now()));
    return this.#counter.answer(question);
  }
}

function gatewaysOf(algorithm: AlgorithmName, counter: SlowCounter): LimiterMeter[] {
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
  return Array.from({ length: GATEWAYS }, () => openLimiterMeter(settings, () => {}));
}

/** One client. */
class Client {
  /** When each request that passed came. */
  readonly passed: number[] = [];
  longestMs = 0;
  readonly #gateways: readonly LimiterMeter[];
  #asked = 0;

  constructor(gateways: readonly LimiterMeter[]) {
    this.#gateways = gateways;
  }

  ask(count: number): void {
    for (let i = 0; i < count; i++) void this.#ask(this.#gateways[this.#asked++ % GATEWAYS] as LimiterMeter);
  }

  async #ask(gateway: LimiterMeter): Promise<void> {
    const came = Date.now();
    const { allowed } = await gateway.take({ key: 'k', cost: 1, limit: undefined });
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
    await jest.advanceTimersByTimeAsync(2 * TIMEOUT_MS);
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

/** Those that can count all requests that wait with one question. */
const OWN = rateLimitAlgorithms.filter((name) => !ALGORITHMS[name].countsRefused);

describe.each(OWN)('%s over four gateways', (algorithm) => {
  test.each([0, 0.2, 1, 5])(
    'a first burst of 600 is counted exactly by one who takes %d ms for each claim',
    async (ms) => {
      const gateways = gatewaysOf(algorithm, new SlowCounter(ms));
      const client = new Client(gateways);
      client.ask(600);
      await jest.advanceTimersByTimeAsync(2 * TIMEOUT_MS);
      // A bucket is refilled by one in 20 ms.
      const refilled = algorithm === 'token-bucket' ? (2 * TIMEOUT_MS * LIMIT) / WINDOW_MS : 0;
      expect(client.passed.length).toBeGreaterThanOrEqual(LIMIT);
      expect(client.passed.length).toBeLessThanOrEqual(LIMIT + refilled);
      expect(client.longestMs).toBeLessThanOrEqual(LONGEST_MS);
    },
  );
});

describe.each(rateLimitAlgorithms)('%s over four gateways', (algorithm) => {
  test.each([60, 150, 300])(
    'pauses of %d ms once a second: 5 %% too many at most, and nobody waits longer than the deadline',
    async (pauseMs) => {
      const pausedUntil = (now: number) => {
        const second = (now - START) % 1_000;
        return second < pauseMs ? now - second + pauseMs : 0;
      };
      const client = new Client(gatewaysOf(algorithm, new SlowCounter(0.2, pausedUntil)));
      await client.press(WINDOWS * WINDOW_MS);
      expect(client.longestMs).toBeLessThanOrEqual(LONGEST_MS);
      const [first, ...others] = windowsOf(client.passed);
      // A full bucket, and what is refilled meanwhile.
      expect(first).toBeLessThanOrEqual(algorithm === 'token-bucket' ? 2 * LIMIT : LIMIT);
      expect(Math.max(...others)).toBeLessThanOrEqual(1.05 * LIMIT);
      expect(Math.min(...others)).toBeGreaterThanOrEqual(0.9 * LIMIT);
    },
  );
});
