import { expect, test } from '@jest/globals';
import type { CounterAnswer, CounterQuestion } from '../../../lib/rate-limit/cluster/counter-question.ts';
import { CounterStore } from '../../../lib/rate-limit/cluster/counter-store.ts';

const LIMITER = { name: 'ip', algorithm: 'sliding-window', quotas: [], maxKeys: 10, share: 0.25 } as const;
const TRIP = {
  decision: { allowed: true, retryAfterMs: 0, quotaStates: [] },
  grant: { ahead: 0, leaseMs: 0, quotaStates: [], restsMs: [] },
};

function storeOf(answer: (question: CounterQuestion) => unknown) {
  const asked: CounterQuestion[] = [];
  const ask = async (question: CounterQuestion) => {
    asked.push(question);
    return answer(question) as CounterAnswer;
  };
  return { store: new CounterStore({ processes: 2, ask }, LIMITER), asked };
}

const claim = { key: 'k', cost: 2, limit: undefined };
const debt = { key: 'k', limit: undefined, owed: [{ units: 3, older: 1, restMs: 1_000, least: 0 }] };

test('requests of one turn go in one message, and each gets its own reply', async () => {
  const { store, asked } = storeOf(() => [TRIP, { ...TRIP, other: true }, ...Array(5).fill(null)]);
  const answers = await Promise.all([
    store.take(claim, 1, 5),
    store.take({ ...claim, limit: 7 }, 0, 0),
    store.charge(debt),
    store.charge({ ...debt, limit: 7 }),
    store.charge({ ...debt, owed: [{ units: 0, older: 0, restMs: 1_000, least: 0, over: 4 }] }),
    store.charge({ ...debt, owed: [...debt.owed, { units: 0, older: 0, restMs: 1_000, least: 0, over: 4 }] }),
    store.reset('k'),
  ]);
  expect(answers).toEqual([TRIP, { ...TRIP, other: true }, ...Array(5).fill(undefined)]);
  expect(asked).toEqual([
    {
      limiter: LIMITER,
      all: [
        ['take', 'k', 2, null, { waiting: 1, wish: 5 }],
        ['take', 'k', 2, 7, { waiting: 0, wish: 0 }],
        ['charge', 'k', null, [3]],
        ['charge', 'k', 7, [3]],
        ['charge', 'k', null, [0], [4]],
        ['charge', 'k', null, [3, 0], [0, 4]],
        ['reset', 'k'],
      ],
    },
  ]);
});

test('the next turn has another message', async () => {
  const { store, asked } = storeOf(({ all }) => all.map(() => TRIP));
  for (let turn = 1; turn <= 3; turn++) {
    await Promise.all([store.take(claim, 0, 0), store.take(claim, 0, 0)]);
    expect(asked.map(({ all }) => all.length)).toEqual(Array(turn).fill(2));
  }
});

test.each<[string, (question: CounterQuestion) => unknown, string]>([
  ['none', () => undefined, 'did not reply to all requests'],
  ['no list', () => ({ length: 2 }), 'did not reply to all requests'],
  ['too few', () => [TRIP], 'did not reply to all requests'],
  ['too many', () => [TRIP, TRIP, TRIP], 'did not reply to all requests'],
  ['no count', () => [null, null], 'returned no count'],
  [
    'an error',
    () => {
      throw new Error('the other process is gone');
    },
    'the other process is gone',
  ],
])('with the reply %s, all requests fail', async (_, answer, message) => {
  const { store } = storeOf(answer);
  const settled = await Promise.allSettled([store.take(claim, 0, 0), store.take(claim, 0, 0)]);
  expect(settled).toMatchObject(
    Array(2).fill({ status: 'rejected', reason: { message: expect.stringContaining(message) } }),
  );
});

test('a probe asks nothing, and fails where no server listens', async () => {
  const { store, asked } = storeOf(() => []);
  await store.probe();
  expect(asked).toEqual([{ limiter: LIMITER, all: [] }]);
  const gone = storeOf(() => {
    throw new Error('gone');
  });
  await expect(gone.store.probe()).rejects.toThrow('gone');
});
