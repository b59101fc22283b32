import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { createClient } from 'redis';
import type { AlgorithmScripts } from '../../lib/rate-limit/algorithms/algorithm-scripts.ts';
import { ALGORITHMS } from '../../lib/rate-limit/algorithms/registry.ts';
import { DenialCache } from '../../lib/rate-limit/fallback/denial-cache.ts';
import { LeasingMeter } from '../../lib/rate-limit/leases/leasing-meter.ts';
import { LeasingStore } from '../../lib/rate-limit/leases/leasing-store.ts';
import { LeaseTable } from '../../lib/rate-limit/leases/leasing-table.ts';
import type { Claim, Decision, Send } from '../../lib/rate-limit/meter.ts';
import type { Quota } from '../../lib/rate-limit/quota.ts';
import { mockDateOnly } from '../support/mock-time.ts';
import { describeWithAnyRedis } from '../support/redis.ts';
import { ReferenceMeter } from '../unit/rate-limit/reference-model.ts';

const START = 1_790_000_000_123;

type Name = 'sliding-window' | 'token-bucket';

/** What a gateway has in front of Redis, without its failure modes. */
class Gateway {
  readonly leases: LeaseTable;
  readonly #denials = new DenialCache();
  readonly #meter: LeasingMeter;

  constructor(name: Name, send: Send, quotas: readonly Quota[], prefix: string, share: number) {
    const fade = Math.max(...quotas.map(({ limit, windowMs }) => limit / windowMs));
    this.leases = new LeaseTable(() => (name === 'sliding-window' ? undefined : fade));
    const scripts = ALGORITHMS[name].redis as AlgorithmScripts;
    const parts = { send, scripts, quotas, prefix, clock: () => Date.now() };
    const store = new LeasingStore(parts, share);
    this.#meter = new LeasingMeter({ store, leases: this.leases, denials: this.#denials });
  }

  async take(claim: Claim): Promise<Decision> {
    const now = Date.now();
    return this.leases.spend(claim, now) ?? this.#denials.find(claim, now) ?? this.#meter.take(claim);
  }
}

// Windows of minutes: what Redis itself forgets, by its own clock, must not matter within one run.
const quota = fc
  .record({
    limit: fc.integer({ min: 1, max: 60 }),
    windowMs: fc.integer({ min: 120_000, max: 600_000 }),
    burst: fc.integer({ min: 1, max: 80 }),
  })
  .map(({ limit, windowMs, burst }): Quota => ({ limit, windowMs, burst }));
const step = fc.record({
  /** Time since the step before, as a part of the longest window. */
  gap: fc.oneof(
    { weight: 6, arbitrary: fc.constant(0) },
    { weight: 5, arbitrary: fc.double({ min: 0, max: 0.1, noNaN: true }) },
    { weight: 2, arbitrary: fc.double({ min: 0.1, max: 1.2, noNaN: true }) },
    { weight: 1, arbitrary: fc.constantFrom(1, 2, 2.5) },
  ),
  gateway: fc.nat(3),
  /** Claims at once. */
  costs: fc.array(
    fc.oneof({ weight: 8, arbitrary: fc.constant(1) }, { weight: 2, arbitrary: fc.integer({ min: 0, max: 20 }) }),
    { minLength: 1, maxLength: 12 },
  ),
});
const run = fc.record({
  quotas: fc.uniqueArray(quota, { minLength: 1, maxLength: 2, selector: ({ windowMs }) => windowMs }),
  share: fc.constantFrom(0.1, 0.25, 0.5),
  steps: fc.array(step, { minLength: 5, maxLength: 60 }),
});

/** A client that goes on asking for more than it may, over as long as two or three windows. */
const pressing = fc.record({
  quotas: fc.uniqueArray(quota, { minLength: 1, maxLength: 2, selector: ({ windowMs }) => windowMs }),
  share: fc.constantFrom(0.1, 0.25, 0.5),
  pace: fc.constantFrom(1.1, 1.5, 3),
  asks: fc.array(
    fc.record({
      gateway: fc.nat(3),
      cost: fc.oneof({ weight: 9, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.nat(4) }),
      gap: fc.double({ min: 0, max: 2, noNaN: true }),
      /** Whether it waits for as long as it is told to, when it is refused. */
      waits: fc.nat(7).map((n) => n === 0),
    }),
    { minLength: 100, maxLength: 250 },
  ),
});

/** What is due to the last gateway comes while its lease is fading: a minute before Redis has more. */
const DUE_WHILE_FADING = {
  quotas: [{ limit: 9, windowMs: 120_000, burst: 18 }],
  share: 0.5,
  steps: [
    [3, 1],
    [3, 1],
    [0, 1],
    [0, 2],
    [3, 9],
    [3, 1],
    [3, 1],
    [3, 1],
  ].map(([gateway, cost]) => ({ gap: 0, gateway: gateway as number, costs: [cost as number] })),
};

let keys = 0;

mockDateOnly(START);

