import type { BackendView } from './selection-policy.ts';

/**
 * How far each backend of a pool is behind its share of the requests, or ahead of it: the `current_weight` of nginx's
 * smooth weighted round robin, by the backend's place in the pool.
 */
export class WeightedTurns {
  /** What each backend is owed, in points of weight. */
  owed = new Float64Array(0);
  #members: readonly BackendView[] = [];
  #totalWeight = 0;

  /** Those who stay are still owed what they were; a new one starts even, neither with a burst nor with a wait. */
  adopt(members: readonly BackendView[]): void {
    const before = new Map(this.#members.map((member, index) => [member, this.owed[index] as number]));
    const totalWeight = members.reduce((sum, member) => sum + member.weight, 0);
    // A point is worth less where weights are a thousand times larger.
    const scale = this.#totalWeight === 0 ? 0 : totalWeight / this.#totalWeight;
    this.owed = Float64Array.from(members, (member) => (before.get(member) ?? 0) * scale);
    this.#members = members;
    this.#totalWeight = totalWeight;
  }

  /** Nobody is owed, or owes, more than so much. */
  limit(points: number): void {
    const { owed } = this;
    for (let index = 0; index < owed.length; index += 1) {
      owed[index] = Math.max(-points, Math.min(points, owed[index] as number));
    }
  }
}
