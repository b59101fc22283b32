import { isDeepStrictEqual } from 'node:util';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import fc from 'fast-check';
import { Circuit, type Isolation, type Permit } from '../../../lib/circuit-breaker/circuit.ts';
import type { CircuitStateName } from '../../../lib/core/events.ts';
import type { Verdict } from '../../../lib/core/outcome.ts';
import { microtasks } from './microtasks.ts';

interface Rules {
  /** The ratio as a fraction, so that the model needs no floating point. */
  readonly numerator: number;
  readonly denominator: number;
  readonly minimumRequests: number;
  readonly bucketMs: number;
  readonly openMs: number;
  readonly growing: boolean;
  readonly halfOpenRequests: number;
}

interface ModelPermit {
  readonly generation: number;
  readonly isTrial: boolean;
  settled: boolean;
}

/** sony/gobreaker's rules, written down as plainly as possible: a list of calls, a generation, one setState. */
class Model {
  state: CircuitStateName = 'closed';
  readonly changes: [CircuitStateName, CircuitStateName, number][] = [];
  readonly #rules: Rules;
  #generation = 0;
  #calls: { readonly at: number; readonly failed: boolean }[] = [];
  #trialsInFlight = 0;
  #successes = 0;
  #openings = 0;
  #opensMs: number;
  #until = 0;
  #isolations = 0;

  constructor(rules: Rules) {
    this.#rules = rules;
    this.#opensMs = rules.openMs;
  }

