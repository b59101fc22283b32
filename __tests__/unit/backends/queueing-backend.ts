import { ConcurrencyLimit } from '../../../lib/backends/concurrency-limit.ts';
import {
  type AdaptiveConcurrencyOptions,
  adaptiveConcurrencyDefaults,
} from '../../../lib/backends/concurrency-options.ts';
import { seeded } from './fake-backend.ts';

/** A time with the same load on the same backend. */
export interface Phase {
  readonly seconds: number;
  /** Requests that arrive in a second, at random (Poisson). */
  readonly rate: number;
  /** Requests that the backend works on at a time; the others wait in its own queue, first come, first served. */
  readonly servers: number;
  /** Mean time that a server needs for a request. */
  readonly serviceMs: number;
}

/** What happened in one phase, from `fromSecond` of it on. */
export interface Measured {
  /** Responses in a second. */
  readonly goodput: number;
  /** Requests that were refused, in a second. */
  readonly refused: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly lowestLimit: number;
  readonly highestLimit: number;
}

interface Sample {
  readonly at: number;
  readonly ms: number | undefined;
  readonly limit: number;
}

/**
 * An M/M/c queue behind a limit, in a time of its own: the tests fake `performance.now()` with `now`. Requests arrive
 * whether the backend keeps up or not.
 */
export class QueueingBackend {
  readonly limit: ConcurrencyLimit;
  /** Time that a request needs: by default exponential, as in M/M/c. */
  readonly #service: (random: () => number, meanMs: number) => number;
  readonly #random: () => number;
  readonly #queue: number[] = [];
  /** The next to be done first. */
  readonly #atWork: { readonly doneAt: number; readonly sentAt: number }[] = [];
  #now = 0;

  constructor(options: AdaptiveConcurrencyOptions = {}, seed = 1, service = exponential) {
    this.limit = new ConcurrencyLimit({ ...adaptiveConcurrencyDefaults, ...options });
    this.#random = seeded(seed);
    this.#service = service;
  }

  readonly now = (): number => this.#now;

  run({ seconds, rate, servers, serviceMs }: Phase, fromSecond = 0): Measured {
    const samples: Sample[] = [];
    const begin = this.#now;
    const end = begin + seconds * 1_000;
    const pause = () => exponential(this.#random, 1_000 / rate);
    for (let arrival = begin + pause(); ; ) {
      const next = this.#atWork[0]?.doneAt ?? Number.POSITIVE_INFINITY;
      this.#now = Math.min(arrival, next, end);
      if (this.#now === end) break;
      if (this.#now === arrival) {
        arrival += pause();
        if (this.limit.hasRoom) this.#enter();
        else samples.push({ at: this.#now - begin, ms: undefined, limit: this.limit.limit });
      } else {
        samples.push({ at: this.#now - begin, ms: this.#finish(), limit: this.limit.limit });
      }
      while (this.#atWork.length < servers && this.#queue.length > 0) this.#work(serviceMs);
    }
    return measured(samples, seconds, fromSecond);
  }

  #enter(): void {
    this.limit.enter();
    this.#queue.push(this.#now);
  }

  #work(serviceMs: number): void {
    const doneAt = this.#now + this.#service(this.#random, serviceMs);
    let place = this.#atWork.length;
    while (place > 0 && (this.#atWork[place - 1] as { doneAt: number }).doneAt > doneAt) place -= 1;
    this.#atWork.splice(place, 0, { doneAt, sentAt: this.#queue.shift() as number });
  }

  #finish(): number {
    const { sentAt } = this.#atWork.shift() as { sentAt: number };
    this.limit.observe(sentAt, this.#now);
    this.limit.leave();
    return this.#now - sentAt;
  }
}

export const exponential = (random: () => number, meanMs: number): number => -Math.log(1 - random()) * meanMs;

/** One request in ten takes nine times as long as the others, with the same mean. */
export const mixed = (random: () => number, meanMs: number): number =>
  exponential(random, (random() < 0.1 ? 5 : 5 / 9) * meanMs);

function measured(samples: readonly Sample[], seconds: number, fromSecond: number): Measured {
  const late = samples.filter(({ at }) => at >= fromSecond * 1_000);
  const times = late.flatMap(({ ms }) => ms ?? []).sort((one, other) => one - other);
  const limits = late.map(({ limit }) => limit);
  const length = seconds - fromSecond;
  return {
    goodput: times.length / length,
    refused: (late.length - times.length) / length,
    p50Ms: times[Math.floor(times.length * 0.5)] ?? 0,
    p99Ms: times[Math.floor(times.length * 0.99)] ?? 0,
    lowestLimit: Math.min(...limits),
    highestLimit: Math.max(...limits),
  };
}
