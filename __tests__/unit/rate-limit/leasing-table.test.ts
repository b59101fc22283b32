import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Grant } from '../../../lib/rate-limit/leases/grant.ts';
import { LeaseTable } from '../../../lib/rate-limit/leases/leasing-table.ts';
import type { Claim } from '../../../lib/rate-limit/meter.ts';

const START = 1_790_000_000_000;
const claim = (more: Partial<Claim> = {}): Claim => ({ key: 'k', cost: 1, limit: undefined, ...more });
const grant = (ahead: number, more: Partial<Grant> = {}): Grant => ({
  ahead,
  leaseMs: 1_000,
  quotaStates: [{ remaining: 50, resetMs: 1_000 }],
  restsMs: [1_000],
  ...more,
});

beforeEach(() => {
  jest.useFakeTimers({ now: START });
});
afterEach(() => {
  jest.useRealTimers();
});

/** Spends claims of 1 at this moment until no more can be. */
function spendAll(table: LeaseTable, now: number): number {
  let count = 0;
  while (table.spend(claim(), now) !== undefined) count++;
  return count;
}

test('of a window, so much can be spent as was charged, until the window is over', () => {
  const table = new LeaseTable(() => undefined);
  table.add(claim(), grant(3), START, table.era);
  expect(spendAll(table, START + 999)).toBe(3);
  table.add(claim(), grant(3), START, table.era);
  expect(spendAll(table, START + 1_000)).toBe(0);
});

test('the time counts from when Redis was asked, and a clock that is set back ends a lease', () => {
  const table = new LeaseTable(() => undefined);
  table.add(claim(), grant(3), START - 400, table.era);
  expect(table.spend(claim(), START + 600)).toBeUndefined();
  expect(table.spend(claim(), START - 401)).toBeUndefined();
  expect(table.spend(claim(), START + 599)).toBeDefined();
});

test('of a bucket, unspent units fade as fast as the bucket is refilled', () => {
  const table = new LeaseTable(() => 0.01);
  const lease = (): void => table.add(claim(), grant(10), START, table.era);
  lease();
  expect(spendAll(table, START + 1_000)).toBe(10);
  lease();
  expect(spendAll(table, START + 1_301)).toBe(6);
  lease();
  // What was spent may be what has faded.
  for (let i = 0; i < 4; i++) table.spend(claim(), START + 1_000);
  expect(spendAll(table, START + 1_300)).toBe(6);
  lease();
  expect(spendAll(table, START + 2_000)).toBe(0);
});

test('a claim that costs more than the lease holds spends nothing; the rest of the lease is added to the next one', () => {
  const table = new LeaseTable(() => undefined);
  table.add(claim(), grant(4, { leaseMs: 800 }), START, table.era);
  expect(table.spend(claim({ cost: 5 }), START)).toBeUndefined();
  table.add(claim({ cost: 5 }), grant(6), START, table.era);
  expect(table.spend(claim(), START + 800)).toBeUndefined();
  expect(spendAll(table, START + 799)).toBe(10);
});

test('a lease is for one limit; while it is held, another limit gets no lease', () => {
  const table = new LeaseTable(() => undefined);
  table.add(claim({ limit: 100 }), grant(1), START, table.era);
  expect(table.spend(claim({ limit: 10 }), START)).toBeUndefined();
  expect([table.fits(claim({ limit: 10 }), START), table.wish(claim({ limit: 10 }), START)]).toEqual([false, 0]);
  expect(table.fits(claim({ limit: 100 }), START)).toBe(true);
  expect([
    table.isNew(claim({ limit: 10 })),
    table.isNew(claim({ limit: 100 })),
    table.isNew(claim({ key: 'x' })),
  ]).toEqual([true, false, true]);
  table.add(claim({ limit: 10 }), grant(5), START, table.era);
  expect(table.spend(claim({ limit: 10 }), START)).toBeUndefined();
  expect(table.spend(claim({ limit: 100 }), START)).toBeDefined();
  expect(table.fits(claim({ limit: 10 }), START)).toBe(true);
  table.add(claim({ limit: 10 }), grant(5), START, table.era);
  expect(table.spend(claim({ limit: 10, cost: 5 }), START)).toBeDefined();
  // Nothing is left: also of a claim that costs nothing, Redis is asked how it stands.
  expect(table.spend(claim({ limit: 10, cost: 0 }), START)).toBeUndefined();
});

test('wishes grow while everything is used up, and shrink to the used part', () => {
  const table = new LeaseTable(() => undefined);
  const wishes: number[] = [];
  for (let i = 0; i < 5; i++) {
    wishes.push(table.wish(claim(), START));
    table.add(claim(), grant(wishes[i]!), START, table.era);
    spendAll(table, START);
  }
  expect(wishes).toEqual([0, 3, 15, 63, 255]);
  table.add(claim(), grant(20), START, table.era);
  for (let i = 0; i < 6; i++) table.spend(claim(), START);
  expect(table.wish(claim(), START + 1_000)).toBe(6);
});

