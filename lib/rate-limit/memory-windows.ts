import { type ClientRateLimitInfo, MemoryStore } from 'express-rate-limit';
import type { LimiterMode } from '../core/events.ts';
import type { LimiterStore } from './limiter-store.ts';

/**
 * Fixed windows in this process. express-rate-limit's store hands out the very record that it goes on
 * counting in, and reads it some turns later: of requests that one client pipelines, each would be judged by
 * the count of the last, so that one batch over the limit loses all of its requests. Hence the copy.
 */
export class MemoryWindows extends MemoryStore implements LimiterStore {
  readonly mode: LimiterMode = 'memory';

  override async increment(key: string): Promise<ClientRateLimitInfo> {
    const counting = super.increment(key);
    const record = this.current.get(key);
    if (record === undefined) return counting;
    const { totalHits, resetTime } = record;
    await counting;
    return { totalHits, resetTime };
  }

  /** Stops the sweeping of old keys. Requests are still counted, from zero. */
  close(): void {
    this.shutdown();
  }
}
