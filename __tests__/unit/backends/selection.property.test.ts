import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { hashKey } from '../../../lib/backends/selection/hash.ts';
import { LeastLatency } from '../../../lib/backends/selection/least-latency.ts';
import { LeastRequests } from '../../../lib/backends/selection/least-requests.ts';
import { RendezvousHash } from '../../../lib/backends/selection/rendezvous-hash.ts';
import { RoundRobin } from '../../../lib/backends/selection/round-robin.ts';
import type { SelectionPolicy } from '../../../lib/backends/selection/selection-policy.ts';
import { StickyCookie } from '../../../lib/backends/selection/sticky-cookie.ts';
import { WeightedRoundRobin } from '../../../lib/backends/selection/weighted-round-robin.ts';
import { exchange, type FakeBackend, manyBackends, seeded } from './fake-backend.ts';

const POLICIES: readonly [string, () => SelectionPolicy][] = [
  ['round robin', () => new RoundRobin()],
  ['weighted', () => new WeightedRoundRobin()],
  ['least requests', () => new LeastRequests(seeded(1))],
  ['latency', () => new LeastLatency(seeded(1))],
  ['hash', () => new RendezvousHash(hashKey('ip'), 1.25)],
  ['hash of a missing field', () => new RendezvousHash(hashKey({ header: 'x' }), 1.25)],
  ['sticky', () => new StickyCookie({ secrets: ['s'.repeat(32)], cookie: 'lb', fallback: new WeightedRoundRobin() })],
];

/** Something that happens between two picks. */
const step = fc.record({
  kind: fc.constantFrom('toggle', 'toggle', 'outage', 'weigh', 'load', 'slow', 'measure', 'replace'),
  which: fc.nat(99),
  number: fc.nat(9),
  tried: fc.array(fc.nat(99), { maxLength: 3 }),
  picks: fc.integer({ min: 1, max: 5 }),
});

/** @returns the pool as it is then: another array when membership or a weight changed. */
function happen(
  { kind, which, number }: { readonly kind: string; readonly which: number; readonly number: number },
  all: readonly FakeBackend[],
  members: readonly FakeBackend[],
): readonly FakeBackend[] {
  const backend = all[which % all.length] as FakeBackend;
  if (kind === 'toggle') backend.available = !backend.available;
  if (kind === 'outage') for (const one of all) one.available = one === backend;
  if (kind === 'weigh') backend.weight = number;
  if (kind === 'load') backend.inFlight = number * number;
  if (kind === 'slow') backend.share = (number + 1) / 10;
  if (kind === 'measure') backend.latencyMs = number;
  if (kind === 'weigh') return [...members];
  return kind === 'replace' ? all.filter((_, index) => (index + which) % (number + 1) !== 0) : members;
}

describe.each(POLICIES)('%s', (_name, makePolicy) => {
  test.each([[5], [40], [100]])('picks one of %i that is available and untried, whenever there is one', (count) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const all = manyBackends(count);
        const policy = makePolicy();
        let members: readonly FakeBackend[] = all;
        for (const one of steps) {
          members = happen(one, all, members);
          const tried = one.tried.map((index) => all[index % all.length] as FakeBackend);
          for (let pick = 0; pick < one.picks; pick += 1) {
            const candidates = members.filter((member) => member.isAvailable() && !tried.includes(member));
            const picked = policy.select(members, exchange({ address: `192.0.2.${pick}` }), tried);
            if (candidates.length === 0) expect(picked).toBeUndefined();
            else expect(candidates).toContain(picked);
          }
        }
      }),
      { numRuns: 60 },
    );
  });
});
