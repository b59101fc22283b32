import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { BackendConnection } from '../../../bench/backends/backend-connection.ts';
import { Arrivals } from '../../../bench/load/arrivals.ts';
import { runPaced } from '../../../bench/load/paced-run.ts';

describe('Arrivals', () => {
  const timesOf = (perSecond: number, seed: number, count: number): number[] => {
    const arrivals = new Arrivals(perSecond, seed);
    return Array.from({ length: count }, () => {
      const { nextMs } = arrivals;
      arrivals.pass();
      return nextMs;
    });
  };

  test('come at the rate that was asked for, and independently of each other', () => {
    const times = timesOf(2_000, 1, 50_000);
    expect(50_000 / ((times.at(-1) as number) / 1_000)).toBeCloseTo(2_000, -2);
    const gaps = times.slice(1).map((time, index) => time - (times[index] as number));
    const mean = gaps.reduce((sum, gap) => sum + gap) / gaps.length;
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
    // Gaps of a Poisson process are spread as far as they are long; those of a clock are not spread at all.
    expect(Math.sqrt(variance) / mean).toBeCloseTo(1, 1);
  });

  test('are the same for one seed, and others for another', () => {
    expect(timesOf(100, 5, 50)).toEqual(timesOf(100, 5, 50));
    expect(timesOf(100, 6, 50)).not.toEqual(timesOf(100, 5, 50));
  });
});

describe('runPaced', () => {
  let server: Server;
  let port = 0;
  const plan = () => ({ port, connections: 4, perSecond: 200, warmupSeconds: 0.1, seconds: 1, seed: 1 });

  beforeEach(async () => {
    server = createServer((socket) => {
      new BackendConnection(socket, () => {});
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
  });

  afterEach(async () => {
    server.close();
    await once(server, 'close');
  });

  test('counts each request that was due, and says how long it took', async () => {
    const { requests, errors, latency } = await runPaced(plan());
    expect(errors).toBe(0);
    // 200 are due in the mean; seed 1 has its own number, but it is always the same one.
    expect(requests).toBeGreaterThan(150);
    expect(requests).toBeLessThan(250);
    expect(latency.p50).toBeGreaterThan(0);
    expect(latency.p50).toBeLessThanOrEqual(latency.p99);
    expect(latency.p99).toBeLessThanOrEqual(latency.max);
  });

  test('charges a standstill for all requests that were due in it', async () => {
    const STILL_MS = 500;
    setTimeout(() => {
      const end = performance.now() + STILL_MS;
      while (performance.now() < end);
    }, 300);
    const { errors, latency } = await runPaced(plan());
    expect(errors).toBe(0);
    // Half of the requests came while nothing moved: a client that waits for its answer would have counted 4 of 100.
    expect(latency.p90).toBeGreaterThan((STILL_MS * 1_000) / 2);
  });

  test('requests without a response are errors', async () => {
    const silent = createServer((socket) => void socket.resume());
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const result = await runPaced({ ...plan(), port: (silent.address() as AddressInfo).port, seconds: 0.2 });
    silent.close();
    expect(result.requests).toBe(0);
    expect(result.errors).toBeGreaterThan(0);
    expect(result.firstError).toMatch(/without an answer/);
  });
});
