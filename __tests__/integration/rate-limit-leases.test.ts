import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { createClient } from 'redis';
import { slidingWindowChargeScript, tokenBucketChargeScript } from '../../lib/rate-limit/algorithm-scripts.ts';
import { DenialCache } from '../../lib/rate-limit/denial-cache.ts';
import { slidingWindowLeaseScript, tokenBucketLeaseScript } from '../../lib/rate-limit/lease-scripts.ts';
import { LeasingMeter } from '../../lib/rate-limit/leasing-meter.ts';
import { LeasingStore } from '../../lib/rate-limit/leasing-store.ts';
import { LeaseTable } from '../../lib/rate-limit/leasing-table.ts';
import type { Claim, Ruling } from '../../lib/rate-limit/meter.ts';
import type { Quota } from '../../lib/rate-limit/quota.ts';
import type { Send } from '../../lib/rate-limit/shared-meter.ts';
import { mockDateOnly } from '../support/mock-date.ts';
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
    const [script, chargeScript] =
      name === 'sliding-window'
        ? [slidingWindowLeaseScript, slidingWindowChargeScript]
        : [tokenBucketLeaseScript, tokenBucketChargeScript];
    const fade = Math.max(...quotas.map(({ limit, windowMs }) => limit / windowMs));
    this.leases = new LeaseTable(() => (name === 'sliding-window' ? undefined : fade));
    const parts = { send, script, chargeScript, letter: 'm', quotas, prefix, clock: () => Date.now() };
    const store = new LeasingStore(parts, share);
    this.#meter = new LeasingMeter({ store, leases: this.leases, denials: this.#denials, timeoutMs: 60_000 });
  }

  async take(claim: Claim): Promise<Ruling> {
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

let keys = 0;

mockDateOnly(START);

describeWithAnyRedis('leases of four gateways, on a clock of the test', (redis) => {
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
    test('whatever passes would have passed without leases, at the moment when it did', () =>
      fc.assert(
        fc.asyncProperty(run, async ({ quotas, share, steps }) => {
          const gateways = open(name, quotas, share);
          const model = new ReferenceMeter(name, quotas);
          const longest = Math.max(...quotas.map(({ windowMs }) => windowMs));
          let now = START;
          for (const { gap, gateway, costs } of steps) {
            now += Math.round(gap * longest);
            jest.setSystemTime(now);
            const rulings = await Promise.all(costs.map((cost) => gateways[gateway]!.take(claim(cost))));
            for (const [i, { allowed }] of rulings.entries()) {
              if (allowed) expect(model.take(now, costs[i]!).allowed).toBe(true);
            }
          }
        }),
        { numRuns: 150 },
      ));

    test('who is refused passes after the wait that it was told, and not a millisecond earlier', () =>
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
        { numRuns: 80 },
      ));

    test('a hot client costs a tenth of a command per request at most, and none once it is over its limit', async () => {
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

    test('claims that come together make one trip, and another for what that did not cover', async () => {
      const [gateway] = open(name, [{ limit: 100, windowMs: 3_600_000, burst: 100 }], 0.1);
      sent = 0;
      const rulings = await Promise.all(Array.from({ length: 90 }, () => gateway!.take(claim(1))));
      expect(rulings.filter(({ allowed }) => allowed)).toHaveLength(90);
      expect(sent).toBe(2);
      const more = await Promise.all(Array.from({ length: 90 }, () => gateway!.take(claim(1))));
      expect(more.filter(({ allowed }) => allowed)).toHaveLength(10);
    });

    test('a client that comes once is charged once, and all keys have an expiry', async () => {
      const quotas = [{ limit: 100, windowMs: 3_600_000, burst: 100 }];
      const [gateway] = open(name, quotas, 0.5);
      expect((await gateway!.take(claim(1))).standings[0]!.remaining).toBe(99);
      await gateway!.take(claim(1));
      await gateway!.take(claim(1));
      await gateway!.take(claim(1));
      const key = `${redis.keyPrefix}lease-${keys}:{k}m3600000`;
      const lifetimeMs = name === 'sliding-window' ? 7_200_000 : 3_600_000;
      const ttl = Number(await send(['PTTL', key]));
      expect(ttl).toBeGreaterThan(0);
      expect(ttl).toBeLessThanOrEqual(lifetimeMs);
    });
  });

  test('a share that its gateway never spends comes back with its window', async () => {
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
