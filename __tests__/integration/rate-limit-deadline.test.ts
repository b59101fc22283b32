import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, expect, test } from '@jest/globals';
import type { AlgorithmName } from '../../lib/rate-limit/algorithms/registry.ts';
import type { LimiterMeter } from '../../lib/rate-limit/meter.ts';
import { openLimiterMeter } from '../../lib/rate-limit/open-meter.ts';
import { RedisUrl } from '../../lib/rate-limit/redis/redis-address.ts';
import { Cleanup } from '../support/gateway.ts';
import { pause } from '../support/pause.ts';
import { describeWithRedis, type RedisServer } from '../support/redis.ts';
import { eventually } from '../support/servers.ts';
import { hold } from '../support/stall.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const claim = { key: 'k', cost: 1, limit: undefined };

interface Kind {
  readonly algorithm: AlgorithmName;
  readonly lease: boolean | undefined;
  readonly storeTimeoutMs: number;
}

/** A limiter that refuses all that Redis does not decide. */
async function limiter(redis: RedisServer, { algorithm, lease, storeTimeoutMs }: Kind): Promise<LimiterMeter> {
  await redis.command('FLUSHALL');
  const meter = openLimiterMeter(
    {
      algorithm,
      quotas: [{ limit: 1_000, windowMs: 3_600_000, burst: 1_000 }],
      name: algorithm,
      maxKeys: 1_000,
      redis: new RedisUrl(redis.url),
      prefix: 'deadline:',
      storeTimeoutMs,
      fallbackAfterMisses: 1_000_000,
      fallbackAfterMs: 1_000,
      onStoreError: 'closed',
      lease,
    },
    () => {},
  );
  cleanup.add(meter);
  await eventually('Redis decides', async () => (await meter.take({ ...claim, key: 'other' })).allowed);
  return meter;
}

const KINDS = [
  { algorithm: 'sliding-window', lease: false },
  { algorithm: 'sliding-window', lease: true },
  { algorithm: 'token-bucket', lease: false },
  { algorithm: 'fixed-window', lease: undefined },
] as const satisfies readonly Omit<Kind, 'storeTimeoutMs'>[];

/** So long that a busy machine does not make Redis late. */
const LONG_MS = 800;

describeWithRedis('a limiter whose event loop stands still', (redis) => {
  test.each(KINDS)('$algorithm, lease $lease: takes the reply that waits in the socket', async (kind) => {
    const meter = await limiter(redis, { ...kind, storeTimeoutMs: LONG_MS });
    const first = meter.take(claim);
    const others = [meter.take(claim), meter.take(claim)];
    // The questions are sent at the end of a turn.
    await nextTurn();
    await nextTurn();
    hold(LONG_MS + 200);
    const decisions = await Promise.all([first, ...others]);
    expect(decisions.map(({ allowed }) => allowed)).toEqual([true, true, true]);
  });

  // Just behind the deadline, the timer is not so late that it says anything.
  test.each([2, 5, 8, 200])(
    'gives Redis its time from when the question was sent, where it stands still before that for %d ms more than the deadline',
    async (moreMs) => {
      for (const kind of KINDS) {
        const meter = await limiter(redis, { ...kind, storeTimeoutMs: LONG_MS });
        const decisions = [1, 2, 3].map(() => meter.take(claim));
        hold(LONG_MS + moreMs);
        expect([kind, (await Promise.all(decisions)).map(({ allowed }) => allowed)]).toEqual([
          kind,
          [true, true, true],
        ]);
      }
    },
  );

  test('takes the reply also of a question that other requests waited for (leases)', async () => {
    const meter = await limiter(redis, { algorithm: 'sliding-window', lease: true, storeTimeoutMs: LONG_MS });
    // While the first question is under way, others wait for it; their question is sent when its reply is read.
    const decisions = Array.from({ length: 50 }, () => meter.take(claim));
    await nextTurn();
    await nextTurn();
    hold(LONG_MS + 20);
    expect((await Promise.all(decisions)).filter(({ allowed }) => allowed)).toHaveLength(50);
    expect(meter.mode).toBe('redis');
  });
});

/** Notes how late the event loop of this process was. */
class LoopWatch {
  readonly #stalls: { readonly until: number; readonly ms: number }[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor() {
    this.#next(performance.now());
  }

  /** Milliseconds for which it stood still, each time that was more than a few. */
  since(start: number): number[] {
    return this.#stalls.filter(({ until }) => until >= start).map(({ ms }) => ms);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #next(before: number): void {
    this.#timer = setTimeout(() => {
      const now = performance.now();
      if (now - before > 5) this.#stalls.push({ until: now, ms: now - before });
      this.#next(now);
    }, 1);
  }
}

describeWithRedis('a Redis that is paused', (redis) => {
  const [timeoutMs, slackMs] = [50, 20];

  test.each(KINDS)(
    `$algorithm, lease $lease: no request waits longer than storeTimeoutMs + ${slackMs} ms and what its own event loop was late`,
    async (kind) => {
      const meter = await limiter(redis, { ...kind, storeTimeoutMs: timeoutMs });
      const watch = cleanup.add(new LoopWatch());
      redis.pause();
      try {
        await Promise.all(
          Array.from({ length: 40 }, async (_, i) => {
            await pause('requests come one after the other', 7 * i);
            const start = performance.now();
            const { allowed } = await meter.take(claim);
            const waitedMs = performance.now() - start;
            await pause('the watch may have been late as well', 2);
            const stalls = watch.since(start);
            const lateMs = stalls.reduce((sum, ms) => sum + ms, 0);
            // A timer that is late says that this process had no time: Redis gets its time again, three times at most.
            const againMs = timeoutMs * Math.min(3, stalls.length);
            expect(allowed).toBe(false);
            expect(waitedMs).toBeGreaterThanOrEqual(timeoutMs - 1);
            expect(waitedMs).toBeLessThanOrEqual(timeoutMs + slackMs + lateMs + againMs);
          }),
        );
      } finally {
        redis.resume();
      }
    },
  );
});
