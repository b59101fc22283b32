import type { Claim, Debt, Decision, SharedMeter } from '../meter.ts';
import type { Grant, RoundTrip, RoundTripStore } from './grant.ts';

export interface GroupingMeterParts {
  readonly store: RoundTripStore;
  /** Asks for a single claim, which costs less than asking `store`. */
  readonly single: Pick<SharedMeter, 'take' | 'loaded'>;
}

interface Member {
  readonly claim: Claim;
  readonly resolve: (decision: Decision) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Sends at most two commands for each client in one turn of the event loop: one for its first claim, and one for all its other claims of
 * the turn. A burst of one client costs few commands, and no claim waits for the reply to another. Only claims of 1 are grouped.
 */
export class GroupingMeter implements SharedMeter {
  readonly loaded: Promise<void>;
  readonly #parts: GroupingMeterParts;
  /** By client, the claims of this turn after the first one. */
  #groups = new Map<string, Member[]>();

  constructor(parts: GroupingMeterParts) {
    this.#parts = parts;
    this.loaded = Promise.all([parts.store.loaded, parts.single.loaded]).then(() => {});
    this.loaded.catch(() => {});
  }

  take(claim: Claim): Promise<Decision> {
    if (claim.cost !== 1) return this.#parts.single.take(claim);
    const id = claim.limit === undefined ? claim.key : `${claim.key} ${claim.limit}`;
    const group = this.#groups.get(id);
    if (group !== undefined) return new Promise((resolve, reject) => group.push({ claim, resolve, reject }));
    // The Redis client writes in an immediate of its own, which it requests after this one. So the group travels with the first claim.
    if (this.#groups.size === 0) setImmediate(() => this.#send());
    this.#groups.set(id, []);
    return this.#parts.single.take(claim);
  }

  charge(debt: Debt): Promise<void> {
    return this.#parts.store.charge(debt);
  }

  reset(key: string): Promise<void> {
    return this.#parts.store.reset(key);
  }

  #send(): void {
    const groups = this.#groups;
    this.#groups = new Map();
    for (const members of groups.values()) {
      const [first] = members;
      if (first === undefined) continue;
      this.#parts.store.take(first.claim, members.length - 1, 0).then(
        (trip) => {
          for (const [i, { resolve }] of members.entries()) resolve(decisionFor(i, trip));
        },
        (error) => {
          for (const { reject } of members) reject(error);
        },
      );
    }
  }
}

/** The decision that the claim at this place of its group would have got if each had been sent by itself. */
function decisionFor(place: number, { decision, grant }: RoundTrip): Decision {
  if (!decision.allowed) return decision;
  const left = grant.ahead - place;
  return left >= 0 ? { ...decision, quotaStates: statesWith(left, grant) } : denialBehind(grant);
}

/** @param more How many claims of the group come after this one and pass. */
const statesWith = (more: number, { quotaStates, restsMs }: Grant) =>
  quotaStates.map(({ remaining, resetMs }, i) => ({
    remaining: remaining + more,
    resetMs: more > 0 ? (restsMs[i] as number) : resetMs,
  }));

/** For a claim that did not fit: at least one quota has nothing left. */
function denialBehind({ quotaStates }: Grant): Decision {
  const waits = quotaStates.map(({ remaining, resetMs }) => (remaining < 1 ? resetMs : 0));
  return { allowed: false, retryAfterMs: Math.max(...waits), quotaStates };
}
