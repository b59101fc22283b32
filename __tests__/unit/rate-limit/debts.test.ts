import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { type Algorithm, ClientRecord } from '../../../lib/rate-limit/algorithms/algorithm.ts';
import { fixedWindow } from '../../../lib/rate-limit/algorithms/fixed-window.ts';
import { slidingWindow } from '../../../lib/rate-limit/algorithms/sliding-window.ts';
import { Debts } from '../../../lib/rate-limit/fallback/debts.ts';
import type { Claim, Debt } from '../../../lib/rate-limit/meter.ts';
import { ALGORITHMS } from './algorithms.ts';

const START = 1_790_000_000_123;
const WINDOW_MS = 60_000;
const claim = { key: 'k', cost: 1, limit: undefined };

beforeEach(() => {
  jest.useFakeTimers({ now: START });
});
afterEach(() => {
  jest.useRealTimers();
});

/** What is told of each client, when all goes well. */
function told(debts: Debts): Promise<Debt[]> {
  const all: Debt[] = [];
  return debts.payAll(async (debt) => void all.push(debt)).then(() => all);
}

let algorithmOfTest: Algorithm = fixedWindow;

function recordOf(at: number, spent: number): ClientRecord {
  const record = new ClientRecord(at);
  if (spent > 0) algorithmOfTest.spend(record, spent, { limit: 10, windowMs: WINDOW_MS, burst: 10 });
  return record;
}

/** @param spent Of that which the store has counted, this gateway's part. */
const owe = (debts: Debts, one: Claim, windows: number[], now: number, spent = 0) => {
  if (!debts.has(one.key))
    debts.open(
      one,
      windows.map((at) => recordOf(at, spent)),
    );
  debts.add(one, now);
};

