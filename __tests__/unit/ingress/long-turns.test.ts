import { expect, test } from '@jest/globals';
import { SheddingGate } from '../../../lib/ingress/shedding-gate.ts';

/** Milliseconds of processor time, as measured: for a request that is forwarded, and for its response. */
const REQUEST_MS = 0.055;
const RESPONSE_MS = 0.04;
const REJECTION_MS = 0.018;
/** For a request that finds no free connection to a backend. A connection is free again when the turn of its response is over. */
const CONNECT_MS = 0.03;
const CAPACITY_PER_MS = 1 / (REQUEST_MS + RESPONSE_MS);
/** libuv reads as many sockets at once, and if all of them were ready it reads more in the same turn, up to so many times. */
const SOCKETS_AT_ONCE = 1_024;
const READS_PER_TURN = 48;
const CONNECTIONS = 6_000;
const BACKEND_CONNECTIONS = 500;
const SAMPLE_MS = 10;
const LOOK_EVERY = 16;

interface Event {
  /** When the client sent the request. */
  readonly sentAt: number;
  readonly isResponse: boolean;
}

/** Clients that begin to send more than the process can serve. A request that finds all connections busy waits for one. */
class Onset {
  readonly good: number[] = [];
  readonly rejected: number[] = [];
  readonly #gate = new SheddingGate({ maxDelayMs: 100, intervalMs: 100 });
  readonly #everyMs: number;
  #now = 0;
  #sentAt = 0;
  #free = CONNECTIONS;
  #freeToBackends = BACKEND_CONNECTIONS;
  #ready: Event[] = [];
  #admitted: number[] = [];
  #ended = 0;
  #sampledAt = 0;
  #unseen = 0;
  #isInTurn = false;

  constructor(load: number) {
    this.#everyMs = 1 / (load * CAPACITY_PER_MS);
    // The process is no longer young.
    this.#gate.sample({ delayMs: 0, idleShare: 1, turns: 1, cpuMs: 0, acceptDelayMs: 0, now: -20_000 });
  }

  run(forMs: number): void {
    while (this.#now < forMs) {
      const sinceSampleMs = this.#now - this.#sampledAt;
      if (sinceSampleMs >= SAMPLE_MS) {
        const delayMs = sinceSampleMs - SAMPLE_MS;
        this.#gate.sample({ delayMs, idleShare: 0, turns: 1, cpuMs: sinceSampleMs, acceptDelayMs: 0, now: this.#now });
        this.#sampledAt = this.#now;
      }
      this.#turn();
      this.#now = Math.max(this.#now, this.#sentAt);
    }
  }

  #turn(): void {
    this.#isInTurn = false;
    for (let reads = 1, areAllReady = true; areAllReady && reads <= READS_PER_TURN; reads += 1) {
      this.#arrive();
      const events = this.#ready.splice(0, SOCKETS_AT_ONCE);
      areAllReady = events.length === SOCKETS_AT_ONCE;
      for (const event of events) this.#read(event);
    }
    if (this.#isInTurn) this.#gate.turnEnded(this.#now);
    this.#freeToBackends += this.#ended;
    this.#ended = 0;
  }

  #arrive(): void {
    for (; this.#free > 0 && this.#sentAt <= this.#now; this.#sentAt += this.#everyMs) {
      this.#free -= 1;
      this.#ready.push({ sentAt: this.#sentAt, isResponse: false });
    }
    for (const sentAt of this.#admitted) this.#ready.push({ sentAt, isResponse: true });
    this.#admitted = [];
  }

  #read({ sentAt, isResponse }: Event): void {
    if (isResponse) {
      this.#now += RESPONSE_MS;
      this.#ended += 1;
      this.#end(this.good, sentAt);
    } else if (this.#isIn()) {
      this.#now += REQUEST_MS;
      if (this.#freeToBackends > 0) this.#freeToBackends -= 1;
      else this.#now += CONNECT_MS;
      this.#admitted.push(sentAt);
    } else {
      this.#now += REJECTION_MS;
      this.#end(this.rejected, sentAt);
    }
  }

  /** As `LoadShedder` asks. */
  #isIn(): boolean {
    this.#unseen += 1;
    const cpuMs = () => this.#now - this.#sampledAt;
    if (this.#unseen % LOOK_EVERY === 0 && this.#gate.look(cpuMs() - SAMPLE_MS, this.#now, cpuMs)) {
      this.#isInTurn = true;
      this.#gate.turnBegan(this.#now - 100);
    }
    if (this.#gate.isShedding && !this.#isInTurn) {
      this.#isInTurn = true;
      this.#gate.turnBegan(this.#now);
    }
    return this.#gate.admits('normal', this.#now);
  }

  #end(times: number[], sentAt: number): void {
    this.#free += 1;
    times.push(this.#now - sentAt);
  }
}

const p99 = (times: readonly number[]) => [...times].sort((a, b) => a - b)[Math.floor(0.99 * times.length)];

test.each([1.2, 1.5, 2])('the first seconds of an overload at %d times the capacity meet the targets', (load) => {
  const onset = new Onset(load);
  onset.run(4_000);
  expect(onset.good.length / (4_000 * CAPACITY_PER_MS)).toBeGreaterThan(0.6);
  expect(p99(onset.good)).toBeLessThan(250);
  expect(p99(onset.rejected)).toBeLessThan(100);
});

test('a load below the capacity is served whole', () => {
  const onset = new Onset(0.95);
  onset.run(4_000);
  expect(onset.rejected).toEqual([]);
});
