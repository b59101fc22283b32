import { hash } from 'node:crypto';
import type { LimitedClient } from './status-snapshot.ts';

interface Counter {
  readonly key: string;
  readonly limiter: string;
  refused: number;
  overcount: number;
  lastAt: number;
  limit: number;
  shadow: boolean;
}

/** Number of clients with a counter. */
const CAPACITY = 64;
/** Length of a generation, and how many generations are kept. */
const GENERATION_MS = 5 * 60_000;
const GENERATIONS = 3;
/** Characters of an app's own key that are shown, including its prefix. */
const SHOWN = 6;

/**
 * The clients that are rejected most often, in bounded memory: the space-saving sketch of Metwally, Agrawal and
 * El Abbadi ("Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005). A new client replaces the one with the lowest
 * count and inherits that count. So a client with more than 1/64 of the rejections is certainly in it.
 */
export class TopClients {
  #generations: Map<string, Counter>[] = [];
  #startedAt = Number.NEGATIVE_INFINITY;

  note(limiter: string, key: string, limit: number, shadow: boolean): void {
    const now = Date.now();
    this.#turn(now);
    const sketch = this.#generations[0] as Map<string, Counter>;
    const id = `${limiter}\n${key}`;
    let counter = sketch.get(id);
    if (counter === undefined) {
      const inherited = sketch.size >= CAPACITY ? evictRarest(sketch) : 0;
      counter = { key, limiter, refused: inherited, overcount: inherited, lastAt: now, limit, shadow };
      sketch.set(id, counter);
    }
    counter.refused += 1;
    counter.lastAt = now;
    counter.limit = limit;
    counter.shadow = shadow;
  }

  /** The most frequent first. */
  top(count: number): LimitedClient[] {
    this.#turn(Date.now());
    const all = this.#generations.flatMap((sketch) => [...sketch.values()]);
    return mergeClients(all, count).map((client) => ({ ...client, key: shownKey(client.key) }));
  }

  /** Removes a client, after its limit was reset. */
  forget(key: string): void {
    for (const sketch of this.#generations) {
      for (const [id, counter] of sketch) if (counter.key === key) sketch.delete(id);
    }
  }

  #turn(now: number): void {
    const passed = Math.floor((now - this.#startedAt) / GENERATION_MS);
    // A wall clock that is set back also begins a generation.
    if (passed === 0) return;
    const fresh = Number.isFinite(passed) && passed > 0 ? Math.min(passed, GENERATIONS) : 1;
    for (let turn = 0; turn < fresh; turn += 1) this.#generations.unshift(new Map());
    this.#generations.length = Math.min(this.#generations.length, GENERATIONS);
    this.#startedAt = now;
  }
}

/** Adds the counts of the same client. */
export function mergeClients(clients: readonly LimitedClient[], count: number): LimitedClient[] {
  const merged = new Map<string, Counter>();
  for (const client of clients) {
    const id = `${client.limiter}\n${client.key}`;
    const known = merged.get(id);
    if (known === undefined) {
      merged.set(id, { ...client });
      continue;
    }
    known.refused += client.refused;
    known.overcount += client.overcount;
    if (client.lastAt <= known.lastAt) continue;
    known.lastAt = client.lastAt;
    known.limit = client.limit;
    known.shadow = client.shadow;
  }
  return [...merged.values()].sort((a, b) => b.refused - a.refused || b.lastAt - a.lastAt).slice(0, count);
}

/** @returns the count of the client that was removed. */
function evictRarest(sketch: Map<string, Counter>): number {
  let rarest: [string, Counter] | undefined;
  for (const entry of sketch) if (rarest === undefined || entry[1].refused < rarest[1].refused) rarest = entry;
  if (rarest === undefined) return 0;
  sketch.delete(rarest[0]);
  return rarest[1].refused;
}

/**
 * Shortens a key of the app's own function (limiters mark it with `k:`), because it may be a token or a session id. Enough of it is left to
 * recognise it.
 */
function shownKey(key: string): string {
  return key.startsWith('k:') ? `${key.slice(0, SHOWN)}\u2026${hash('sha256', key, 'hex').slice(0, 8)}` : key;
}
