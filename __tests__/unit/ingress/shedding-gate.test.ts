import { describe, expect, test } from '@jest/globals';
import type { LoopSample } from '../../../lib/ingress/overload-detector.ts';
import { type Priority, SheddingGate } from '../../../lib/ingress/shedding-gate.ts';

const BOUNDS = { maxDelayMs: 100, intervalMs: 100 };
/** An event loop that is late, and busy with requests. */
const LATE: Omit<LoopSample, 'now'> = { delayMs: 200, idleShare: 0, turns: 1, cpuMs: 200, acceptDelayMs: 0 };

/** One of a process that is no longer young. */
function grownGate(): SheddingGate {
  const gate = new SheddingGate(BOUNDS);
  gate.sample({ ...LATE, delayMs: 0, now: -20_000 });
  return gate;
}

/** Takes a sample every 50 ms, each after some requests. */
function gateAfter(samples: number, sample: Partial<LoopSample>, requests = 20, gate = grownGate()): SheddingGate {
  for (let at = 0; at < samples; at += 1) {
    for (let n = 0; n < requests; n += 1) gate.admits('normal', 0);
    gate.sample({ ...LATE, ...sample, now: at * 50 });
  }
  return gate;
}

test.each<[string, number, Partial<LoopSample>, number]>([
  ['in time', 100, { delayMs: 100 }, 20],
  ['late once', 1, { delayMs: 5_000 }, 20],
  ['late with time to spare', 100, { idleShare: 0.2 }, 20],
  ['late without processor time: other programs have it', 100, { cpuMs: 24 }, 20],
  ['late with one request per turn', 100, {}, 1],
  ['never idle, with short turns: clients that wait for each response', 100, { delayMs: 0, turns: 20 }, 20],
  ['connections that wait for a short time', 100, { delayMs: 0, acceptDelayMs: 100 }, 20],
  ['connections that wait, for less than a second', 20, { delayMs: 0, acceptDelayMs: 5_000 }, 20],
  ['connections that wait, and time to spare', 100, { acceptDelayMs: 500, idleShare: 0.5 }, 20],
])('%s: all are let in', (_name, samples, sample, requests) => {
  expect(gateAfter(samples, sample, requests).isShedding).toBe(false);
});

test.each<[string, number, Partial<LoopSample>]>([
  ['late for the interval', 4, {}],
  ['connections that wait for a second, one at a time', 22, { delayMs: 0, acceptDelayMs: 200, cpuMs: 1 }],
])('%s: not all are let in', (_name, samples, sample) => {
  expect(gateAfter(samples, sample).isShedding).toBe(true);
});

test('a process that has just started may run four times as late', () => {
  const young = () => new SheddingGate(BOUNDS);
  expect(gateAfter(20, { delayMs: 390, cpuMs: 390 }, 20, young()).isShedding).toBe(false);
  expect(gateAfter(20, { delayMs: 410, cpuMs: 410 }, 20, young()).isShedding).toBe(true);
  // By time, and by requests.
  expect(gateAfter(300, { delayMs: 390, cpuMs: 390 }, 20, young()).isShedding).toBe(true);
  expect(gateAfter(20, { delayMs: 390, cpuMs: 390 }, 2_000, young()).isShedding).toBe(true);
});

test('a queue that shrinks by itself, as after a pause of the process, is no overload', () => {
  const gate = grownGate();
  let now = 1_000;
  // What came meanwhile is read after the sample.
  gate.sample({ ...LATE, delayMs: 1_000, now });
  for (let delayMs = 700; delayMs > 1; delayMs *= 0.7) {
    now += delayMs;
    for (let n = 0; n < 20; n += 1) gate.admits('normal', 0);
    gate.sample({ ...LATE, delayMs, cpuMs: delayMs, now });
    expect(gate.isShedding).toBe(false);
  }
});

test('turns with requests and turns with their responses are no shrinking queue', () => {
  const gate = grownGate();
  let now = 0;
  for (const delayMs of [360, 200, 400, 240]) {
    now += delayMs;
    for (let n = 0; n < 20; n += 1) gate.admits('normal', 0);
    gate.sample({ ...LATE, delayMs, cpuMs: delayMs, now });
  }
  expect(gate.isShedding).toBe(true);
});