test('a wish grows for a claim that costs more than what is left', () => {
  const table = new LeaseTable(() => undefined);
  table.add(claim(), grant(4), START, table.era);
  table.spend(claim(), START);
  expect(table.wish(claim({ cost: 5 }), START)).toBe(19);
});

test('a wish is no more than the client will use at its pace until the window is over', () => {
  const table = new LeaseTable(() => undefined);
  table.add(claim(), grant(9, { restsMs: [60_000, 1_000] }), START, table.era);
  spendAll(table, START + 400);
  // 9 and the one that comes, in 500 of 1,000 ms.
  expect(table.wish(claim(), START + 500)).toBe(10);
  const bucket = new LeaseTable(() => 0.01);
  bucket.add(claim(), grant(9), START, bucket.era);
  spendAll(bucket, START + 400);
  expect(bucket.wish(claim(), START + 500)).toBe(39);
});

test('how often a client uses one is counted from the trip to the last one', () => {
  const table = new LeaseTable(() => undefined);
  expect(table.everMs(claim())).toBe(0);
  table.add(claim(), grant(9), START, table.era);
  for (const at of [100, 200, 600]) table.spend(claim(), START + at);
  expect(table.everMs(claim())).toBe(200);
  expect(table.everMs(claim({ limit: 5 }))).toBe(0);
});

describe('a charge before its units are due', () => {
  // 1 is there, then 1 more every 100 ms.
  const due: Partial<Grant> = {
    dues: [{ units: 4_000, perMs: 10, windowMs: 1_000 }],
    quotaStates: [{ remaining: 0, resetMs: 600 }],
  };
  let table: LeaseTable;
  beforeEach(() => {
    table = new LeaseTable(() => undefined);
    table.add(claim(), grant(5, due), START, table.era);
  });

  test('of the old lease is not added to a new one', () => {
    table.add(claim(), grant(3), START, table.era);
    expect(spendAll(table, START)).toBe(1 + 3);
  });

  test('is spent as it comes, not a millisecond earlier, and an earlier hit learns when that is', () => {
    expect(spendAll(table, START)).toBe(1);
    const later = (cost: number, at: number) => table.later(claim({ cost }), START + at);
    expect(later(1, 0)).toEqual({ allowed: false, retryAfterMs: 1, quotaStates: [{ remaining: 0, resetMs: 1 }] });
    expect(spendAll(table, START + 1)).toBe(1);
    expect(later(1, 1)?.retryAfterMs).toBe(100);
    expect(spendAll(table, START + 100)).toBe(0);
    expect(later(1, 101)).toBeUndefined();
    expect(later(3, 101)?.retryAfterMs).toBe(200);
    expect(later(4, 101)).toBeUndefined();
    expect(spendAll(table, START + 301)).toBe(3);
    expect(table.awaits(claim(), START + 301)).toBe(false);
  });

  test('is awaited for as long as the lease lasts, and no longer', () => {
    table.add(claim({ key: 'short' }), grant(5, { ...due, leaseMs: 200 }), START, table.era);
    const awaits = (at: number, limit?: number) => table.awaits(claim({ key: 'short', limit }), START + at);
    expect([awaits(199), awaits(199, 10), awaits(200)]).toEqual([true, false, false]);
  });

  test('comes no earlier than counted from the reply', () => {
    const late = new LeaseTable(() => undefined);
    late.add(claim(), grant(5, due), START - 50, late.era);
    expect(spendAll(late, START)).toBe(1);
    expect(late.later(claim(), START)?.retryAfterMs).toBe(1);
  });

  test('is not announced as due after the end of the lease', () => {
    const short = new LeaseTable(() => undefined);
    short.add(claim(), grant(5, { ...due, leaseMs: 150 }), START, short.era);
    expect(short.later(claim({ cost: 3 }), START)?.retryAfterMs).toBe(101);
    expect(short.later(claim({ cost: 4 }), START)).toBeUndefined();
  });

  test.each([0, 1, 2])(
    'of a lease that fades meanwhile, %i spent: it can be spent when that was announced, or never',
    (spent) => {
      // 5 are held of which 4 are due, and what is not used fades from now on, as fast as they come or a little faster.
      for (const fadePerMs of [0.01, 0.0101, 0.012, 0.02]) {
        const open = () => {
          const fading = new LeaseTable(() => fadePerMs);
          fading.add(claim(), grant(5, { ...due, leaseMs: 0 }), START, fading.era);
          for (let i = 0; i < spent; i++) fading.spend(claim(), START + i);
          return fading;
        };
        for (let at = spent; at < 500; at += 7) {
          const told = open().later(claim(), START + at)?.retryAfterMs;
          const covered = (ms: number) => open().spend(claim(), START + at + ms) !== undefined;
          if (covered(0)) {
            expect(told).toBeUndefined();
            continue;
          }
          let first: number | undefined;
          for (let ms = 1; ms < 700 && first === undefined; ms++) if (covered(ms)) first = ms;
          expect(told).toBe(first);
        }
      }
    },
  );

  test('of nothing, a claim that costs nothing is never refused', () => {
    const fading = new LeaseTable(() => 0.02);
    fading.add(claim(), grant(5, { ...due, leaseMs: 0 }), START, fading.era);
    for (let at = 0; at < 500; at += 1) expect(fading.later(claim({ cost: 0 }), START + at)).toBeUndefined();
  });

  test('does not count as remaining, but sets when the quota is reset', () => {
    const tell = () =>
      table.told(claim(), { allowed: true, retryAfterMs: 0, quotaStates: [{ remaining: 0, resetMs: 600 }] }, START);
    expect(tell().quotaStates).toEqual([{ remaining: 1, resetMs: 1_000 }]);
    table.spend(claim(), START);
    expect(tell().quotaStates).toEqual([{ remaining: 0, resetMs: 1 }]);
  });
});

