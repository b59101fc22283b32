import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { createClient } from 'redis';
import type { Algorithm } from '../../lib/rate-limit/algorithms/algorithm.ts';
import type { AlgorithmScripts } from '../../lib/rate-limit/algorithms/algorithm-scripts.ts';
import { fixedWindow } from '../../lib/rate-limit/algorithms/fixed-window.ts';
import { slidingWindow } from '../../lib/rate-limit/algorithms/sliding-window.ts';
import { tokenBucket } from '../../lib/rate-limit/algorithms/token-bucket.ts';
import { Debts } from '../../lib/rate-limit/fallback/debts.ts';
import { DenialCache, RememberingMeter } from '../../lib/rate-limit/fallback/denial-cache.ts';
import { MemoryMeter } from '../../lib/rate-limit/memory/memory-meter.ts';
import type { Meter } from '../../lib/rate-limit/meter.ts';
import type { Quota } from '../../lib/rate-limit/quota.ts';
import { RedisMeter } from '../../lib/rate-limit/redis/redis-meter.ts';
import { RedisWindows } from '../../lib/rate-limit/redis/redis-windows.ts';
import { mockDateOnly } from '../support/mock-time.ts';
import { pause } from '../support/pause.ts';
import { describeWithAnyRedis } from '../support/redis.ts';
import { ReferenceMeter } from '../unit/rate-limit/reference-model.ts';

const ALGORITHMS = [
  ['sliding-window', slidingWindow, slidingWindow.redis as AlgorithmScripts],
  ['token-bucket', tokenBucket, tokenBucket.redis as AlgorithmScripts],
] as const;

/** Some moment, not a round one. */
const START = 1_790_000_000_123;

interface Step {
  /** Time since the step before, as a part of the longest window. */
  readonly gap: number;
  readonly cost: number;
}

interface Run {
  readonly quotas: readonly Quota[];
  readonly steps: readonly Step[];
}

// Windows of minutes: what Redis itself forgets, by its own clock, must not matter within one run.
const quota = fc
  .record({
    limit: fc.integer({ min: 1, max: 12 }),
    windowMs: fc.integer({ min: 120_000, max: 600_000 }),
    burst: fc.integer({ min: 1, max: 20 }),
  })
  .map(({ limit, windowMs, burst }): Quota => ({ limit, windowMs, burst }));
const gap = fc.oneof(
  { weight: 4, arbitrary: fc.constant(0) },
  { weight: 4, arbitrary: fc.double({ min: 0, max: 0.3, noNaN: true }) },
  { weight: 2, arbitrary: fc.double({ min: 0.3, max: 1.2, noNaN: true }) },
  { weight: 1, arbitrary: fc.constantFrom(1, 2, 2.5) },
);
const cost = fc.oneof(
  { weight: 6, arbitrary: fc.constant(1) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 25 }) },
);
const run: fc.Arbitrary<Run> = fc.record({
  quotas: fc.uniqueArray(quota, { minLength: 1, maxLength: 3, selector: ({ windowMs }) => windowMs }),
  steps: fc.array(fc.record({ gap, cost }), { minLength: 1, maxLength: 40 }),
});

/** Takes every step on a meter and on the model, at the same moments. */
async function compare(name: (typeof ALGORITHMS)[number][0], meter: Meter, key: string, { quotas, steps }: Run) {
  const model = new ReferenceMeter(name, quotas);
  const longest = Math.max(...quotas.map(({ windowMs }) => windowMs));
  let now = START;
  for (const { gap, cost } of steps) {
    now += Math.round(gap * longest);
    jest.setSystemTime(now);
    const decision = await meter.take({ key, cost, limit: undefined });
    expect(decision).toEqual(model.take(now, cost));
    if (decision.allowed || now % 3 > 0) continue;
    // Who waits as long as told passes, and not a millisecond earlier.
    const wait = Math.max(...decision.quotaStates.map(({ resetMs }) => resetMs));
    expect(decision.retryAfterMs).toBeLessThanOrEqual(wait);
    jest.setSystemTime(now + decision.retryAfterMs - 1);
    expect(await meter.take({ key, cost, limit: undefined })).toEqual(
      model.take(now + decision.retryAfterMs - 1, cost),
    );
    now += decision.retryAfterMs;
    jest.setSystemTime(now);
    const after = await meter.take({ key, cost, limit: undefined });
    expect(after.allowed).toBe(true);
    expect(after).toEqual(model.take(now, cost));
  }
}

