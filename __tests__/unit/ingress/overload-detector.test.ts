import { expect, test } from '@jest/globals';
import { type LoopSample, OverloadDetector } from '../../../lib/ingress/overload-detector.ts';

const LOOKED_EVERY_MS = 2;
const REQUESTS_PER_LOOK = 16;

/** A detector of a process that has run for a while, and a clock. */
class Turns {
  readonly detector: OverloadDetector;
  now = 20_000;
  #sampledAt = 20_000;
  #requests = 0;
  #cpuMs = 0;

  constructor({ firstAt = 0, intervalMs = 100 } = {}) {
    this.detector = new OverloadDetector({ maxDelayMs: 100, intervalMs });
    this.detector.sees(this.#sample({ now: firstAt, delayMs: 0 }), 0);
    this.sample(0);
  }

  sample(delayMs: number): boolean {
    const isOverload = this.detector.sees(this.#sample({ now: this.now, delayMs, cpuMs: this.#cpuMs }), this.#requests);
    this.#sampledAt = this.now;
    this.#requests = 0;
    this.#cpuMs = 0;
    return isOverload;
  }

  /** No requests for a while, in which no sample is taken. */
  restart(afterMs: number): void {
    this.now += afterMs;
    this.#sampledAt = this.now;
  }

  /** Time without requests, of a garbage collection or of one slow request. */
  pause(forMs: number): void {
    this.now += forMs;
    this.#cpuMs += forMs;
  }

  /** Requests without a sample between them. @returns after how long they are an overload. */
  read(forMs: number, processorShare = 1): number | undefined {
    for (const from = this.now; this.now < from + forMs; ) {
      this.now += LOOKED_EVERY_MS;
      this.#requests += REQUESTS_PER_LOOK;
      this.#cpuMs += LOOKED_EVERY_MS * processorShare;
      const sofar = { delayMs: this.now - this.#sampledAt - 10, requests: this.#requests, now: this.now };
      if (this.detector.seesTurn({ ...sofar, cpuMs: () => this.#cpuMs })) return this.now - from;
    }
    return undefined;
  }

  #sample(some: Partial<LoopSample>): LoopSample {
    return { delayMs: 0, idleShare: 0, turns: 1, cpuMs: 0, acceptDelayMs: 0, now: 0, ...some };
  }
}

test('a turn that reads requests for longer than maxDelayMs is an overload before it ends', () => {
  expect(new Turns().read(5_000)).toBe(112);
});

test('a turn up to maxDelayMs, or up to intervalMs, is none', () => {
  expect(new Turns().read(110)).toBeUndefined();
  expect(new Turns({ intervalMs: 300 }).read(310)).toBeUndefined();
  expect(new Turns({ intervalMs: 300 }).read(320)).toBe(312);
});

test('a turn in which other programs had the processor is none', () => {
  expect(new Turns().read(400, 0.24)).toBeUndefined();
});

test('one long pause in a turn, and the requests that came during it, are none', () => {
  const turns = new Turns();
  expect(turns.read(50)).toBeUndefined();
  turns.pause(300);
  expect(turns.read(250)).toBeUndefined();
  // More than came during the pause.
  expect(turns.read(100)).toBeDefined();
});

test('slow requests, of which each takes long, are left to the samples', () => {
  const turns = new Turns();
  for (let count = 0; count < 10; count += 1) {
    turns.pause(60);
    expect(turns.read(LOOKED_EVERY_MS)).toBeUndefined();
  }
});

test('a turn that is no longer than one of the last two is a queue that does not grow', () => {
  const turns = new Turns();
  turns.now += 300;
  turns.sample(290);
  expect(turns.read(290)).toBeUndefined();
  turns.sample(280);
  expect(turns.read(302)).toBeDefined();
});

test('the first turn after a time without requests and samples counts as well', () => {
  const turns = new Turns();
  turns.restart(60_000);
  expect(turns.read(112)).toBe(112);
});

test('a pause counts in its own turn only', () => {
  const turns = new Turns();
  turns.pause(300);
  turns.read(LOOKED_EVERY_MS);
  turns.sample(0);
  turns.sample(0);
  turns.sample(0);
  expect(turns.read(112)).toBe(112);
});

test('a process that has just started may take four times as long, for its first requests', () => {
  expect(new Turns({ firstAt: 19_000 }).read(408)).toBeUndefined();
  expect(new Turns({ firstAt: 19_000 }).read(420)).toBe(412);
  const turns = new Turns({ firstAt: 19_000 });
  // 20,000 requests, in short turns.
  for (let count = 0; count < 1_250; count += 1) {
    turns.read(LOOKED_EVERY_MS);
    turns.sample(0);
  }
  expect(turns.read(200)).toBe(112);
});