describe.each(ALGORITHMS)('debts, with %s', (_name, algorithm) => {
  beforeEach(() => {
    algorithmOfTest = algorithm;
  });
  const debtsOf = (limit = 10) => new Debts(algorithm, [{ limit, windowMs: WINDOW_MS, burst: limit }]);
  const add = (debts: Debts, count: number, began = Date.now()) => {
    for (let i = 0; i < count; i++) owe(debts, claim, [began], Date.now());
  };

  test('is the number of spent hits, at most the limit, without counting twice', async () => {
    const debts = debtsOf();
    expect(debts.empty).toBe(true);
    add(debts, 4);
    owe(debts, { ...claim, key: 'other', cost: 25 }, [START], START);
    expect((await told(debts)).map(({ key, owed }) => [key, owed[0]?.units])).toEqual([
      ['k', 4],
      ['other', 10],
    ]);
    expect(debts.empty).toBe(true);
    expect(await told(debts)).toEqual([]);
  });

  test('counts as made now when the clock was set back', async () => {
    const debts = debtsOf();
    add(debts, 4);
    const [expected] = await told(debts);
    add(debts, 4);
    jest.setSystemTime(START - 3_600_000);
    expect(await told(debts)).toEqual([expected]);
  });

  test('fades as spent hits do', async () => {
    const debts = debtsOf();
    add(debts, 6);
    jest.setSystemTime(START + WINDOW_MS / 2);
    const half = algorithm.isRefilled ? 1 : 6;
    expect((await told(debts))[0]?.owed[0]?.units).toBe(half);
    add(debts, 6);
    jest.setSystemTime(Date.now() + 2 * WINDOW_MS);
    expect(await told(debts)).toEqual([]);
    expect(debts.empty).toBe(true);
  });

  test('includes the count of the store only if the store may have lost it, and until all gateways have sent their hits', async () => {
    const debts = debtsOf();
    owe(debts, claim, [START], START, 5);
    expect((await told(debts))[0]?.owed).toMatchObject([{ units: 1 }]);
    debts.restore();
    owe(debts, claim, [START], START, 5);
    // Of a client that was refused, there is nothing but that.
    debts.open({ ...claim, key: 'refused' }, [recordOf(START, 10)]);
    const said = (await told(debts)).map(({ owed }) => owed[0]);
    if (algorithm.isRefilled) {
      expect(said).toMatchObject([
        { units: 0, least: 6 },
        { units: 0, least: 10 },
      ]);
    } else {
      expect(said).toMatchObject([{ units: 6 }, { units: 10, restMs: WINDOW_MS }]);
    }
    owe(debts, claim, [START], START, 5);
    jest.setSystemTime(START + 2 * WINDOW_MS);
    debts.restore();
    expect(await told(debts)).toEqual([]);
  });

  test('for a store that may have lost its counts: windows add up, a bucket gets the hits of all gateways', async () => {
    const debts = debtsOf(40);
    debts.shareWith(4);
    debts.restore();
    debts.open(claim, [recordOf(START, 5)]);
    const [{ owed }] = (await told(debts)) as [Debt];
    expect(owed).toMatchObject([algorithm.isRefilled ? { units: 0, least: 20 } : { units: 5, least: 0 }]);
  });

  test('is kept when sending fails, together with hits since then', async () => {
    const debts = debtsOf();
    add(debts, 3);
    let fail: (error: Error) => void = () => {};
    const paying = debts.payAll(
      () =>
        new Promise((_resolve, reject) => {
          fail = reject;
        }),
    );
    expect(debts.pay('k', () => Promise.reject(new Error('another')))).toBeInstanceOf(Promise);
    // What has come meanwhile is spent on top of that.
    debts.open(claim, [recordOf(START, 3)]);
    add(debts, 2);
    fail(new Error('down'));
    await expect(paying).rejects.toThrow('down');
    expect((await told(debts))[0]?.owed[0]?.units).toBe(5);
  });

  test('is forgotten with the client, also when telling of it fails after that', async () => {
    const debts = debtsOf();
    add(debts, 3);
    let fail: (error: Error) => void = () => {};
    const paying = debts.pay(
      'k',
      () =>
        new Promise((_resolve, reject) => {
          fail = reject;
        }),
    );
    debts.forget('k');
    expect(debts.empty).toBe(true);
    add(debts, 1);
    fail(new Error('down'));
    await expect(paying).rejects.toThrow('down');
    expect((await told(debts))[0]?.owed[0]?.units).toBe(1);
  });

  test('is forgotten with the client before the store has it', async () => {
    const debts = debtsOf();
    add(debts, 3);
    debts.forget('k');
    expect([debts.empty, debts.has('k')]).toEqual([true, false]);
    expect(await told(debts)).toEqual([]);
  });

  test('of long ago is not added to present hits', async () => {
    const debts = debtsOf();
    add(debts, 6);
    jest.setSystemTime(START + 2 * WINDOW_MS);
    debts.add(claim, Date.now());
    expect(await told(debts)).toMatchObject([{ owed: [{ units: 1 }] }]);
  });

  test('while the store gets the hits of a client, an older transfer that ends late changes nothing', async () => {
    const debts = debtsOf();
    const ends: (() => void)[] = [];
    const charge = () => new Promise<void>((resolve) => ends.push(resolve));
    add(debts, 3);
    const first = debts.pay('k', charge);
    debts.forget('k');
    add(debts, 2);
    const second = debts.pay('k', charge);
    ends[0]?.();
    await first;
    expect(debts.empty).toBe(false);
    ends[1]?.();
    await second;
    expect(debts.empty).toBe(true);
  });

  test('once the store has all hits, it counts from them again', async () => {
    const debts = debtsOf();
    debts.restore();
    await told(debts);
    owe(debts, claim, [START], START, 5);
    expect(await told(debts)).toMatchObject([{ owed: [{ units: 1, least: 0 }] }]);
  });

  test('after one failed transfer the others are not tried, and all hits stay owed', async () => {
    const debts = debtsOf();
    for (let i = 0; i < 40; i++) owe(debts, { ...claim, key: `c${i}` }, [START], START);
    const ends: (() => void)[] = [];
    let asked = 0;
    const paying = debts.payAll(({ key }) => {
      asked += 1;
      return key === 'c0' ? Promise.reject(new Error('down')) : new Promise((resolve) => ends.push(resolve));
    });
    await expect(paying).rejects.toThrow('down');
    for (const end of ends) end();
    await jest.advanceTimersByTimeAsync(0);
    expect(asked).toBe(16);
    expect(await told(debts)).toHaveLength(25);
  });

  test('follows a limit that the claims bring along', async () => {
    const debts = debtsOf();
    for (let i = 0; i < 4; i++) owe(debts, { ...claim, limit: 3 }, [START], START);
    expect(await told(debts)).toMatchObject([{ limit: 3, owed: [{ units: 3 }] }]);
  });
});