test('after a pause of the clients, as many requests are let in as the event loop was idle for', () => {
  const gate = gateAfter(20, {});
  let now = 1_000;
  const isAdmittedAfter = (ms: number) => {
    gate.turnBegan(now);
    const isAdmitted = gate.admits('normal', now + ms);
    gate.turnEnded(now + ms);
    now += ms;
    return isAdmitted;
  };
  // Turns of 100 ms narrow the window.
  for (let turn = 0; turn < 50; turn += 1) isAdmittedAfter(100);
  expect(isAdmittedAfter(15)).toBe(false);
  const pause = () => {
    gate.sample({ ...LATE, cpuMs: 1_000, now });
    for (let sample = 0; sample < 3; sample += 1) {
      now += 10;
      gate.sample({ ...LATE, delayMs: 0, idleShare: 1, cpuMs: 0, now });
    }
  };
  pause();
  expect(isAdmittedAfter(31)).toBe(false);
  pause();
  expect(isAdmittedAfter(29)).toBe(true);
  expect(isAdmittedAfter(29)).toBe(false);
});

test.each([
  ['alone', 0],
  ['between rejected ones, which take longer', 100],
])('of high requests, each turn admits as many as take twice the longest turn: %s', (_name, rejectedMs) => {
  const gate = gateAfter(20, {});
  for (const from of [10_000, 20_000]) {
    let now = from;
    let admitted = 0;
    gate.turnBegan(now);
    // Longer than any window.
    now += 40;
    for (let n = 0; n < 20; n += 1) {
      if (gate.admits('high', now)) {
        admitted += 1;
        now += 10;
      }
      if (rejectedMs === 0) continue;
      expect(gate.admits('normal', now)).toBe(false);
      now += rejectedMs;
    }
    // The last one begins before the 60 ms are over.
    expect(admitted).toBe(7);
    gate.turnEnded(now);
  }
});

test('a clock that is set does no harm', () => {
  const gate = gateAfter(20, {});
  gate.sample({ ...LATE, delayMs: 0, now: 1e12 });
  expect(gate.isShedding).toBe(false);
  for (let at = 0; at < 10; at += 1) {
    for (let n = 0; n < 20; n += 1) gate.admits('normal', 0);
    gate.sample({ ...LATE, now: at * 50 });
  }
  expect(gate.isShedding).toBe(true);
});