  get counts() {
    if (this.state !== 'closed') return { calls: 0, failures: 0 };
    const bucket = (at: number) => Math.floor(at / this.#rules.bucketMs);
    const counted = this.#calls.filter(({ at }) => bucket(Date.now()) - bucket(at) < 10);
    return { calls: counted.length, failures: counted.filter(({ failed }) => failed).length };
  }

  get retryAfterMs(): number {
    if (this.available) return 0;
    if (this.state === 'open') return this.#until - Date.now();
    return this.state === 'isolated' ? Math.max(1_000, this.#opensMs) : 1_000;
  }

  get available(): boolean {
    if (this.state === 'open') return Date.now() >= this.#until;
    if (this.state === 'half-open') return this.#trialsInFlight + this.#successes < this.#rules.halfOpenRequests;
    return this.state === 'closed';
  }

  acquire(): ModelPermit | undefined {
    if (!this.available) return undefined;
    if (this.state === 'open') this.#setState('half-open');
    const isTrial = this.state === 'half-open';
    if (isTrial) this.#trialsInFlight += 1;
    return { generation: this.#generation, isTrial, settled: false };
  }

  settle(permit: ModelPermit, verdict: Verdict): void {
    if (permit.settled) return;
    permit.settled = true;
    if (permit.generation !== this.#generation) return;
    if (permit.isTrial) this.#settleTrial(verdict);
    else if (verdict !== 'neutral') this.#count(verdict === 'failure');
  }

  isolate(): { disposed: boolean } {
    if (this.state !== 'isolated') this.#setState('isolated');
    this.#isolations += 1;
    return { disposed: false };
  }

  dispose(isolation: { disposed: boolean }): void {
    if (isolation.disposed) return;
    isolation.disposed = true;
    this.#isolations -= 1;
    if (this.#isolations === 0) this.#setState('closed');
  }

  #count(failed: boolean): void {
    this.#calls.push({ at: Date.now(), failed });
    const { calls, failures } = this.counts;
    const { numerator, denominator, minimumRequests } = this.#rules;
    if (failed && calls >= minimumRequests && failures * denominator >= numerator * calls) this.#setState('open');
  }

  #settleTrial(verdict: Verdict): void {
    this.#trialsInFlight -= 1;
    if (verdict === 'failure') this.#setState('open');
    if (verdict !== 'success') return;
    this.#successes += 1;
    if (this.#successes === this.#rules.halfOpenRequests) this.#setState('closed');
  }

  #setState(to: CircuitStateName): void {
    const from = this.state;
    this.state = to;
    this.#generation += 1;
    this.#calls = [];
    this.#trialsInFlight = 0;
    this.#successes = 0;
    if (to === 'closed' || to === 'isolated') this.#openings = 0;
    if (to === 'open') {
      this.#openings += 1;
      this.#opensMs = this.#rules.growing ? this.#rules.openMs * this.#openings : this.#rules.openMs;
      this.#until = Date.now() + this.#opensMs;
    }
    this.changes.push([from, to, to === 'open' ? this.#opensMs : 0]);
  }
}

type Command =
  | { readonly kind: 'acquire' }
  | { readonly kind: 'settle'; readonly which: number; readonly verdict: Verdict }
  /** Several verdicts in one tick, before cockatiel has dealt with the first. */
  | { readonly kind: 'settle-many'; readonly whichs: readonly number[]; readonly verdicts: readonly Verdict[] }
  | { readonly kind: 'call'; readonly verdict: Verdict }
  | { readonly kind: 'advance'; readonly unit: keyof typeof UNITS; readonly times: number; readonly offset: number }
  | { readonly kind: 'isolate' }
  | { readonly kind: 'dispose'; readonly which: number };

const UNITS = {
  millisecond: () => 1,
  bucket: ({ bucketMs }: Rules) => bucketMs,
  /** To the edge of the current bucket. */
  edge: ({ bucketMs }: Rules) => bucketMs - (Date.now() % bucketMs),
  open: ({ openMs }: Rules) => openMs,
  /** To the very moment of the next trial. */
  due: (_: Rules, { retryAfterMs }: Model) => retryAfterMs,
};

/** The model and the circuit side by side: every command goes to both, then all that can be seen must be equal. */
class Pair {
  readonly #rules: Rules;
  readonly #model: Model;
  readonly #circuit: Circuit;
  readonly #changes: [CircuitStateName, CircuitStateName, number][] = [];
  readonly #permits: [ModelPermit, Permit][] = [];
  readonly #isolations: [{ disposed: boolean }, Isolation][] = [];

  constructor(rules: Rules) {
    this.#rules = rules;
    this.#model = new Model(rules);
    this.#circuit = new Circuit('pair', {
      failureRatio: rules.numerator / rules.denominator,
      minimumRequests: rules.minimumRequests,
      windowMs: rules.bucketMs * 10,
      openMs: rules.growing ? (attempt) => rules.openMs * attempt : rules.openMs,
      halfOpenRequests: rules.halfOpenRequests,
    });
    this.#circuit.onStateChange((...change) => this.#changes.push(change));
  }

  get changes(): readonly (readonly [CircuitStateName, CircuitStateName, number])[] {
    return this.#changes;
  }

  async run(command: Command): Promise<void> {
    this.#apply(command);
    await microtasks();
    this.#compare();
  }

  #apply(command: Command): void {
    switch (command.kind) {
      case 'acquire':
        this.#acquire();
        break;
      case 'settle':
        this.#settle(command.which, command.verdict);
        break;
      case 'settle-many':
        command.whichs.forEach((which, index) => {
          this.#settle(which, command.verdicts[index] as Verdict);
        });
        break;
      case 'call':
        if (this.#acquire()) this.#settle(0, command.verdict);
        break;
      case 'advance': {
        const ms = UNITS[command.unit](this.#rules, this.#model) * command.times + command.offset;
        jest.advanceTimersByTime(Math.max(0, ms));
        break;
      }
      case 'isolate':
        this.#isolations.push([this.#model.isolate(), this.#circuit.isolate()]);
        break;
      case 'dispose': {
        const isolation = this.#isolations[command.which % this.#isolations.length];
        if (isolation === undefined) break;
        this.#model.dispose(isolation[0]);
        isolation[1].dispose();
      }
    }
  }

  #acquire(): boolean {
    const available = this.#circuit.isAvailable();
    const expected = this.#model.acquire();
    const actual = this.#circuit.tryAcquire();
    expect({ available, isTrial: actual?.isTrial }).toEqual({
      available: expected !== undefined,
      isTrial: expected?.isTrial,
    });
    if (expected !== undefined && actual !== undefined) this.#permits.push([expected, actual]);
    return actual !== undefined;
  }

  /** @param which Counts from the newest. Settled permits stay in the list: settling twice is a case as well. */
  #settle(which: number, verdict: Verdict): void {
    const pair = this.#permits.at(-1 - (which % this.#permits.length));
    if (pair === undefined) return;
    this.#model.settle(pair[0], verdict);
    pair[1].settle(verdict);
  }

  #compare(): void {
    const { state, available, retryAfterMs, counts, changes } = this.#model;
    const circuit = this.#circuit;
    const expected = { state, available, retryAfterMs, counts, changes };
    const actual = {
      state: circuit.state,
      available: circuit.isAvailable(),
      retryAfterMs: circuit.retryAfterMs(),
      counts: circuit.counts,
      changes: this.#changes,
    };
    // `toEqual()` alone takes most of the time of these hundred thousand comparisons.
    if (!isDeepStrictEqual(actual, expected)) expect(actual).toEqual(expected);
  }
}

const verdict = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Verdict>('failure') },
  { weight: 4, arbitrary: fc.constant<Verdict>('success') },
  { weight: 2, arbitrary: fc.constant<Verdict>('neutral') },
);
const which = fc.nat(7);
const many = fc
  .array(fc.tuple(which, verdict), { minLength: 2, maxLength: 6 })
  .map((pairs): Command => ({ kind: 'settle-many', whichs: pairs.map(([w]) => w), verdicts: pairs.map(([, v]) => v) }));

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Command>({ kind: 'acquire' }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('settle' as const), which, verdict }) },
  { weight: 2, arbitrary: many },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('call' as const), verdict }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('advance' as const),
      unit: fc.constantFrom(...(Object.keys(UNITS) as (keyof typeof UNITS)[])),
      times: fc.constantFrom(1, 1, 1, 2, 9, 10, 11),
      offset: fc.constantFrom(0, 0, -1, 1),
    }),
  },
  { weight: 1, arbitrary: fc.constant<Command>({ kind: 'isolate' }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('dispose' as const), which }) },
);