test('a fixed window that Redis had begun ends when Redis would have ended it', async () => {
  algorithmOfTest = fixedWindow;
  const debts = new Debts(fixedWindow, [{ limit: 10, windowMs: WINDOW_MS, burst: 10 }]);
  owe(debts, claim, [START - 50_000], START, 3);
  expect(await told(debts)).toMatchObject([{ owed: [{ units: 1, restMs: 10_000 }] }]);
  owe(debts, claim, [START - 50_000], START, 3);
  jest.setSystemTime(START + 10_000);
  expect(await told(debts)).toEqual([]);
});

test('each of several windows is owed its own hits', async () => {
  const quotas = [
    { limit: 5, windowMs: 1_000, burst: 5 },
    { limit: 100, windowMs: 3_600_000, burst: 100 },
  ];
  const debts = new Debts(slidingWindow, quotas);
  for (let i = 0; i < 20; i++) {
    jest.setSystemTime(START + i * 1_000);
    owe(debts, claim, [Date.now(), START], Date.now());
  }
  jest.setSystemTime(START + 60_000);
  expect(await told(debts)).toMatchObject([{ owed: [{ units: 0 }, { units: 20 }] }]);
});

test('at most so many clients are owed: the oldest is forgotten first', async () => {
  const debts = new Debts(fixedWindow, [{ limit: 10, windowMs: WINDOW_MS, burst: 10 }]);
  for (let i = 0; i <= 100_000; i++) owe(debts, { ...claim, key: `c${i}` }, [START], START);
  const keys = (await told(debts)).map(({ key }) => key);
  expect([keys.length, keys[0], keys.at(-1)]).toEqual([100_000, 'c1', 'c100000']);
});

test('of a sliding window, the store also gets the hits of the window before, without those that it had counted', async () => {
  algorithmOfTest = slidingWindow;
  const spend = async (known: number, first: number, second: number) => {
    jest.setSystemTime(START);
    const debts = new Debts(slidingWindow, [{ limit: 10, windowMs: WINDOW_MS, burst: 10 }]);
    debts.open(claim, [recordOf(START, known)]);
    debts.add({ ...claim, cost: first }, START);
    // Three quarters of the window before still count.
    jest.setSystemTime(START + WINDOW_MS + WINDOW_MS / 4);
    if (second > 0) debts.add({ ...claim, cost: second }, Date.now());
    const [debt] = await told(debts);
    return debt?.owed[0];
  };
  expect(await spend(0, 4, 0)).toEqual({ units: 2, older: 2, least: 0, restMs: 45_000 });
  expect(await spend(0, 4, 2)).toEqual({ units: 4, older: 2, least: 0, restMs: 45_000 });
  expect(await spend(3, 4, 2)).toEqual({ units: 5, older: 3, least: 0, restMs: 45_000 });
});

test('a window that ends in this millisecond is reported as ending in the next', async () => {
  algorithmOfTest = fixedWindow;
  const debts = new Debts(fixedWindow, [{ limit: 10, windowMs: WINDOW_MS, burst: 10 }]);
  owe(debts, claim, [START], START);
  jest.setSystemTime(START + WINDOW_MS - 1);
  expect(await told(debts)).toMatchObject([{ owed: [{ units: 1, restMs: 1 }] }]);
});
