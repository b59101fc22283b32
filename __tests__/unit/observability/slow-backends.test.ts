import { describe, expect, test } from '@jest/globals';
import { Histogram } from '../../../lib/observability/metrics/histogram.ts';
import { SlowBackends } from '../../../lib/observability/problems/slow-backends.ts';

/** Backends of one proxy, looked at every two seconds as the monitor does it. */
class Rig {
  readonly #backends = new Map<string, Histogram>();
  readonly #slow = new SlowBackends();
  readonly #readings: ReturnType<Rig['totals']>[] = [];
  readonly inFlight = new Map<string, number>();

  answers(backend: string, count: number, ms: number): void {
    const heads = this.#backends.get(backend) ?? new Histogram();
    this.#backends.set(backend, heads);
    for (let i = 0; i < count; i += 1) heads.observe(ms / 1_000);
  }

  totals() {
    return new Map(
      [...this.#backends].map(([backend, heads]) => [
        backend,
        { service: 'p', backend, requests: 0, seconds: 0, heads: Float64Array.from(heads.counts) },
      ]),
    );
  }

  look(timeoutMs?: number) {
    const now = this.totals();
    this.#readings.push(now);
    if (this.#readings.length > 6) this.#readings.shift();
    const [before = now] = this.#readings;
    return this.#slow.look(before, this.#readings.at(-3) ?? before, now, this.inFlight, () => timeoutMs);
  }

  /** What is found at the end of some looks, with so many responses before each. */
  during(looks: number, backend: string, count: number, ms: number, timeoutMs?: number) {
    let found: ReturnType<Rig['look']> = [];
    for (let i = 0; i < looks; i += 1) {
      this.answers(backend, count, ms);
      found = this.look(timeoutMs);
    }
    return found;
  }
}

const start = () => {
  const rig = new Rig();
  rig.answers('a', 0, 0);
  rig.look();
  return rig;
};

describe('a backend is slow', () => {
  test('by its own past, within three looks, and not any more when it is as before', () => {
    const rig = start();
    expect(rig.during(20, 'a', 100, 4)).toEqual([]);
    const found = rig.during(3, 'a', 20, 400);
    expect(found).toMatchObject([{ backend: 'a', than: { what: 'past' } }]);
    expect(found[0]?.than.ms).toBeLessThan(10);
    expect(found[0]?.slowMs).toBeGreaterThan(250);
    expect(rig.during(4, 'a', 100, 4)).toEqual([]);
  });

  test('for as long as an outage of minutes lasts, and is the new normal after a quarter of an hour or so', () => {
    const rig = start();
    rig.during(60, 'a', 50, 4);
    expect(rig.during(60, 'a', 50, 400)).toHaveLength(1);
    expect(rig.during(900, 'a', 50, 400)).toEqual([]);
  });

  test('beside others of its proxy, from the start', () => {
    const rig = start();
    rig.answers('b', 30, 4);
    rig.answers('c', 30, 5);
    rig.answers('a', 30, 600);
    expect(rig.look()).toMatchObject([{ backend: 'a', than: { what: 'peers' } }]);
  });

  test('near the response timeout, even if that is usual', () => {
    const rig = start();
    expect(rig.during(30, 'a', 30, 700, 2_000)).toEqual([]);
    expect(rig.during(30, 'a', 30, 1_500, 2_000)).toMatchObject([{ than: { what: 'timeout', ms: 2_000 } }]);
  });

  test('when requests wait and get no response for more than six seconds', () => {
    const rig = start();
    rig.during(20, 'a', 100, 4);
    rig.inFlight.set('a', 7);
    expect(rig.during(2, 'a', 0, 0)).toEqual([]);
    expect(rig.during(1, 'a', 0, 0)).toMatchObject([{ slowMs: undefined, responses: 7, than: { what: 'silent' } }]);
    rig.inFlight.set('a', 0);
    expect(rig.look()).toEqual([]);
  });
});

describe('a backend is not slow', () => {
  test.each([
    ['for a few responses', 1, 400],
    ['for less than 100 ms more, however many times that is', 50, 40],
  ])('%s', (_name, count, ms) => {
    const rig = start();
    rig.during(30, 'a', 100, 1);
    for (let i = 0; i < 6; i += 1) rig.look();
    expect(rig.during(3, 'a', count, ms)).toEqual([]);
  });

  test('for one slow response in a hundred', () => {
    const rig = start();
    for (let i = 0; i < 30; i += 1) {
      rig.answers('a', 99, 4);
      rig.answers('a', 1, 2_000);
      expect(rig.look()).toEqual([]);
    }
  });

  test('by chance, where one request in twenty always is slow', () => {
    const rig = start();
    let seed = 7;
    const random = () => {
      seed = (seed * 16_807) % 2_147_483_647;
      return seed / 2_147_483_647;
    };
    let alarms = 0;
    for (let look = 0; look < 2_000; look += 1) {
      for (let i = 0; i < 12; i += 1) rig.answers('a', 1, random() < 0.049 ? 2_000 : 4);
      alarms += rig.look().length;
    }
    expect(alarms).toBe(0);
  });

  test('by long polls, which always were long', () => {
    const rig = start();
    expect(rig.during(60, 'a', 5, 25_000, 60_000)).toEqual([]);
    rig.inFlight.set('a', 50);
    expect(rig.during(10, 'a', 0, 0, 60_000)).toEqual([]);
  });

  test('by a guess of how much longer than 30 s, the last bound, responses took', () => {
    expect(start().during(60, 'a', 50, 31_000, 100_000)).toEqual([]);
    expect(start().during(60, 'a', 50, 31_000, 60_000)).toMatchObject([{ slowMs: 30_000 }]);
  });
});

test('backends that are gone leave no data behind', () => {
  const slow = new SlowBackends();
  const heads = Float64Array.from({ length: 15 }, () => 100);
  const one = new Map([['a', { service: 'p', backend: 'a', requests: 0, seconds: 0, heads }]]);
  slow.look(new Map(), new Map(), one, new Map(), () => undefined);
  slow.look(one, one, new Map(), new Map(), () => undefined);
  // It is back, counts from zero again, and nothing of before is compared with.
  const again = new Map([
    ['a', { ...(one.get('a') as NonNullable<ReturnType<typeof one.get>>), heads: heads.map(() => 1) }],
  ]);
  expect(slow.look(one, one, again, new Map(), () => undefined)).toEqual([]);
});
