import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import {
  CircuitState,
  circuitBreaker,
  handleWhenResult,
  type IBackoff,
  type IBreaker,
  type IHalfOpenAfterBackoffContext,
} from 'cockatiel';
import { microtasks } from '../unit/circuit-breaker/microtasks.ts';

type Result = 'success' | 'failure';

/** A backoff of which the test says how long it is, and which remembers what cockatiel asked. */
class ScriptedBackoff implements IBackoff<IHalfOpenAfterBackoffContext> {
  attempts: number[] = [];
  reads = 0;
  #durationMs = 10_000;

  set durationMs(ms: number) {
    this.#durationMs = ms;
  }

  get duration(): number {
    this.reads += 1;
    return this.#durationMs;
  }

  next({ attempt }: IHalfOpenAfterBackoffContext): this {
    this.attempts.push(attempt);
    return this;
  }
}

function setUp({ trials = 3, trips = true } = {}) {
  const backoff = new ScriptedBackoff();
  const breaker = {
    state: undefined,
    success: jest.fn<IBreaker['success']>(),
    failure: jest.fn<IBreaker['failure']>(() => trips),
  };
  const policy = circuitBreaker(
    handleWhenResult((result) => result === 'failure'),
    { breaker, halfOpenAfter: backoff, halfOpenSampling: { calls: trials, threshold: 0 } },
  );
  const changes: CircuitState[] = [];
  policy.onStateChange((state) => changes.push(state));

  /** A call that ends when the test says so; `ran` tells whether cockatiel ran it already. */
  const begin = () => {
    const call = { ran: false, end: (_result: Result) => {}, returned: Promise.resolve<unknown>(undefined) };
    call.returned = policy.execute(() => {
      call.ran = true;
      return new Promise<Result>((resolve) => {
        call.end = resolve;
      });
    });
    // Not part of what is tested here: a refusal is seen through `returned` where it is expected.
    call.returned.catch(() => {});
    return call;
  };
  const trip = async () => {
    await policy.execute(() => 'failure');
    changes.length = 0;
  };
  const halfOpen = async () => {
    await trip();
    jest.advanceTimersByTime(10_000);
    const first = begin();
    changes.length = 0;
    return first;
  };
  return { policy, backoff, breaker, changes, begin, trip, halfOpen };
}

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

describe('cockatiel, closed', () => {
  test('a success only calls success() of the breaker, so that leaving it out is safe', async () => {
    const { policy, breaker, changes } = setUp();
    for (let call = 0; call < 100; call += 1) await policy.execute(() => 'success');
    expect(breaker.success.mock.calls).toEqual(new Array(100).fill([CircuitState.Closed]));
    expect(breaker.failure).not.toHaveBeenCalled();
    expect(changes).toEqual([]);
    expect(policy.state).toBe(CircuitState.Closed);
  });

  test('a failure that the breaker lets pass does nothing either', async () => {
    const { policy, breaker, changes } = setUp({ trips: false });
    for (let call = 0; call < 100; call += 1) await policy.execute(() => 'failure');
    expect(breaker.failure.mock.calls).toEqual(new Array(100).fill([CircuitState.Closed]));
    expect(changes).toEqual([]);
  });

  test('it opens on the first failure for which the breaker returns true', async () => {
    const { policy, changes } = setUp();
    for (let call = 0; call < 100; call += 1) await policy.execute(() => 'success');
    await policy.execute(() => 'failure');
    expect(changes).toEqual([CircuitState.Open]);
  });

  test('it opens within microtasks, without a timer', async () => {
    const { policy } = setUp();
    void policy.execute(() => 'failure');
    await microtasks();
    expect(policy.state).toBe(CircuitState.Open);
    expect(jest.getTimerCount()).toBe(0);
  });

  test('a handled result is returned: nothing rejects', async () => {
    await expect(setUp().policy.execute(() => 'failure')).resolves.toBe('failure');
  });

  test('the breaker is called when a call ends, so that it can ignore a call of an earlier era', async () => {
    const { policy, breaker, changes } = setUp();
    void policy.execute(() => 'failure');
    policy.isolate().dispose();
    breaker.failure.mockReturnValue(false);
    await microtasks();
    expect(changes).toEqual([CircuitState.Isolated, CircuitState.Closed]);
  });

  test('a second failure that trips finds the circuit open and changes nothing', async () => {
    const { policy, backoff, changes } = setUp();
    void policy.execute(() => 'failure');
    void policy.execute(() => 'failure');
    await microtasks();
    expect(changes).toEqual([CircuitState.Open]);
    expect(backoff.attempts).toEqual([1]);
  });

  test('a failure after the circuit was isolated changes nothing', async () => {
    const { policy, changes } = setUp();
    void policy.execute(() => 'failure');
    policy.isolate();
    await microtasks();
    expect(changes).toEqual([CircuitState.Isolated]);
  });

  test('KNOWN FLAW: a call admitted while closed that fails during half-open opens the circuit', async () => {
    const { begin, halfOpen, policy } = setUp();
    const old = begin();
    await halfOpen();
    old.end('failure');
    await microtasks();
    expect(policy.state).toBe(CircuitState.Open);
  });
});