describeWithAnyRedis('leases of four gateways, on a simulated clock', (redis) => {
  let client: ReturnType<typeof createClient>;
  let sent = 0;
  const send: Send = (args) => {
    sent++;
    return client.sendCommand([...args]);
  };
  beforeAll(async () => {
    client = createClient({ url: redis.url });
    client.on('error', () => {});
    await client.connect();
  });
  afterAll(() => client.destroy());
  afterEach(() => {
    jest.setSystemTime(START);
  });

  const open = (name: Name, quotas: readonly Quota[], share: number) => {
    const prefix = `${redis.keyPrefix}lease-${++keys}:`;
    return Array.from({ length: 4 }, () => new Gateway(name, send, quotas, prefix, share));
  };
  const claim = (cost: number): Claim => ({ key: 'k', cost, limit: undefined });

  describe.each<Name>(['sliding-window', 'token-bucket'])('%s', (name) => {
    test('every request that passes would have passed without leases at that moment', () =>
      fc.assert(
        fc.asyncProperty(run, async ({ quotas, share, steps }) => {
          const gateways = open(name, quotas, share);
          const model = new ReferenceMeter(name, quotas);
          const longest = Math.max(...quotas.map(({ windowMs }) => windowMs));
          let now = START;
          for (const { gap, gateway, costs } of steps) {
            now += Math.round(gap * longest);
            jest.setSystemTime(now);
            const decisions = await Promise.all(costs.map((cost) => gateways[gateway]!.take(claim(cost))));
            for (const [i, { allowed }] of decisions.entries()) {
              if (allowed) expect(model.take(now, costs[i]!).allowed).toBe(true);
            }
          }
        }),
        { numRuns: 100 },
      ));

    test('a refused client passes after Retry-After, and not a millisecond earlier', () =>
      fc.assert(
        fc.asyncProperty(run, async ({ quotas, share, steps }) => {
          const gateways = open(name, quotas, share);
          const longest = Math.max(...quotas.map(({ windowMs }) => windowMs));
          let now = START;
          for (const { gap, gateway, costs } of steps) {
            now += Math.round(gap * longest);
            jest.setSystemTime(now);
            const cost = costs[0]!;
            const take = () => gateways[gateway]!.take(claim(cost));
            const { allowed, retryAfterMs } = await take();
            if (allowed) continue;
            jest.setSystemTime(now + retryAfterMs - 1);
            expect((await take()).allowed).toBe(false);
            now += retryAfterMs;
            jest.setSystemTime(now);
            expect((await take()).allowed).toBe(true);
          }
        }),
        { numRuns: 60, examples: [[DUE_WHILE_FADING]] },
      ));

    test('a client that ignores Retry-After passes only where it would without leases, and gets true waits', async () => {
      let awaited = 0;
      await fc.assert(
        fc.asyncProperty(pressing, async ({ quotas, share, pace, asks }) => {
          const gateways = open(name, quotas, share);
          const model = new ReferenceMeter(name, quotas);
          const { limit, windowMs } = quotas[0]!;
          let now = START;
          const take = async (gateway: number, cost: number): Promise<Decision> => {
            jest.setSystemTime(now);
            const decision = await gateways[gateway]!.take(claim(cost));
            if (decision.allowed) expect(model.take(now, cost).allowed).toBe(true);
            if (gateways[gateway]!.leases.awaits(claim(cost), now)) awaited++;
            return decision;
          };
          for (const { gateway, cost, gap, waits } of asks) {
            now += Math.round((gap * windowMs) / limit / pace);
            const { allowed, retryAfterMs } = await take(gateway, cost);
            // What costs more may be spent by others in parts, while its denial is remembered here.
            if (allowed || !waits || cost !== 1) continue;
            now += retryAfterMs - 1;
            expect((await take(gateway, cost)).allowed).toBe(false);
            now += 1;
            expect((await take(gateway, cost)).allowed).toBe(true);
          }
        }),
        { numRuns: 60, endOnFailure: true },
      );
      expect(awaited).toBeGreaterThan(100);
    });

    test('a busy client costs at most 0.1 commands per request, and 0 over its limit', async () => {
      const gateways = open(name, [{ limit: 1_000, windowMs: 3_600_000, burst: 1_000 }], 0.25);
      sent = 0;
      let passed = 0;
      let asked = 0;
      for (; passed < 1_000 && asked < 3_000; asked++) {
        if ((await gateways[asked % 4]!.take(claim(1))).allowed) passed++;
      }
      expect(passed).toBe(1_000);
      expect(sent).toBeLessThanOrEqual(100);
      for (const gateway of gateways) await gateway.take(claim(1));
      sent = 0;
      for (let i = 0; i < 1_000; i++) expect((await gateways[i % 4]!.take(claim(1))).allowed).toBe(false);
      expect(sent).toBe(0);
    });

    // Measured, with what a change of a trip or two makes of it.
    test.each([
      [1_000, 1, 0.01],
      [1_000, 4, 0.02],
      [100, 1, 0.07],
      [100, 4, 0.1],
      [20, 1, 0.24],
      [20, 4, 0.37],
    ])(
      '1.5 times a limit of %d at once over %d gateways costs at most %d commands per request',
      async (limit, count, most) => {
        const gateways = open(name, [{ limit, windowMs: 3_600_000, burst: limit }], 0.25);
        sent = 0;
        let passed = 0;
        for (let i = 0; i < 1.5 * limit; i++) if ((await gateways[i % count]!.take(claim(1))).allowed) passed++;
        expect(passed).toBe(limit);
        expect(sent / (1.5 * limit)).toBeLessThanOrEqual(most);
      },
    );

    test('concurrent requests share one command, and send another for the remainder', async () => {
      const [gateway] = open(name, [{ limit: 100, windowMs: 3_600_000, burst: 100 }], 0.1);
      sent = 0;
      const decisions = await Promise.all(Array.from({ length: 90 }, () => gateway!.take(claim(1))));
      expect(decisions.filter(({ allowed }) => allowed)).toHaveLength(90);
      expect(sent).toBe(2);
      const more = await Promise.all(Array.from({ length: 90 }, () => gateway!.take(claim(1))));
      expect(more.filter(({ allowed }) => allowed)).toHaveLength(10);
    });

    test('a single request is charged once, and all keys have an expiry', async () => {
      const quotas = [{ limit: 100, windowMs: 3_600_000, burst: 100 }];
      const [gateway] = open(name, quotas, 0.5);
      expect((await gateway!.take(claim(1))).quotaStates[0]!.remaining).toBe(99);
      await gateway!.take(claim(1));
      await gateway!.take(claim(1));
      await gateway!.take(claim(1));
      const key = `${redis.keyPrefix}lease-${keys}:{k}${(ALGORITHMS[name].redis as AlgorithmScripts).keyLetter}3600000`;
      const lifetimeMs = name === 'sliding-window' ? 7_200_000 : 3_600_000;
      const ttl = Number(await send(['PTTL', key]));
      expect(ttl).toBeGreaterThan(0);
      expect(ttl).toBeLessThanOrEqual(lifetimeMs);
    });
  });

  // Measured: of buckets 0.02 and 0.04, 0.05 and 0.08, 0.22 and 0.35; of windows 0.03 and 0.11, 0.17 and 0.48. The least that
  // passes of four windows' worth.
  test.each([
    ['token-bucket', 1_000, 1, 0.03, 0.99],
    ['token-bucket', 1_000, 4, 0.05, 0.97],
    ['token-bucket', 100, 1, 0.07, 0.99],
    ['token-bucket', 100, 4, 0.1, 0.95],
    ['token-bucket', 20, 1, 0.26, 0.97],
    ['token-bucket', 20, 4, 0.4, 0.9],
    ['sliding-window', 1_000, 1, 0.05, 0.99],
    ['sliding-window', 1_000, 4, 0.13, 0.97],
    ['sliding-window', 100, 1, 0.2, 0.99],
    ['sliding-window', 100, 4, 0.5, 0.97],
  ] as const)(
    '%s at 1.5 times a limit of %d over %d gateways costs at most %d commands per request',
    async (name, limit, count, most, least) => {
      const windowMs = 120_000;
      const gateways = open(name, [{ limit, windowMs, burst: limit }], 0.25);
      let [asked, passed] = [0, 0];
      const press = async (until: number) => {
        for (; asked < until * 1.5 * limit; asked++) {
          jest.setSystemTime(START + Math.round((asked * windowMs) / limit / 1.5));
          if ((await gateways[asked % count]!.take(claim(1))).allowed) passed++;
        }
      };
      // The bucket runs dry, and gateways learn what they need.
      await press(3);
      sent = passed = 0;
      await press(7);
      expect(sent / (4 * 1.5 * limit)).toBeLessThanOrEqual(most);
      expect(passed).toBeGreaterThanOrEqual(least * 4 * limit);
    },
  );

  test('a client below its limit is never refused because of leases of other gateways', async () => {
    for (const name of ['sliding-window', 'token-bucket'] as const) {
      const [limit, windowMs] = [100, 120_000];
      const gateways = open(name, [{ limit, windowMs, burst: limit }], 0.25);
      for (let i = 0; i < 4.5 * limit; i++) {
        jest.setSystemTime(START + Math.round((i * windowMs) / limit / 0.9));
        expect((await gateways[i % 4]!.take(claim(1))).allowed).toBe(true);
      }
    }
  });

  test('an unspent lease is available again in the next window', async () => {
    const [limit, windowMs] = [100, 120_000];
    const [dead, alive] = open('sliding-window', [{ limit, windowMs, burst: limit }], 0.5);
    for (let i = 0; i < 20; i++) await dead!.take(claim(1));
    expect(dead!.leases).toBeDefined();
    let first = 0;
    while ((await alive!.take(claim(1))).allowed) first++;
    expect(first).toBeLessThan(80);
    jest.setSystemTime(START + 2 * windowMs);
    let second = 0;
    while ((await alive!.take(claim(1))).allowed) second++;
    expect(second).toBe(limit);
  });
});
