import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Backend } from '../../../lib/backends/backend.ts';
import { BackendPool } from '../../../lib/backends/backend-pool.ts';
import { Ejections } from '../../../lib/backends/health/ejections.ts';
import { type LoadBalancing, selectionPolicy } from '../../../lib/backends/selection/load-balancing.ts';
import { SlowStart } from '../../../lib/backends/selection/slow-start.ts';
import { Circuit, circuitDefaults } from '../../../lib/circuit-breaker/circuit.ts';
import type { HealthVerdict } from '../../../lib/core/events.ts';
import { microtasks } from '../circuit-breaker/microtasks.ts';
import { exchange } from './fake-backend.ts';

beforeEach(() => {
  jest.useFakeTimers({ now: 1_700_000_000_000 });
});
afterEach(() => {
  jest.useRealTimers();
});

describe('a slow start', () => {
  test('rises in a straight line from a tenth to the whole', () => {
    const slowStart = new SlowStart(10_000);
    expect(slowStart.share).toBe(1);
    slowStart.begin();
    const shares = Array.from({ length: 12 }, () => {
      const { share } = slowStart;
      jest.advanceTimersByTime(1_000);
      return share;
    });
    expect(shares).toEqual([0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1]);
  });

  test('begins again while it is under way', () => {
    const slowStart = new SlowStart(10_000);
    slowStart.begin();
    jest.advanceTimersByTime(9_000);
    slowStart.begin();
    expect(slowStart.share).toBe(0.1);
  });

  test('is over when it is over, and a wall clock that is set back makes it no longer than its length', () => {
    const slowStart = new SlowStart(10_000);
    slowStart.begin();
    jest.setSystemTime(Date.now() - 3_600_000);
    expect(slowStart.share).toBe(0.1);
    jest.advanceTimersByTime(10_000);
    expect(slowStart.share).toBe(1);
    jest.setSystemTime(Date.now() - 3_600_000);
    expect(slowStart.share).toBe(1);
  });
});

const SLOW_START_MS = 10_000;

function makePool(loadBalancing: LoadBalancing, slowStartMs = SLOW_START_MS): BackendPool {
  const policy = selectionPolicy(loadBalancing);
  return new BackendPool(policy, (config) => {
    const circuit = new Circuit(config.url.origin, circuitDefaults);
    return new Backend(config, circuit, { slowStartMs, observesLatency: policy.observesLatency === true });
  });
}

const configs = (...names: string[]) => names.map((name) => ({ url: new URL(`http://${name}`), weight: 4 }));
const shares = (pool: BackendPool) => pool.backends.map(({ effectiveWeight, weight }) => effectiveWeight / weight);

async function trip({ circuit }: Backend): Promise<void> {
  for (let call = 0; call < 5; call += 1) circuit.tryAcquire()?.settle('failure');
  await microtasks();
}

async function recover({ circuit }: Backend): Promise<void> {
  jest.advanceTimersByTime(10_000);
  for (let trial = 0; trial < 3; trial += 1) {
    circuit.tryAcquire()?.settle('success');
    await microtasks();
  }
  expect(circuit.state).toBe('closed');
}

