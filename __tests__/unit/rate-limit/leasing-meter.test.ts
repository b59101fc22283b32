import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { DenialCache } from '../../../lib/rate-limit/denial-cache.ts';
import { LeasingMeter } from '../../../lib/rate-limit/leasing-meter.ts';
import type { LeasingStore } from '../../../lib/rate-limit/leasing-store.ts';
import { LeaseTable } from '../../../lib/rate-limit/leasing-table.ts';
import type { Claim } from '../../../lib/rate-limit/meter.ts';
import type { Trip } from '../../../lib/rate-limit/trip.ts';

interface Asked {
  readonly claim: Claim;
  readonly waiting: number;
  readonly wish: number;
  readonly answer: (trip: Trip) => void;
  readonly fail: (error: Error) => void;
}

const claim = (more: Partial<Claim> = {}): Claim => ({ key: 'k', cost: 1, limit: undefined, ...more });
const trip = (ahead: number, allowed = true): Trip => {
  const standings = [{ remaining: allowed ? 50 : 0, resetMs: 1_000 }];
  const ruling = { allowed, retryAfterMs: allowed ? 0 : 1_000, standings };
  return { ruling, grant: { ahead, leaseMs: 1_000, standings, restsMs: [1_000] } };
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
    take: (one: Claim, waiting: number, wish: number) =>
      new Promise((answer, fail) => asked.push({ claim: one, waiting, wish, answer, fail })),
    reset: () => Promise.resolve(),
  } as unknown as LeasingStore;
  meter = new LeasingMeter({ store, leases, denials, timeoutMs: 50 });
});
afterEach(() => {
  jest.useRealTimers();
});

test('claims that come during a trip wait for it, and the rest of them make the next one for all', async () => {
  const rulings = Array.from({ length: 6 }, () => meter.take(claim()));
  expect(asked.map(({ waiting }) => waiting)).toEqual([0]);
  asked[0]!.answer(trip(2));
  await turn();
  expect(asked.map(({ waiting }) => waiting)).toEqual([0, 2]);
  asked[1]!.answer(trip(2));
  expect((await Promise.all(rulings)).every(({ allowed }) => allowed)).toBe(true);
  expect(leases.spend(claim(), Date.now())).toBeUndefined();
});

test('one denial is the answer for all that wait', async () => {
  const rulings = Array.from({ length: 4 }, () => meter.take(claim()));
  asked[0]!.answer(trip(0, false));
  expect((await Promise.all(rulings)).map(({ allowed }) => allowed)).toEqual([false, false, false, false]);
  expect(asked).toHaveLength(1);
});

test('clients do not wait for each other', () => {
  void meter.take(claim());
  void meter.take(claim({ key: 'other' }));
  expect(asked.map((one) => one.claim.key)).toEqual(['k', 'other']);
});

test('a trip that fails fails for all that wait, and the next claim makes another', async () => {
  const rulings = [meter.take(claim()), meter.take(claim())];
  asked[0]!.fail(new Error('OOM'));
  expect(await Promise.allSettled(rulings)).toMatchObject([{ status: 'rejected' }, { status: 'rejected' }]);
  void meter.take(claim());
  expect(asked).toHaveLength(2);
});

test('who has waited longer than the deadline is charged nothing: its request was answered long ago', async () => {
  void meter.take(claim());
  void meter.take(claim());
  await jest.advanceTimersByTimeAsync(51);
  asked[0]!.answer(trip(5));
  await turn();
  expect(asked).toHaveLength(1);
  let held = 0;
  while (leases.spend(claim(), Date.now()) !== undefined) held++;
  expect(held).toBe(5);
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
