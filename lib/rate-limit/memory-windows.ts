import { MemoryStore, type Options } from 'express-rate-limit';
import type { LimiterMode } from '../core/events.ts';
import { fixedWindowRuling } from './fixed-window-ruling.ts';
import type { LimiterMeter } from './limiter-meter.ts';
import type { Claim, Ruling } from './meter.ts';
import type { Quota } from './quota.ts';

/** Fixed windows in this process, by express-rate-limit's own store. */
export class MemoryWindows implements LimiterMeter {
  readonly mode: LimiterMode = 'memory';
  readonly #store = new MemoryStore();
  readonly #limit: number;

  constructor({ limit, windowMs }: Quota) {
    this.#limit = limit;
    this.#store.init({ windowMs } as Options);
  }

  /**
   * express-rate-limit's store hands out the very record that it goes on counting in. Read some turns later, of
   * requests that one client pipelines each would be judged by the count of the last, so that one batch over the limit
   * loses all of its requests. Hence it is read at once.
   */
  take(claim: Claim): Ruling | Promise<Ruling> {
    const limit = claim.limit ?? this.#limit;
    const counting = this.#store.increment(claim.key);
    const record = this.#store.current.get(claim.key);
    if (record !== undefined) return fixedWindowRuling(record, limit);
    return counting.then((counted) => fixedWindowRuling(counted, limit));
  }

  reset(key: string): Promise<void> {
    return this.#store.resetKey(key);
  }

  get size(): number {
    return this.#store.current.size + this.#store.previous.size;
  }

  /** Stops the sweeping of old keys. Requests are still counted, from zero. */
  close(): void {
    this.#store.shutdown();
  }
}
