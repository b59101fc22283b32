import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { DenialCache } from '../../../lib/rate-limit/fallback/denial-cache.ts';
import type { RoundTrip } from '../../../lib/rate-limit/leases/grant.ts';
import { LeasingMeter } from '../../../lib/rate-limit/leases/leasing-meter.ts';
import type { LeasingStore } from '../../../lib/rate-limit/leases/leasing-store.ts';
import { LeaseTable } from '../../../lib/rate-limit/leases/leasing-table.ts';
import type { Claim, Wait } from '../../../lib/rate-limit/meter.ts';

interface Asked {
  readonly claim: Claim;
  readonly waiting: number;
  readonly wish: number;
  readonly everMs: number;
  readonly isNew: boolean;
  readonly answer: (trip: RoundTrip) => void;
  readonly fail: (error: Error) => void;
}

const claim = (more: Partial<Claim> = {}): Claim => ({ key: 'k', cost: 1, limit: undefined, ...more });
const trip = (ahead: number, allowed = true): RoundTrip => {
  const quotaStates = [{ remaining: allowed ? 50 : 0, resetMs: 1_000 }];
  const decision = { allowed, retryAfterMs: allowed ? 0 : 1_000, quotaStates };
  return { decision, grant: { ahead, leaseMs: 1_000, quotaStates, restsMs: [1_000] } };
};
const turn = () => jest.advanceTimersByTimeAsync(0);

let asked: Asked[];
let leases: LeaseTable;
let denials: DenialCache;
let meter: LeasingMeter;
beforeEach(() => {
  jest.useFakeTimers();
  asked = [];
  leases = new LeaseTable(() => undefined);
  denials = new DenialCache();
  const store = {
    loaded: Promise.resolve(),
    take: (one: Claim, waiting: number, wish: number, everMs: number, isNew: boolean) =>
      new Promise((answer, fail) => asked.push({ claim: one, waiting, wish, everMs, isNew, answer, fail })),
    reset: () => Promise.resolve(),
  } as unknown as LeasingStore;
  meter = new LeasingMeter({ store, leases, denials });
});
afterEach(() => {
  jest.useRealTimers();
});

test('claims that come during a trip wait for it, and the rest of them make the next one for all', async () => {
  const decisions = Array.from({ length: 6 }, () => meter.take(claim()));
  expect(asked.map(({ waiting }) => waiting)).toEqual([0]);
  asked[0]!.answer(trip(2));
  await turn();
  expect(asked.map(({ waiting }) => waiting)).toEqual([0, 2]);
  asked[1]!.answer(trip(2));
  expect((await Promise.all(decisions)).every(({ allowed }) => allowed)).toBe(true);
  expect(leases.spend(claim(), Date.now())).toBeUndefined();
});

test('claims that wait with another limit are not charged with the first, and the cost of waiting claims counts', () => {
  void meter.take(claim({ limit: 100 }));
  void meter.take(claim({ limit: 100, cost: 3 }));
  void meter.take(claim({ limit: 10, cost: 5 }));
  void meter.take(claim({ limit: 100, cost: 4 }));
  asked[0]!.answer(trip(0));
  return turn().then(() => expect(asked.map(({ waiting }) => waiting)).toEqual([0, 4]));
});

test('while the share of another limit is held, nothing is charged for those that wait', async () => {
  void meter.take(claim({ limit: 100 }));
  asked[0]!.answer(trip(2));
  await turn();
  void meter.take(claim({ limit: 10 }));
  void meter.take(claim({ limit: 10 }));
  void meter.take(claim({ limit: 10 }));
  asked[1]!.answer(trip(0));
  await turn();
  expect(asked.map(({ waiting }) => waiting)).toEqual([0, 0, 0]);
});

test('a denial does not change the known state of the client', async () => {
  void meter.take(claim());
  asked[0]!.answer(trip(3));
  await turn();
  for (let i = 0; i < 3; i++) leases.spend(claim(), Date.now());
  void meter.take(claim());
  asked[1]!.answer(trip(0, false));
  await turn();
  expect(denials.find(claim(), Date.now())?.retryAfterMs).toBe(1_000);
  expect(leases.wish(claim(), Date.now())).toBe(15);
});

test('a claim that passed and took the rest knows the decision of the next one', async () => {
  const first = meter.take(claim());
  const { decision, grant } = trip(0);
  asked[0]!.answer({ decision: { ...decision, quotaStates: [{ remaining: 0, resetMs: 400 }] }, grant });
  await first;
  expect(denials.find(claim(), Date.now())?.retryAfterMs).toBe(400);
});

test('a claim that passes by units that have become due clears the known denial', async () => {
  void meter.take(claim());
  asked[0]!.answer(trip(0, false));
  await turn();
  await jest.advanceTimersByTimeAsync(1_000);
  expect(denials.sinceMs(claim(), Date.now())).toBe(1_000);
  void meter.take(claim());
  const { decision, grant } = trip(2);
  asked[1]!.answer({ decision, grant: { ...grant, dues: [{ units: 1_900, perMs: 10, windowMs: 1_000 }] } });
  await turn();
  expect(denials.sinceMs(claim(), Date.now())).toBe(Number.POSITIVE_INFINITY);
});

test('the result of a round trip is kept when only denials were forgotten meanwhile', async () => {
  void meter.take(claim());
  denials.forget();
  asked[0]!.answer(trip(2));
  await turn();
  expect(leases.spend(claim(), Date.now())).toBeDefined();
});