describe('which backends start slowly', () => {
  test('a whole new pool has no slow start', () => {
    const pool = makePool('weighted');
    pool.setBackends(configs('a', 'b'));
    expect(shares(pool)).toEqual([1, 1]);
  });

  test('a backend that was added later, but not the others', () => {
    const pool = makePool('weighted');
    pool.setBackends(configs('a', 'b'));
    pool.setBackends(configs('a', 'b', 'c'));
    expect(shares(pool)).toEqual([1, 1, 0.1]);
    jest.advanceTimersByTime(5_000);
    pool.setBackends(configs('c', 'a', 'b'));
    expect(shares(pool)).toEqual([0.5, 1, 1]);
    jest.advanceTimersByTime(5_000);
    expect(shares(pool)).toEqual([1, 1, 1]);
  });

  test('a backend whose circuit closed again', async () => {
    const pool = makePool('weighted');
    pool.setBackends(configs('a', 'b'));
    await trip(pool.backends[1]!);
    await recover(pool.backends[1]!);
    expect(shares(pool)).toEqual([1, 0.1]);
  });

  test('a backend that was ejected as unhealthy, but not an unhealthy one that stayed in use', () => {
    const pool = makePool('weighted');
    pool.setBackends(configs('a', 'b'));
    const ejections = new Ejections({ maxUnavailableRatio: 0.5, panic: false }, () => pool.backends);
    const judge = (verdict: HealthVerdict, order: readonly Backend[]) => {
      for (const backend of order) {
        backend.health.verdict = verdict;
        ejections.reconsider(backend);
      }
    };
    judge('unhealthy', pool.backends.toReversed());
    expect(pool.backends.map((backend) => backend.isAvailable())).toEqual([true, false]);
    judge('healthy', pool.backends);
    expect(shares(pool)).toEqual([1, 0.1]);
  });

  test('a backend whose weight was 0', () => {
    const pool = makePool('weighted');
    pool.setBackends([...configs('a'), { ...configs('b')[0]!, weight: 0 }]);
    expect(pool.backends[1]!.effectiveWeight).toBe(0);
    pool.setBackends(configs('a', 'b'));
    expect(shares(pool)).toEqual([1, 0.1]);
  });

  test('without slowStartMs there is no slow start', async () => {
    const pool = makePool('weighted', 0);
    pool.setBackends(configs('a', 'b'));
    await trip(pool.backends[1]!);
    await recover(pool.backends[1]!);
    pool.setBackends(configs('a', 'b', 'c'));
    expect(shares(pool)).toEqual([1, 1, 1]);
  });
});

describe('every policy ramps up', () => {
  /** Which part of so many requests goes to the last backend. */
  function partOfLast(pool: BackendPool): number {
    const last = pool.backends.at(-1);
    let count = 0;
    for (let request = 0; request < 4_000; request += 1) {
      const backend = pool.select(exchange({ address: `192.0.${request >> 8}.${request & 255}` }), []);
      if (backend === last) count += 1;
    }
    return count / 4_000;
  }

  test.each<LoadBalancing>([
    'round-robin',
    'weighted',
    'least-requests',
    'hash',
    { policy: 'sticky', secret: 's'.repeat(32) },
    { policy: 'sticky', secret: 's'.repeat(32), fallback: 'weighted' },
  ])('%j', (loadBalancing) => {
    const pool = makePool(loadBalancing);
    pool.setBackends(configs('a'));
    pool.setBackends(configs('a', 'b'));
    const parts: number[] = [];
    for (const second of [0, 2.5, 5, 7.5, 10]) {
      parts.push(partOfLast(pool));
      if (second < 10) jest.advanceTimersByTime(2_500);
    }
    // s / (1 + s) of the requests, for a share s.
    [1 / 11, 1 / 5, 1 / 3, 3 / 7, 1 / 2].forEach((expected, index) => {
      expect(Math.abs((parts[index] as number) - expected)).toBeLessThan(0.025);
    });
  });

  test('latency: an added backend counts as ten times as slow at first', () => {
    const pool = makePool('latency');
    pool.setBackends(configs('a'));
    pool.setBackends(configs('a', 'b'));
    for (const [index, ms] of [10, 4].entries()) {
      const slot = pool.backends[index]!.acquire()!;
      slot.sent();
      jest.advanceTimersByTime(ms);
      slot.responded(true);
      slot.release('success');
    }
    expect(pool.select(exchange(), [])).toBe(pool.backends[0]);
    jest.advanceTimersByTime(5_000);
    expect(pool.select(exchange(), [])).toBe(pool.backends[1]);
  });

  test.each<LoadBalancing>(['round-robin', 'weighted', 'least-requests', 'latency', 'hash'])(
    '%j: the only one that is available gets everything',
    (loadBalancing) => {
      const pool = makePool(loadBalancing);
      pool.setBackends([{ ...configs('a')[0]!, weight: 0 }]);
      pool.setBackends([{ ...configs('a')[0]!, weight: 0 }, ...configs('b')]);
      expect(pool.backends[1]!.effectiveWeight).toBeCloseTo(0.4);
      expect(partOfLast(pool)).toBe(1);
    },
  );
});
