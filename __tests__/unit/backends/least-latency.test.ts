import { describe, expect, test } from '@jest/globals';
import { LeastLatency } from '../../../lib/backends/selection/least-latency.ts';
import { counts, exchange, type FakeBackend, manyBackends, pool, seeded } from './fake-backend.ts';

function withLatencies(backends: FakeBackend[], ...latencies: number[]): FakeBackend[] {
  for (const [index, latencyMs] of latencies.entries()) backends[index]!.latencyMs = latencyMs;
  return backends;
}

describe('latency', () => {
  test('requests the measurement of latency', () => {
    expect(new LeastLatency().observesLatency).toBe(true);
  });

  test('prefers the faster of two backends', () => {
    const backends = withLatencies(pool(1, 1), 20, 10);
    expect(counts(new LeastLatency(seeded(1)), backends, 100)).toEqual([0, 100]);
    backends[1]!.available = false;
    expect(counts(new LeastLatency(seeded(1)), backends, 100)).toEqual([100, 0]);
  });

  test('counts each request in flight as one latency to wait for', () => {
    const backends = withLatencies(pool(1, 1), 20, 10);
    backends[1]!.inFlight = 2;
    expect(counts(new LeastLatency(seeded(1)), backends, 100)).toEqual([100, 0]);
  });

  test('of three, the slowest gets nothing, and the fastest not everything', () => {
    const backends = withLatencies(pool(1, 1, 1), 10, 11, 50);
    const [fastest, second, slowest] = counts(new LeastLatency(seeded(1)), backends, 3_000) as [number, number, number];
    expect(slowest).toBe(0);
    expect(fastest / 3_000).toBeCloseTo(2 / 3, 1);
    expect(second / 3_000).toBeCloseTo(1 / 3, 1);
  });

  test('tries an unmeasured backend once until it responds', () => {
    const backends = withLatencies(pool(1, 1), 10, 0);
    const policy = new LeastLatency(seeded(1));
    expect(policy.select(backends, exchange(), [])).toBe(backends[1]);
    backends[1]!.inFlight = 1;
    backends[0]!.inFlight = 1_000;
    expect(counts(policy, backends, 50)).toEqual([50, 0]);
  });

  test('a weight is worth so many times the latency, and a slow start so much less', () => {
    const backends = withLatencies(pool(1, 3), 10, 20);
    expect(counts(new LeastLatency(seeded(1)), backends, 50)).toEqual([0, 50]);
    backends[1]!.share = 0.1;
    expect(counts(new LeastLatency(seeded(1)), backends, 50)).toEqual([50, 0]);
  });

  test('in a large pool the faster half does three quarters of the work', () => {
    const backends = manyBackends(1_000);
    for (const [index, backend] of backends.entries()) backend.latencyMs = index < 500 ? 10 : 30;
    const found = counts(new LeastLatency(seeded(2)), backends, 20_000);
    const fast = found.slice(0, 500).reduce((sum, one) => sum + one, 0);
    expect(fast / 20_000).toBeCloseTo(0.75, 1);
  });

  test('picks nothing when no backend is available, and the last one when it is the only one', () => {
    const backends = pool(1, 1);
    const policy = new LeastLatency(seeded(1));
    expect(policy.select(backends, exchange(), [...backends])).toBeUndefined();
    expect(policy.select(backends, exchange(), [backends[0]!])).toBe(backends[1]);
  });
});