test('a client of a lease gets the rest in Redis and in the lease, and the end of the window', () => {
  const table = new LeaseTable(() => undefined);
  table.add(claim(), grant(2, { quotaStates: [{ remaining: 0, resetMs: 1_500 }] }), START, table.era);
  const tell = () => table.told(claim(), table.spend(claim(), START + 100)!, START + 100).quotaStates;
  expect(tell()).toEqual([{ remaining: 1, resetMs: 900 }]);
  expect(tell()).toEqual([{ remaining: 0, resetMs: 1_400 }]);
});

test('a client that must wait for due units gets the state of each quota', () => {
  const table = new LeaseTable(() => undefined);
  const quotaStates = [
    { remaining: 0, resetMs: 600 },
    { remaining: 40, resetMs: 1_000 },
  ];
  const dues = [{ units: 4_000, perMs: 10, windowMs: 1_000 }];
  // Kept now, asked for 100 ms ago: 50 ms later, 2 of the 5 are there.
  table.add(claim(), grant(5, { dues, quotaStates, restsMs: [900, 5_000] }), START - 100, table.era);
  expect(table.later(claim({ cost: 3 }), START + 50)).toEqual({
    allowed: false,
    retryAfterMs: 51,
    quotaStates: [
      { remaining: 2, resetMs: 51 },
      { remaining: 42, resetMs: 4_850 },
    ],
  });
  expect(table.later(claim({ cost: 3, limit: 7 }), START + 50)).toBeUndefined();
  expect(table.told(claim(), { allowed: true, retryAfterMs: 0, quotaStates }, START + 50).quotaStates).toEqual([
    { remaining: 2, resetMs: 750 },
    { remaining: 42, resetMs: 1_000 },
  ]);
});

test('due units are there in the announced millisecond, and quotas that end before it have no wait', () => {
  const table = new LeaseTable(() => undefined);
  const quotaStates = [
    { remaining: 0, resetMs: 600 },
    { remaining: 4, resetMs: 10 },
  ];
  const dues = [{ units: 2_000, perMs: 1, windowMs: 1_000 }];
  table.add(claim(), grant(2, { dues, quotaStates, restsMs: [900, 10], leaseMs: 5_000 }), START, table.era);
  const told = table.later(claim({ cost: 2 }), START + 50);
  expect(told).toMatchObject({ retryAfterMs: 951, quotaStates: [{ resetMs: 951 }, { resetMs: 0 }] });
  expect(table.spend(claim({ cost: 2 }), START + 1_000)).toBeUndefined();
  expect(table.spend(claim({ cost: 2 }), START + 1_001)).toBeDefined();
});

test('the last one that is held, too, ends with its own window when more comes', () => {
  const table = new LeaseTable(() => undefined);
  table.add(claim(), grant(1, { leaseMs: 500 }), START, table.era);
  table.add(claim(), grant(3), START, table.era);
  expect(table.spend(claim({ cost: 4 }), START + 499)).toBeDefined();
  expect(table.spend(claim({ cost: 0 }), START + 500)).toBeUndefined();
});

test('a decision on another limit, and a refusal, are passed on as they are', () => {
  const table = new LeaseTable(() => undefined);
  table.add(claim(), grant(5), START, table.era);
  const passed = { allowed: true, retryAfterMs: 0, quotaStates: [{ remaining: 1, resetMs: 1_000 }] };
  expect(table.told(claim({ limit: 7 }), passed, START)).toBe(passed);
  expect(table.told(claim({ key: 'other' }), passed, START)).toBe(passed);
  const refused = { ...passed, allowed: false };
  expect(table.told(claim(), refused, START)).toBe(refused);
});

test('a wish grows at once after a trip, and after the window', () => {
  const table = new LeaseTable(() => undefined);
  table.add(claim(), grant(3), START, table.era);
  spendAll(table, START);
  // At once, and in a clock that was set back, nothing is known of the pace.
  for (const at of [START, START - 1, START + 1_000, START + 5_000]) expect(table.wish(claim(), at)).toBe(15);
  expect(table.wish(claim(), START + 999)).toBe(1);
});

test('replies to requests from before a client was forgotten are not kept', () => {
  const table = new LeaseTable(() => undefined);
  const { era } = table;
  table.add(claim(), grant(2), START, era);
  table.forget('k');
  expect(table.spend(claim(), START)).toBeUndefined();
  table.add(claim(), grant(2), START, era);
  expect(table.spend(claim(), START)).toBeUndefined();
});
