import { describe, expect, test } from '@jest/globals';
import { type LoopSample, type Priority, SheddingGate } from '../../../lib/ingress/shedding-gate.ts';

const BOUNDS = { maxDelayMs: 100, intervalMs: 100 };
/** An event loop that is late, and busy with requests. */
const LATE: Omit<LoopSample, 'now'> = { delayMs: 200, idleShare: 0, turns: 1, cpuMs: 200, acceptDelayMs: 0 };

/** Takes a sample every 50 ms, each after some requests. */
function gateAfter(samples: number, sample: Partial<LoopSample>, requests = 20): SheddingGate {
  const gate = new SheddingGate(BOUNDS);
  for (let at = 0; at < samples; at += 1) {
    for (let n = 0; n < requests; n += 1) gate.admits('normal');
    gate.sample({ ...LATE, ...sample, now: at * 50 });
  }
  return gate;
}

test.each<[string, number, Partial<LoopSample>, number]>([
  ['in time', 100, { delayMs: 100 }, 20],
  ['late for less than the interval', 2, { delayMs: 5_000 }, 20],
  ['late with time to spare', 100, { idleShare: 0.2 }, 20],
  ['late without processor time: other programs have it', 100, { cpuMs: 24 }, 20],
  ['late with one request per turn', 100, {}, 1],
  ['never idle, with short turns: clients that wait for each response', 100, { delayMs: 0, turns: 20 }, 20],
  ['connections that wait for a short time', 100, { delayMs: 0, acceptDelayMs: 100 }, 20],
  ['connections that wait, and time to spare', 100, { acceptDelayMs: 500, idleShare: 0.5 }, 20],
])('%s: all are let in', (_name, samples, sample, requests) => {
  expect(gateAfter(samples, sample, requests).share).toBe(1);
});

test.each<[string, Partial<LoopSample>]>([
  ['late for the interval', {}],
  ['connections that wait, one at a time', { delayMs: 0, acceptDelayMs: 200, cpuMs: 1 }],
])('%s: fewer and fewer are let in, down to 5 %%', (_name, sample) => {
  const shares = [4, 8, 16, 200].map((samples) => gateAfter(samples, sample).share);
  expect(shares).toEqual([...shares].sort((a, b) => b - a));
  expect(shares[0]).toBeLessThan(1);
  expect(shares.at(-1)).toBe(0.05);
});

test('the more it is late, the faster the share falls', () => {
  expect(gateAfter(4, { delayMs: 1_000 }).share).toBeLessThan(gateAfter(4, { delayMs: 110 }).share);
});

test('all are let in again 2 s after the last late sample', () => {
  const gate = gateAfter(200, {});
  for (let at = 0; at <= 2_000; at += 20) gate.sample({ ...LATE, delayMs: 0, now: 10_000 + at });
  expect(gate.share).toBe(1);
});

test('a clock that is set does no harm', () => {
  const gate = gateAfter(200, {});
  gate.sample({ ...LATE, delayMs: 0, now: 1e12 });
  expect(gate.share).toBeLessThan(0.2);
  for (let at = 0; at < 10; at += 1) {
    for (let n = 0; n < 20; n += 1) gate.admits('normal');
    gate.sample({ ...LATE, now: at * 50 });
  }
  expect(gate.share).toBe(0.05);
});

/** What is let in of each kind, while a share of about 0.05 to 0.6 of 100 requests per sample is. */
function admitted(samples: number, arriving: Record<Priority, number>): Record<Priority, number> {
  const gate = new SheddingGate(BOUNDS);
  const counts = { high: 0, normal: 0, low: 0 };
  for (let at = 0; at < samples + 20; at += 1) {
    for (const [priority, count] of Object.entries(arriving) as [Priority, number][])
      for (let n = 0; n < count; n += 1) if (gate.admits(priority) && at >= samples) counts[priority] += 1;
    // Late until the share is wanted, then just in time: the clock stands still, so that the share does.
    gate.sample({
      ...LATE,
      delayMs: at >= samples ? 0 : gate.share === 1 ? 101 : 70,
      now: Math.min(at, samples) * 50,
    });
  }
  return counts;
}

test.each<[string, number, Record<Priority, number>]>([
  ['high first', 40, { high: 2, normal: 49, low: 49 }],
  ['normal next', 10, { high: 5, normal: 10, low: 85 }],
])('important requests pass first: %s', (_name, samples, arriving) => {
  const counts = admitted(samples, arriving);
  expect(counts.high).toBeGreaterThanOrEqual(20 * arriving.high - 1);
  expect(counts.low / arriving.low).toBeLessThanOrEqual(counts.normal / arriving.normal);
  expect(counts.low).toBeLessThan(20 * arriving.low);
});

describe('an event loop whose turn takes as long as the requests that came during the turn before', () => {
  const CAPACITY_PER_MS = 8;
  /** Of the cost of a request that is served. */
  const REJECTION_COST = 0.2;

  /** @returns what was served, as a part of the capacity, and the longest turn of the last seconds. */
  function simulate(gate: SheddingGate, load: number, forMs: number, from: number) {
    let [now, turnMs, served, longest] = [from, 1, 0, 0];
    let [sampledAt, turns] = [from, 0];
    const countFrom = from + forMs / 2;
    while (now < from + forMs) {
      const arrived = load * CAPACITY_PER_MS * turnMs;
      let admittedNow = 0;
      for (let n = 0; n < arrived; n += 1) admittedNow += gate.admits('normal') ? 1 : 0;
      const rejected = arrived - admittedNow;
      const workMs = (admittedNow + rejected * REJECTION_COST) / CAPACITY_PER_MS;
      turnMs = Math.max(1, workMs);
      now += turnMs;
      turns += 1;
      if (now > countFrom) {
        served += admittedNow;
        longest = Math.max(longest, turnMs);
      }
      if (now - sampledAt >= 10) {
        const elapsed = now - sampledAt;
        gate.sample({
          delayMs: Math.max(0, elapsed - 10),
          idleShare: Math.max(0, 1 - load),
          turns,
          cpuMs: elapsed,
          acceptDelayMs: 0,
          now,
        });
        [sampledAt, turns] = [now, 0];
      }
    }
    return { goodput: served / (CAPACITY_PER_MS * (forMs / 2)), longest, now };
  }

  test.each([
    [0.5, 0.49],
    [1.5, 0.7],
    [2, 0.6],
  ])('at %d times the capacity it serves %d of the capacity, with turns below 125 ms', (load, least) => {
    const { goodput, longest } = simulate(new SheddingGate(BOUNDS), load, 20_000, 0);
    expect(goodput).toBeGreaterThanOrEqual(least);
    expect(longest).toBeLessThan(125);
  });

  test('2 s after an overload it rejects nothing', () => {
    const gate = new SheddingGate(BOUNDS);
    const { now } = simulate(gate, 3, 10_000, 0);
    expect(gate.share).toBeLessThan(1);
    simulate(gate, 0.5, 2_000, now);
    expect(gate.share).toBe(1);
  });
});
