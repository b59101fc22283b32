/** Totals of one client's requests. */
export interface ClientTally {
  requests: number;
  limited: number;
  /** Epoch milliseconds; 0 for never. */
  firstLimitedAt: number;
}

export interface TopClient extends Readonly<ClientTally> {
  readonly client: string;
}

/** The totals of clients. When there are too many clients, some are dropped. */
export class ClientTallies {
  readonly #capacity: number;
  readonly #tallies = new Map<string, ClientTally>();
  #forgotten = 0;
  #forgottenLimited = 0;

  /** @param capacity The most clients that are counted separately, at least 1. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Number of clients. Above the capacity it is too high, because a client that was dropped may come again. */
  get clients(): number {
    return this.#tallies.size + this.#forgotten;
  }

  get limitedClients(): number {
    let count = this.#forgottenLimited;
    for (const { limited } of this.#tallies.values()) if (limited > 0) count++;
    return count;
  }

  /** Whether there were more clients than the capacity. The numbers are then estimates. */
  get full(): boolean {
    return this.#forgotten > 0;
  }

  count(client: string, allowed: boolean, now: number): void {
    let tally = this.#tallies.get(client);
    if (tally === undefined) {
      if (this.#tallies.size >= this.#capacity) this.#makeRoom();
      tally = { requests: 0, limited: 0, firstLimitedAt: 0 };
      this.#tallies.set(client, tally);
    }
    tally.requests++;
    if (allowed) return;
    if (tally.limited++ === 0) tally.firstLimitedAt = now;
  }

  /** The clients that were limited most, in that order. */
  top(count: number): readonly TopClient[] {
    let top: TopClient[] = [];
    for (const [client, tally] of this.#tallies) {
      if (tally.limited === 0) continue;
      top.push({ client, ...tally });
      if (top.length >= 2 * count + 100) top = byLimited(top).slice(0, count);
    }
    return byLimited(top).slice(0, count);
  }

  /** Drops half of the clients: those that were limited least, the oldest first. */
  #makeRoom(): void {
    const middle = [...this.#tallies.values()].map(({ limited }) => limited).sort((a, b) => a - b)[
      this.#tallies.size >> 1
    ] as number;
    let room = Math.max(1, this.#tallies.size >> 1);
    for (const [client, { limited }] of this.#tallies) {
      if (limited > middle) continue;
      this.#tallies.delete(client);
      this.#forgotten++;
      if (limited > 0) this.#forgottenLimited++;
      if (--room === 0) return;
    }
  }
}

const byLimited = (clients: readonly TopClient[]): TopClient[] =>
  [...clients].sort((a, b) => b.limited - a.limited || a.firstLimitedAt - b.firstLimitedAt || b.requests - a.requests);