const rules: fc.Arbitrary<Rules> = fc
  .record({
    fraction: fc.constantFrom([3, 5], [1, 2], [2, 3], [7, 100], [1, 10], [29, 100], [1, 1], [4, 7]),
    minimumRequests: fc.integer({ min: 1, max: 8 }),
    bucketMs: fc.constantFrom(1, 7, 100, 1_000),
    openMs: fc.constantFrom(1, 30, 999, 10_000),
    growing: fc.boolean(),
    halfOpenRequests: fc.integer({ min: 1, max: 4 }),
  })
  .map(({ fraction: [numerator = 1, denominator = 1], ...others }) => ({ numerator, denominator, ...others }));

beforeEach(() => void jest.useFakeTimers());
afterEach(() => void jest.useRealTimers());

test('the circuit behaves like its model, in every state and at every step', async () => {
  const reached = new Set<string>();
  await fc.assert(
    fc.asyncProperty(rules, fc.array(command, { minLength: 10, maxLength: 60 }), async (given, commands) => {
      const pair = new Pair(given);
      for (const each of commands) await pair.run(each);
      for (const [from, to] of pair.changes) reached.add(`${from} to ${to}`);
    }),
    { numRuns: 3_000 },
  );
  // The sequences are worth something only if they get everywhere.
  expect([...reached].sort()).toEqual([
    'closed to isolated',
    'closed to open',
    'half-open to closed',
    'half-open to isolated',
    'half-open to open',
    'isolated to closed',
    'open to half-open',
    'open to isolated',
  ]);
});
