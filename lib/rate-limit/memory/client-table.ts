import { ClientRecord } from '../algorithms/algorithm.ts';
import { ownCopy } from '../client-key.ts';

/** Upper bound of shards. A shard is small enough to grow, or to be dropped, without a noticeable pause. */
const MOST_SHARDS = 128;
const LEAST_KEYS_PER_SHARD = 64;
/** Old records that are examined to make room for one new client. */
const LOOKS = 8;

/**
 * The records of at most `maxKeys` clients. Each shard has two generations. A record that is used moves to the younger one, and the older
 * one is dropped whole once its records have expired.
 *
 * When a shard is full of records that still count, all further clients share one record and limit each other until there is room. An
 * attacker who invents clients gains no more than one limit per shard.
 */
export class ClientTable {
  /** Each is made for its first client, because a gateway may have thousands of limits with few clients each. */
  readonly #shards: (Shard | undefined)[] = [];
  readonly #newShard: () => Shard;
  readonly #mask: number;
  // Random, so that an attacker cannot choose clients that all go into one shard.
  readonly #seed = Math.floor(Math.random() * 2 ** 31);

  constructor(lifetimeMs: number, maxKeys: number, onFull: () => void) {
    let count = 1;
    while (count < MOST_SHARDS && maxKeys / (count * 2) >= LEAST_KEYS_PER_SHARD) count *= 2;
    this.#mask = count - 1;
    const capacity = Math.ceil(maxKeys / count);
    this.#newShard = () => new Shard(lifetimeMs, capacity, onFull);
  }

  /** The client's record; a new one if there is none. */
  find(key: string, now: number): ClientRecord {
    const shard = this.#shard(key);
    return shard.findOwn(key, now) ?? shard.shared(now);
  }

  /** The client's own record, a new one if there is none; `undefined` where the client would have to share one. */
  findOwn(key: string, now: number): ClientRecord | undefined {
    return this.#shard(key).findOwn(key, now);
  }

  delete(key: string): void {
    this.#shard(key).delete(key);
  }

  get size(): number {
    return this.#shards.reduce((sum, shard) => sum + (shard?.size ?? 0), 0);
  }

  #shard(key: string): Shard {
    let hash = this.#seed;
    for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
    const index = (hash ^ (hash >>> 15)) & this.#mask;
    const known = this.#shards[index];
    if (known !== undefined) return known;
    const shard = this.#newShard();
    this.#shards[index] = shard;
    return shard;
  }
}

class Shard {
  readonly #lifetimeMs: number;
  readonly #capacity: number;
  readonly #onFull: () => void;
  #young = new Map<string, ClientRecord>();
  #old = new Map<string, ClientRecord>();
  #rotatedAt = 0;
  /** Shared by the clients that came when the shard was full. */
  #shared: ClientRecord | undefined;
  #looking: MapIterator<[string, ClientRecord]> | undefined;

  constructor(lifetimeMs: number, capacity: number, onFull: () => void) {
    this.#lifetimeMs = lifetimeMs;
    this.#capacity = capacity;
    this.#onFull = onFull;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  findOwn(key: string, now: number): ClientRecord | undefined {
    const since = now - this.#rotatedAt;
    if (since >= this.#lifetimeMs) this.#rotate(now);
    // The clock was set back, so the age of the old generation is unknown.
    else if (since < 0) this.#rotatedAt = now;
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old !== undefined) {
      this.#old.delete(key);
      this.#young.set(key, old);
      return old;
    }
    return this.#add(key, now);
  }

  shared(now: number): ClientRecord {
    this.#onFull();
    this.#shared ??= new ClientRecord(now);
    return this.#shared;
  }

  delete(key: string): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }

  #rotate(now: number): void {
    this.#rotatedAt = now;
    this.#old = this.#young;
    this.#young = new Map();
    this.#looking = undefined;
  }

  #add(key: string, now: number): ClientRecord | undefined {
    if (this.size >= this.#capacity && !this.#makeRoom(now)) return undefined;
    const record = new ClientRecord(now);
    this.#young.set(ownCopy(key), record);
    return record;
  }

  /** Searches a few records for an expired one, and continues next time where it stopped. */
  #makeRoom(now: number): boolean {
    for (let i = 0; i < LOOKS; i++) {
      this.#looking ??= this.#old.entries();
      const { done, value } = this.#looking.next();
      if (done) {
        this.#looking = undefined;
        return false;
      }
      if (value[1].at + this.#lifetimeMs <= now) return this.#old.delete(value[0]);
    }
    return false;
  }
}