/** The most that passed in any window of this length. */
function most(times: readonly number[], windowMs: number): number {
  return Math.max(0, ...times.map((end) => times.filter((at) => at > end - windowMs && at <= end).length));
}

let keys = 0;
const freshKey = () => `model-${++keys}`;

mockDateOnly(START);

const memoryMeter = (algorithm: Algorithm, quotas: readonly Quota[]) =>
  new MemoryMeter({ algorithm, quotas, maxKeys: 1_000, onFull: () => {} });

describe.each(ALGORITHMS)('%s in memory', (name, algorithm, _scripts) => {
  test('decides like the model, and its waits are exact', () =>
    fc.assert(
      fc.asyncProperty(run, (one) => {
        jest.setSystemTime(START);
        return compare(name, memoryMeter(algorithm, one.quotas), 'k', one);
      }),
      { numRuns: 400 },
    ));
});

describeWithAnyRedis('the Redis scripts', (redis) => {
  let client: ReturnType<typeof createClient>;
  beforeAll(async () => {
    client = createClient({ url: redis.url });
    client.on('error', () => {});
    await client.connect();
  });
  afterAll(() => client.destroy());

  const send = (args: readonly string[]) => client.sendCommand(args);
  const freshPrefix = () => `${redis.keyPrefix}${freshKey()}:`;
  /** One that knows no client yet, on the clock of this process. */
  const freshMeter = (scripts: AlgorithmScripts, quotas: readonly Quota[], prefix = freshPrefix()) =>
    new RedisMeter({ send, scripts, quotas, prefix, clock: () => Date.now() });

  test.each(ALGORITHMS)(
    'of %s decide like the model, on a simulated clock',
    (name, _algorithm, scripts) =>
      fc.assert(
        fc.asyncProperty(run, (one) => {
          const { quotas } = one;
          const meter = freshMeter(scripts, quotas);
          return compare(name, meter, 'k', one);
        }),
        { numRuns: 60 },
      ),
    60_000,
  );

  test.each(ALGORITHMS)(
    'of %s give every key an expiry with its first write, on the clock of Redis',
    async (_n, algorithm, scripts) => {
      const quotas = [
        { limit: 7, windowMs: 60_000, burst: 7 },
        { limit: 700, windowMs: 3_600_000, burst: 900 },
      ];
      const prefix = freshPrefix();
      const meter = new RedisMeter({ send, scripts, quotas, prefix });
      for (let i = 0; i < 7; i++) {
        expect(await meter.take({ key: 'k', cost: 1, limit: undefined })).toMatchObject({ allowed: true });
        for (const one of quotas) {
          const ttl = Number(await send(['PTTL', `${prefix}{k}${scripts.keyLetter}${one.windowMs}`]));
          expect(ttl).toBeGreaterThan(0);
          expect(ttl).toBeLessThanOrEqual(algorithm.lifetimeMs(one));
        }
      }
      const before = await send([
        'MGET',
        `${prefix}{k}${scripts.keyLetter}60000`,
        `${prefix}{k}${scripts.keyLetter}3600000`,
      ]);
      expect(await meter.take({ key: 'k', cost: 1, limit: undefined })).toMatchObject({ allowed: false });
      expect(
        await send(['MGET', `${prefix}{k}${scripts.keyLetter}60000`, `${prefix}{k}${scripts.keyLetter}3600000`]),
      ).toEqual(before);
      await meter.reset('k');
      expect(
        await send(['MGET', `${prefix}{k}${scripts.keyLetter}60000`, `${prefix}{k}${scripts.keyLetter}3600000`]),
      ).toEqual([null, null]);
    },
  );

  test.each(ALGORITHMS)(
    'of %s let the next request pass after exactly the wait that they return',
    async (_n, _a, scripts) => {
      const quotas = [{ limit: 3, windowMs: 600, burst: 3 }];
      const prefix = freshPrefix();
      const meter = new RedisMeter({ send, scripts, quotas, prefix });
      const take = () => meter.take({ key: 'k', cost: 1, limit: undefined });
      let decision = await take();
      expect(decision.allowed).toBe(true);
      // On a busy machine a window can end before the limit is reached.
      while (decision.allowed) decision = await take();
      await pause('what the decision says', decision.retryAfterMs);
      expect(await take()).toMatchObject({ allowed: true });
    },
  );

  test.each(ALGORITHMS)(
    'of %s hold the limit against several gateways at once, in real time',
    async (name, _a, scripts) => {
      const [limit, windowMs] = [20, 500];
      const quotas = [{ limit, windowMs, burst: limit }];
      const prefix = freshPrefix();
      const real = () => performance.timeOrigin + performance.now();
      const start = real();
      const passed: number[] = [];
      // Nothing passes while nobody asks, as on a machine that stands still for a while.
      let [askedAt, busyMs] = [start, 0];
      const gatewayOf = async () => {
        const meter = new RedisMeter({ send, scripts, quotas, prefix });
        while (busyMs < 2_500) {
          const asked = real();
          busyMs += Math.min(asked - askedAt, 25);
          askedAt = asked;
          if ((await meter.take({ key: 'k', cost: 1, limit: undefined })).allowed) passed.push(asked);
        }
      };
      await Promise.all(Array.from({ length: 8 }, gatewayOf));
      const elapsed = real() - start;
      const sustained = (limit * elapsed) / windowMs;
      const asked = (limit * busyMs) / windowMs;
      if (name === 'token-bucket') {
        expect(passed.length).toBeLessThanOrEqual(limit + sustained + 1);
        expect(passed.length).toBeGreaterThan(limit + asked * 0.8 - 5);
      } else {
        // The first window is spent at once; then each one slides away before it can be spent again.
        expect(passed.length).toBeLessThanOrEqual(limit + sustained + 1);
        expect(passed.length).toBeGreaterThan(asked * 0.8 - 5);
      }
      // The moments are those of the questions, so that a slow reply moves them by as much as it is slow.
      expect(most(passed, windowMs * 0.8)).toBeLessThanOrEqual(2 * limit);
    },
  );

  const jump = fc.oneof(fc.constant(0), fc.integer({ min: -500_000, max: 500_000 }));

  test.each(ALGORITHMS)(
    'of %s agree with the memory store when the clock is set, with exact waits',
    (_n, algorithm, scripts) =>
      fc.assert(
        fc.asyncProperty(fc.array(jump, { minLength: 1, maxLength: 25 }), async (jumps) => {
          const windowMs = 150_000;
          const quotas = [{ limit: 3, windowMs, burst: 3 }];
          const meter = freshMeter(scripts, quotas);
          const memory = memoryMeter(algorithm, quotas);
          const claim = { key: 'k', cost: 1, limit: undefined };
          let now = START;
          for (const ms of jumps) {
            now += ms;
            jest.setSystemTime(now);
            const decision = memory.take(claim);
            expect(await meter.take(claim)).toEqual(decision);
            expect(decision.retryAfterMs).toBeLessThanOrEqual(windowMs);
          }
          let decision = memory.take(claim);
          while (decision.allowed) decision = memory.take(claim);
          jest.setSystemTime(now + decision.retryAfterMs - 1);
          expect(memory.take(claim).allowed).toBe(false);
          jest.setSystemTime(now + decision.retryAfterMs);
          expect(memory.take(claim).allowed).toBe(true);
        }),
        // A refusal just before the clock is set back by the lifetime of a record.
        { numRuns: 60, examples: [[[0, 0, 0, 1, -150_001, 0]]] },
      ),
  );

  const ownLimit = fc.record({
    gap,
    cost: fc.oneof({ weight: 3, arbitrary: fc.constant(1) }, fc.integer({ min: 0, max: 8 })),
    limit: fc.constantFrom(1, 2, 3, 7, 20),
  });

  test.each(ALGORITHMS)(
    'of %s agree with the memory store when the limit varies from hit to hit, refused and free hits included',
    (_n, algorithm, scripts) =>
      fc.assert(
        fc.asyncProperty(fc.array(ownLimit, { minLength: 1, maxLength: 40 }), async (hits) => {
          const windowMs = 150_000;
          const quotas = [{ limit: 1, windowMs, burst: 1 }];
          const meter = freshMeter(scripts, quotas);
          const memory = memoryMeter(algorithm, quotas);
          let now = START;
          for (const { gap, cost, limit } of hits) {
            now += Math.round(gap * windowMs);
            jest.setSystemTime(now);
            const claim = { key: 'k', cost, limit };
            const decision = memory.take(claim);
            expect(await meter.take(claim)).toEqual(decision);
            if (decision.allowed) continue;
            // The wait is true for this limit.
            now += decision.retryAfterMs;
            jest.setSystemTime(now);
            expect(await meter.take(claim)).toEqual(memory.take(claim));
          }
        }),
        { numRuns: 60 },
      ),
    60_000,
  );

  test.each(ALGORITHMS)(
    'of %s decide as the memory store does with denials that the gateway remembers, too',
    (_n, algorithm, scripts) =>
      fc.assert(
        fc.asyncProperty(fc.array(ownLimit, { minLength: 1, maxLength: 40 }), async (hits) => {
          const windowMs = 150_000;
          const quotas = [{ limit: 1, windowMs, burst: 1 }];
          const denials = new DenialCache();
          const meter = freshMeter(scripts, quotas);
          const remembering = new RememberingMeter(meter, denials);
          const memory = memoryMeter(algorithm, quotas);
          let now = START;
          for (const { gap, cost, limit } of hits) {
            // The clock is never set back: a denial begins anew then, and that is asked elsewhere.
            now += Math.round(Math.max(0, gap) * windowMs);
            jest.setSystemTime(now);
            const claim = { key: 'k', cost, limit };
            const decision = denials.find(claim, now) ?? (await remembering.take(claim));
            expect(decision.allowed).toBe(memory.take(claim).allowed);
          }
        }),
        {
          numRuns: 60,
          examples: [
            [
              [
                { gap: 0, cost: 5, limit: 7 },
                { gap: 0, cost: 2, limit: 2 },
                { gap: 0.01, cost: 1, limit: 20 },
                { gap: 0.3, cost: 2, limit: 2 },
              ],
            ],
          ],
        },
      ),
  );

  test('of fixed windows agree with the memory store when the limit varies from hit to hit', () =>
    fc.assert(
      fc.asyncProperty(fc.array(ownLimit, { minLength: 1, maxLength: 40 }), async (hits) => {
        jest.setSystemTime(START);
        const quotas = [{ limit: 1, windowMs: 150_000, burst: 1 }];
        const windows = new RedisWindows(send, freshPrefix(), quotas[0] as Quota);
        await windows.loaded;
        const memory = memoryMeter(fixedWindow, quotas);
        for (const { cost, limit } of hits) {
          const claim = { key: 'k', cost: Math.min(cost, 1), limit };
          const { allowed, quotaStates } = await windows.take(claim);
          const expected = memory.take(claim);
          expect([allowed, quotaStates[0]?.remaining]).toEqual([expected.allowed, expected.quotaStates[0]?.remaining]);
        }
      }),
      { numRuns: 60 },
    ));

  test('return the state of a fixed window for a free hit without counting it', async () => {
    const prefix = freshPrefix();
    const windows = new RedisWindows(send, prefix, { limit: 2, windowMs: 60_000, burst: 2 });
    const take = (cost: number) => windows.take({ key: 'k', cost, limit: undefined });
    expect(await take(0)).toEqual({ allowed: true, retryAfterMs: 0, quotaStates: [{ remaining: 2, resetMs: 0 }] });
    expect(await send(['EXISTS', `${prefix}k`])).toBe(0);
    for (const remaining of [1, 0, 0]) {
      await take(1);
      expect(await take(0)).toMatchObject({ allowed: true, quotaStates: [{ remaining }] });
    }
    expect(await send(['GET', `${prefix}k`])).toBe('3');
  });

  test('end a fixed window after its length although the clock of Redis was set back', async () => {
    const prefix = freshPrefix();
    const windows = new RedisWindows(send, prefix, { limit: 1, windowMs: 2_000, burst: 1 });
    const claim = { key: 'k', cost: 1, limit: undefined };
    expect((await windows.take(claim)).allowed).toBe(true);
    // What keys that were written before look like when the clock is an hour earlier.
    await send(['PEXPIRE', `${prefix}k`, '3602000']);
    expect(await windows.take(claim)).toMatchObject({ allowed: false, retryAfterMs: 2_000 });
    expect(Number(await send(['PTTL', `${prefix}k`]))).toBeLessThanOrEqual(2_000);
  });

  const overcharge = fc.record({ gap, units: fc.nat(25), over: fc.nat(60), cost });

  test('of a sliding window restore a lost record with the hits of the previous window apart', async () => {
    const quotas = [{ limit: 100, windowMs: 120_000, burst: 100 }];
    const [[, , scripts]] = ALGORITHMS;
    const meter = freshMeter(scripts, quotas);
    const memory = memoryMeter(slidingWindow, quotas);
    jest.setSystemTime(START);
    const hit = { key: 'k', cost: 10, limit: undefined };
    for (const gapMs of [0, 1_000, 119_000, 20_000]) {
      jest.setSystemTime(Date.now() + gapMs);
      memory.take(hit);
    }
    // Two gateways each had half of it.
    const debts = new Debts(slidingWindow, quotas);
    debts.restore();
    debts.open(hit, memory.recordsBefore(hit, 0, Date.now()));
    await debts.payAll(async ({ key, limit, owed: [owed] }) => {
      const half = { units: owed!.units / 2, older: owed!.older / 2, restMs: owed!.restMs, least: 0 };
      for (let i = 0; i < 2; i++) await meter.charge({ key, limit, owed: [half] });
    });
    for (const gapMs of [0, 10_000, 30_000, 60_000, 60_000, 60_000]) {
      jest.setSystemTime(Date.now() + gapMs);
      const look = { key: 'k', cost: 0, limit: undefined };
      expect(await meter.take(look)).toEqual(memory.take(look));
    }
  });

  test('of a token bucket charge at least the hits of all gateways, however often they are reported', async () => {
    const quotas = [{ limit: 100, windowMs: 120_000, burst: 100 }];
    const [, [, , scripts]] = ALGORITHMS;
    jest.setSystemTime(START);
    const meter = freshMeter(scripts, quotas);
    const owed = [{ units: 2, older: 0, restMs: 1, least: 60 }];
    for (const remaining of [38, 36, 34]) {
      await meter.charge({ key: 'k', limit: undefined, owed });
      const { quotaStates } = await meter.take({ key: 'k', cost: 0, limit: undefined });
      expect(quotaStates[0]?.remaining).toBe(remaining);
    }
    await meter.charge({ key: 'k', limit: undefined, owed: [{ units: 0, older: 0, restMs: 1, least: 500 }] });
    expect((await meter.take({ key: 'k', cost: 0, limit: undefined })).quotaStates[0]?.remaining).toBe(0);
  });

  test.each(ALGORITHMS)(
    'of %s charge what passed although it was refused, as memory does, up to the limit once more',
    (_n, algorithm, scripts) =>
      fc.assert(
        fc.asyncProperty(run, fc.array(overcharge, { minLength: 1, maxLength: 12 }), async ({ quotas }, charges) => {
          const meter = freshMeter(scripts, quotas);
          const memory = memoryMeter(algorithm, quotas);
          const look = { key: 'k', cost: 0, limit: undefined };
          const longest = Math.max(...quotas.map(({ windowMs }) => windowMs));
          let now = START;
          for (const { gap, units, over, cost } of charges) {
            now += Math.floor(gap * longest);
            jest.setSystemTime(now);
            const owed = quotas.map(({ windowMs }) => ({ units, older: 0, least: 0, restMs: windowMs, over }));
            await meter.charge({ key: 'k', limit: undefined, owed });
            const all = (value: number) => quotas.map(() => value);
            memory.charge(look, all(units), now, all(over));
            expect(await meter.take(look)).toEqual(memory.take(look, now));
            const claim = { ...look, cost };
            expect(await meter.take(claim)).toEqual(memory.take(claim, now));
          }
        }),
        { numRuns: 40 },
      ),
  );

  const charge = fc.record({ gap, units: fc.array(fc.nat(25), { minLength: 3, maxLength: 3 }), cost });

  test.each(ALGORITHMS)(
    'of %s charge hits that were counted elsewhere up to the limit, and nothing else',
    (_n, algorithm, scripts) =>
      fc.assert(
        fc.asyncProperty(run, fc.array(charge, { minLength: 1, maxLength: 12 }), async ({ quotas }, charges) => {
          const prefix = freshPrefix();
          const meter = freshMeter(scripts, quotas, prefix);
          const look = { key: 'k', cost: 0, limit: undefined };
          const longest = Math.max(...quotas.map(({ windowMs }) => windowMs));
          let now = START;
          for (const { gap, units, cost } of charges) {
            now += Math.floor(gap * longest);
            jest.setSystemTime(now);
            const before = await meter.take(look);
            const owed = quotas.map((_, i) => ({ units: units[i] as number, older: 0, least: 0, restMs: 1 }));
            await meter.charge({ key: 'k', limit: undefined, owed });
            const after = await meter.take(look);
            for (const [i, { remaining }] of after.quotaStates.entries()) {
              expect(remaining).toBe(Math.max(0, before.quotaStates[i]!.remaining - owed[i]!.units));
              const text = await send(['PTTL', `${prefix}{k}${scripts.keyLetter}${quotas[i]!.windowMs}`]);
              // Minus two: there is no such key, because nothing was ever charged.
              expect(Number(text)).not.toBe(-1);
            }
            await meter.take({ ...look, cost });
          }
          // What is charged fades as spent hits do.
          jest.setSystemTime(now + 3 * Math.max(longest, ...quotas.map((one) => algorithm.lifetimeMs(one))));
          const end = await meter.take(look);
          expect(end.quotaStates.map(({ remaining }) => remaining)).toEqual(quotas.map((one) => algorithm.most(one)));
        }),
        { numRuns: 60 },
      ),
    60_000,
  );

  test('count the largest numbers exactly', async () => {
    const quotas = [{ limit: 9_000_000_000, windowMs: 1_000_000, burst: 9_000_000_000 }];
    const prefix = freshPrefix();
    for (const [, algorithm, scripts] of ALGORITHMS) {
      const own = `${prefix}${scripts.keyLetter}:`;
      const meter = new RedisMeter({
        send,
        scripts,
        quotas,
        prefix: own,
        clock: () => START,
      });
      const memory = memoryMeter(algorithm, quotas);
      jest.setSystemTime(START);
      for (const cost of [8_999_999_999, 1, 1, 9_000_000_000]) {
        const claim = { key: 'k', cost, limit: undefined };
        expect(await meter.take(claim)).toEqual(memory.take(claim));
      }
    }
  });
});