describe('cockatiel, open', () => {
  test('it stays open until the next call, however late that is', async () => {
    const { policy, trip } = setUp();
    await trip();
    jest.advanceTimersByTime(3_600_000);
    expect(policy.state).toBe(CircuitState.Open);
  });

  test('it admits a trial at exactly the duration, not a millisecond before', async () => {
    const { begin, trip } = setUp();
    await trip();
    jest.advanceTimersByTime(9_999);
    const early = begin();
    expect(early.ran).toBe(false);
    await expect(early.returned).rejects.toThrow('circuit breaker is open');
    jest.advanceTimersByTime(1);
    expect(begin().ran).toBe(true);
  });

  test('it reads the duration anew for each call, so an own backoff decides', async () => {
    const { backoff, begin, trip } = setUp();
    await trip();
    backoff.durationMs = Number.POSITIVE_INFINITY;
    jest.advanceTimersByTime(3_600_000);
    expect(begin().ran).toBe(false);
    backoff.durationMs = Number.NEGATIVE_INFINITY;
    expect(begin().ran).toBe(true);
    expect(backoff.reads).toBe(2);
  });

  test('a duration of minus infinity admits a trial even where the wall clock was set back', async () => {
    const { backoff, begin, trip } = setUp();
    await trip();
    jest.setSystemTime(Date.now() - 3_600_000);
    backoff.durationMs = Number.NEGATIVE_INFINITY;
    expect(begin().ran).toBe(true);
  });

  test('the attempt counts openings in a row from 1, and starts again once closed', async () => {
    const { policy, backoff, begin, halfOpen } = setUp({ trials: 1 });
    (await halfOpen()).end('failure');
    await microtasks();
    jest.advanceTimersByTime(10_000);
    begin().end('failure');
    await microtasks();
    jest.advanceTimersByTime(10_000);
    begin().end('success');
    await microtasks();
    await policy.execute(() => 'failure');
    expect(backoff.attempts).toEqual([1, 2, 3, 1]);
  });

  test('next() is called before listeners hear of the opening', async () => {
    const { policy, backoff } = setUp();
    let known = -1;
    policy.onStateChange(() => {
      known = backoff.attempts.length;
    });
    await policy.execute(() => 'failure');
    expect(known).toBe(1);
  });
});