test('forgotten charges go to the store, and the meter is ready when the store is', async () => {
  const calls: unknown[] = [];
  const loaded = Promise.resolve();
  const store = {
    loaded,
    take: () => new Promise<RoundTrip>(() => {}),
    charge: async (...args: unknown[]) => void calls.push(['charge', ...args]),
    reset: async (...args: unknown[]) => void calls.push(['reset', ...args]),
  };
  const other = new LeasingMeter({ store, leases, denials });
  const debt = { key: 'k', limit: undefined, owed: [] };
  await other.charge(debt);
  await other.reset('k');
  expect(calls).toEqual([
    ['charge', debt],
    ['reset', 'k'],
  ]);
  expect(other.loaded).toBe(loaded);
});

test('one denial decides all requests that wait', async () => {
  const decisions = Array.from({ length: 4 }, () => meter.take(claim()));
  asked[0]!.answer(trip(0, false));
  expect((await Promise.all(decisions)).map(({ allowed }) => allowed)).toEqual([false, false, false, false]);
  expect(asked).toHaveLength(1);
});

test('clients do not wait for each other', () => {
  void meter.take(claim());
  void meter.take(claim({ key: 'other' }));
  expect(asked.map((one) => one.claim.key)).toEqual(['k', 'other']);
});

test('a trip that fails fails for all that wait, and the next claim makes another', async () => {
  const decisions = [meter.take(claim()), meter.take(claim())];
  asked[0]!.fail(new Error('OOM'));
  expect(await Promise.allSettled(decisions)).toMatchObject([{ status: 'rejected' }, { status: 'rejected' }]);
  void meter.take(claim());
  expect(asked).toHaveLength(2);
});

describe('claims that the fallback decided while they waited', () => {
  const decided = (allowed: boolean): Wait => ({ decided: { allowed, retryAfterMs: 0, quotaStates: [] } });
  const held = (): number => {
    let count = 0;
    while (leases.spend(claim(), Date.now()) !== undefined) count++;
    return count;
  };

  test('a hit that passed spends its own charge, so that no other hit can spend it', async () => {
    void meter.take(claim());
    const late = meter.take(claim(), decided(true));
    asked[0]!.answer(trip(1));
    expect(await late).toMatchObject({ allowed: true });
    expect(held()).toBe(0);
  });

  test('a hit that passed without a charge is reported, because the store has to count it', async () => {
    void meter.take(claim());
    const late = expect(meter.take(claim(), decided(true))).rejects.toThrow('decided before');
    asked[0]!.answer(trip(0));
    await late;
    expect(asked).toHaveLength(1);
  });

  test('a denied hit spends nothing: its charge is kept for later hits', async () => {
    void meter.take(claim());
    const late = expect(meter.take(claim(), decided(false))).rejects.toThrow('decided before');
    asked[0]!.answer(trip(2));
    await late;
    expect(held()).toBe(2);
  });

  test('one that still waits is asked for, however long it has waited: how long that may be is not decided here', async () => {
    void meter.take(claim());
    const waits = meter.take(claim(), { decided: undefined });
    await jest.advanceTimersByTimeAsync(10_000);
    asked[0]!.answer(trip(0));
    await turn();
    expect(asked).toHaveLength(2);
    asked[1]!.answer(trip(0));
    expect(await waits).toMatchObject({ allowed: true });
  });
});

test('a trip from before a reset leaves nothing behind, and who waited asks again', async () => {
  void meter.take(claim());
  const second = meter.take(claim());
  leases.forget('k');
  denials.forget();
  asked[0]!.answer(trip(5));
  await turn();
  expect(leases.spend(claim(), Date.now())).toBeUndefined();
  expect(asked).toHaveLength(2);
  asked[1]!.answer(trip(0));
  expect(await second).toMatchObject({ allowed: true });
});

test('a client waits for units that become due without a round trip, and a denied client may get more of them', async () => {
  const first = meter.take(claim());
  expect(asked[0]!.everMs).toBe(Number.POSITIVE_INFINITY);
  const { decision, grant } = trip(2);
  const quotaStates = [{ remaining: 0, resetMs: 900 }];
  const dues = [{ units: 2_900, perMs: 10, windowMs: 1_000 }];
  asked[0]!.answer({ decision: { ...decision, quotaStates }, grant: { ...grant, quotaStates, dues } });
  await first;
  // Redis would have refused for 900 ms.
  expect(denials.find(claim(), Date.now())).toBeUndefined();
  expect(await meter.take(claim())).toMatchObject({ allowed: false, retryAfterMs: 91 });
  expect(denials.find(claim(), Date.now())?.retryAfterMs).toBe(91);
  await jest.advanceTimersByTimeAsync(191);
  expect([1, 2, 3].map(() => leases.spend(claim(), Date.now())?.allowed)).toEqual([true, true, undefined]);
  void meter.take(claim());
  expect(asked).toHaveLength(2);
  expect(asked[1]!.everMs).toBe(191);
});

test('a client is new once, and nothing is charged ahead for a limit whose share could not be kept', async () => {
  void meter.take(claim({ limit: 100 }));
  asked[0]!.answer(trip(2));
  await turn();
  void meter.take(claim({ limit: 10 }));
  asked[1]!.answer(trip(0));
  await turn();
  for (let i = 0; i < 2; i++) leases.spend(claim({ limit: 100 }), Date.now());
  void meter.take(claim({ limit: 100 }));
  expect(asked.map(({ isNew, wish }) => [isNew, wish])).toEqual([
    [true, 0],
    [false, 0],
    [false, 11],
  ]);
});