describe('a sliding window', () => {
  const spend = (meter: MemoryMeter) => meter.take({ key: 'k', cost: 1, limit: undefined }).allowed;

  test('never lets more than the limit pass for an evenly sending client, however fast', () => {
    for (const gapMs of [1, 7, 13, 40, 99, 101]) {
      const meter = memoryMeter(slidingWindow, [{ limit: 10, windowMs: 1_000, burst: 10 }]);
      const passed: number[] = [];
      for (let now = START; now < START + 8_000; now += gapMs) {
        jest.setSystemTime(now);
        if (spend(meter)) passed.push(now);
      }
      // The first window may be spent at once; from then on, refused requests cost nothing and the rate holds.
      expect(passed.length).toBeLessThanOrEqual(10 * 8 + 1);
      expect(most(passed.slice(10), 1_000)).toBeLessThanOrEqual(11);
    }
  });

  test('never lets more than twice the limit pass in any window of its length', () =>
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 50, maxLength: 200 }), (gaps) => {
        const meter = memoryMeter(slidingWindow, [{ limit: 10, windowMs: 1_000, burst: 10 }]);
        const passed: number[] = [];
        let now = START;
        for (const gapMs of gaps) {
          now += gapMs % 7 === 0 ? gapMs : 0;
          jest.setSystemTime(now);
          if (spend(meter)) passed.push(now);
        }
        expect(most(passed, 1_000)).toBeLessThanOrEqual(20);
      }),
      { numRuns: 200 },
    ));
});