describe('cockatiel, half-open', () => {
  test('the first call that is due changes the state and runs its function in the same tick, in this order', async () => {
    const { policy, trip } = setUp();
    await trip();
    jest.advanceTimersByTime(10_000);
    const order: unknown[] = [];
    policy.onStateChange((state) => order.push(state === policy.state && CircuitState[state]));
    void policy.execute(() => {
      order.push('ran');
      return 'success';
    });
    expect(order).toEqual(['HalfOpen', 'ran']);
  });

  test('as many calls as there are trials run in the same tick; further calls would wait, so the suite never makes them', async () => {
    const { begin, halfOpen } = setUp();
    await halfOpen();
    expect([begin().ran, begin().ran, begin().ran]).toEqual([true, true, false]);
    await microtasks();
    jest.advanceTimersByTime(3_600_000);
    const late = begin();
    await microtasks();
    expect(late.ran).toBe(false);
  });

  test('a trial that has ended does not make room for another', async () => {
    const { begin, halfOpen } = setUp();
    (await halfOpen()).end('success');
    await microtasks();
    expect([begin().ran, begin().ran, begin().ran]).toEqual([true, true, false]);
  });

  test('it closes after as many successes as there are trials, within microtasks', async () => {
    const { policy, begin, halfOpen, changes } = setUp();
    const trials = [await halfOpen(), begin(), begin()];
    trials[0]?.end('success');
    trials[1]?.end('success');
    await microtasks();
    expect(policy.state).toBe(CircuitState.HalfOpen);
    trials[2]?.end('success');
    await microtasks();
    expect(changes).toEqual([CircuitState.Closed]);
  });

  test('the first failure opens it, with other trials still in flight and after successes', async () => {
    const { begin, halfOpen, changes } = setUp();
    const trials = [await halfOpen(), begin(), begin()];
    trials[0]?.end('success');
    trials[1]?.end('failure');
    await microtasks();
    expect(changes).toEqual([CircuitState.Open]);
  });

  test('trials that end in the same tick count in the order of their ends', async () => {
    const { begin, halfOpen, changes } = setUp({ trials: 2 });
    const trials = [await halfOpen(), begin()];
    trials[1]?.end('failure');
    trials[0]?.end('success');
    await microtasks();
    expect(changes).toEqual([CircuitState.Open]);
  });

  test.each(['success', 'failure'] as const)('a %s of an era that is over changes nothing', async (result) => {
    const { policy, begin, halfOpen, changes } = setUp({ trials: 2 });
    const left = await halfOpen();
    begin().end('failure');
    await microtasks();
    jest.advanceTimersByTime(10_000);
    begin();
    changes.length = 0;
    left.end(result);
    await microtasks();
    expect(changes).toEqual([]);
    expect(policy.state).toBe(CircuitState.HalfOpen);
    await expect(left.returned).resolves.toBe(result);
  });
});

describe('cockatiel, isolated', () => {
  test('isolate() and dispose() change the state in the same tick', () => {
    const { policy, changes } = setUp();
    const isolation = policy.isolate();
    expect(policy.state).toBe(CircuitState.Isolated);
    isolation.dispose();
    expect(policy.state).toBe(CircuitState.Closed);
    expect(changes).toEqual([CircuitState.Isolated, CircuitState.Closed]);
  });

  test('it lasts until all handles are disposed of; disposing of one twice counts once', () => {
    const { policy, changes } = setUp();
    const [first, second] = [policy.isolate(), policy.isolate()];
    first.dispose();
    first.dispose();
    expect(policy.state).toBe(CircuitState.Isolated);
    second.dispose();
    expect(policy.state).toBe(CircuitState.Closed);
    expect(changes).toEqual([CircuitState.Isolated, CircuitState.Closed]);
  });

  test.each(['success', 'failure'] as const)(
    'a trial that was left behind and ends as a %s changes nothing',
    async (result) => {
      const { policy, halfOpen, changes } = setUp({ trials: 1 });
      const left = await halfOpen();
      policy.isolate().dispose();
      changes.length = 0;
      left.end(result);
      await microtasks();
      expect(changes).toEqual([]);
    },
  );

  test('a handle disposed of late, once another isolation has begun, does not end that one', () => {
    const { policy } = setUp();
    const first = policy.isolate();
    first.dispose();
    policy.isolate();
    first.dispose();
    expect(policy.state).toBe(CircuitState.Isolated);
  });
});