describe('an event loop that reads in each turn what has come during the turn before', () => {
  /** Milliseconds of processor time for a request that is forwarded: a part for the request, and a part for the response in the next turn. */
  const REQUEST_MS = 0.025;
  const RESPONSE_MS = 0.015;
  const CAPACITY_PER_MS = 1 / (REQUEST_MS + RESPONSE_MS);
  /** As measured, of the cost of a request that is forwarded. */
  const REJECTION_COST = 0.2;
  const REJECTION_MS = REJECTION_COST / CAPACITY_PER_MS;

  interface Run {
    /** What was served, as a part of the capacity. */
    readonly goodput: number;
    readonly longestTurnMs: number;
    readonly served: Record<Priority, number>;
    readonly offered: Record<Priority, number>;
    readonly sheddingAfterMs: number;
    readonly now: number;
  }

  class Loop {
    readonly gate = grownGate();
    now = 0;
    #turnMs = 0.1;
    #responses = 0;
    #sampledAt = 0;
    #turns = 0;
    #due: Record<Priority, number> = { high: 0, normal: 0, low: 0 };

    /** @param loads What comes of each kind, as a part of the capacity. @returns What was in the second half of the time. */
    run(loads: Partial<Record<Priority, number>>, forMs: number): Run {
      const [from, countFrom] = [this.now, this.now + forMs / 2];
      const served = { high: 0, normal: 0, low: 0 };
      const offered = { high: 0, normal: 0, low: 0 };
      let [longestTurnMs, sheddingAfterMs] = [0, Number.POSITIVE_INFINITY];
      while (this.now < from + forMs) {
        const isCounted = this.now >= countFrom;
        const events = this.#events(loads);
        const turnFrom = this.now;
        this.gate.turnBegan(this.now);
        for (const event of events) {
          if (event === 'response') this.now += RESPONSE_MS;
          else {
            const isIn = this.gate.admits(event, this.now);
            if (isCounted) {
              offered[event] += 1;
              if (isIn) served[event] += 1;
            }
            if (isIn) this.#responses += 1;
            this.now += isIn ? REQUEST_MS : REJECTION_MS;
          }
        }
        const busyMs = this.now - turnFrom;
        if (this.gate.isShedding) this.gate.turnEnded(this.now);
        // Without work it waits for the next request.
        this.now = Math.max(this.now, turnFrom + 0.1);
        this.#turnMs = this.now - turnFrom;
        this.#turns += 1;
        if (isCounted) longestTurnMs = Math.max(longestTurnMs, busyMs);
        this.#sample(loads);
        if (this.gate.isShedding) sheddingAfterMs = Math.min(sheddingAfterMs, this.now - from);
      }
      const all = served.high + served.normal + served.low;
      const goodput = all / (CAPACITY_PER_MS * (this.now - countFrom));
      return { goodput, longestTurnMs, served, offered, sheddingAfterMs, now: this.now };
    }

    /** The requests and responses of a turn, evenly mixed. */
    #events(loads: Partial<Record<Priority, number>>): (Priority | 'response')[] {
      const placed: { at: number; event: Priority | 'response' }[] = [];
      const place = (event: Priority | 'response', count: number) => {
        for (let n = 0; n < count; n += 1) placed.push({ at: (n + 0.5) / count, event });
      };
      for (const [priority, load] of Object.entries(loads) as [Priority, number][]) {
        this.#due[priority] += load * CAPACITY_PER_MS * this.#turnMs;
        const count = Math.floor(this.#due[priority]);
        this.#due[priority] -= count;
        place(priority, count);
      }
      place('response', this.#responses);
      this.#responses = 0;
      return placed.sort((a, b) => a.at - b.at).map(({ event }) => event);
    }

    #sample(loads: Partial<Record<Priority, number>>): void {
      const elapsed = this.now - this.#sampledAt;
      if (elapsed < 10) return;
      const load = Object.values(loads).reduce((sum, one) => sum + one, 0);
      const idleShare = Math.max(0, 1 - load);
      const delayMs = Math.max(0, elapsed - 10);
      this.gate.sample({ delayMs, idleShare, turns: this.#turns, cpuMs: elapsed, acceptDelayMs: 0, now: this.now });
      this.#sampledAt = this.now;
      this.#turns = 0;
    }
  }

  test.each([
    [0.5, 0.499],
    [0.95, 0.949],
    [1.5, 0.85],
    [2, 0.7],
    [3, 0.4],
  ])('at %d times the capacity it serves %d of the capacity, in short turns', (load, least) => {
    const { goodput, longestTurnMs } = new Loop().run({ normal: load }, 10_000);
    expect(goodput).toBeGreaterThanOrEqual(least);
    expect(longestTurnMs).toBeLessThan(60);
  });

  test('an overload is seen within a second, and is over a second after it', () => {
    const loop = new Loop();
    expect(loop.run({ normal: 2 }, 5_000).sheddingAfterMs).toBeLessThan(1_000);
    const after = loop.run({ normal: 0.5 }, 1_200);
    expect(loop.gate.isShedding).toBe(false);
    expect(after.served).toEqual(after.offered);
  });

  test('while it is shedding, a load that it can serve is served', () => {
    const loop = new Loop();
    loop.run({ normal: 3 }, 5_000);
    expect(loop.gate.isShedding).toBe(true);
    const after = loop.run({ normal: 0.5 }, 400);
    expect(after.served).toEqual(after.offered);
  });

  test.each<[string, Record<Priority, number>]>([
    ['high requests, and no others to speak of', { high: 0.6, normal: 0.7, low: 0.7 }],
    ['high ones and most of the normal ones', { high: 0.1, normal: 0.4, low: 1.5 }],
  ])('important requests pass first: %s', (_name, loads) => {
    const { served, offered, longestTurnMs, goodput } = new Loop().run(loads, 20_000);
    expect(served.high / offered.high).toBeGreaterThan(0.99);
    const [normal, low] = [served.normal / offered.normal, served.low / offered.low];
    expect(low).toBeLessThan(normal / 2);
    expect(goodput).toBeGreaterThan(0.6);
    expect(longestTurnMs).toBeLessThan(60);
  });
});
