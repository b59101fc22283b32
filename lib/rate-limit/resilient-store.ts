import type { ClientRateLimitInfo, Options } from 'express-rate-limit';
import type { LimiterMode } from '../core/events.ts';
import { DeadlineError, withDeadline } from './deadline.ts';
import type { LimiterStore, ModeListener } from './limiter-store.ts';
import type { RedisClient } from './redis-client.ts';
import { RedisLink } from './redis-link.ts';
import type { RedisUrl } from './redis-url.ts';
import type { OpenSharedCounts, SharedCounts } from './shared-counts.ts';
import { SkipRule } from './skip-rule.ts';

export interface ResilientStoreParts {
  readonly redis: RedisClient | RedisUrl;
  /** Milliseconds that one call of Redis may take. */
  readonly timeoutMs: number;
  /** Counts while Redis fails. */
  readonly local: LimiterStore;
  readonly openShared: OpenSharedCounts;
  readonly onModeChange: ModeListener;
}

/**
 * Counts in Redis, and in this process while Redis is away: it never rejects, and takes no longer than its
 * deadline. A hit whose reply came too late may have been counted in both places, never in none.
 */
export class ResilientStore implements LimiterStore {
  readonly #parts: ResilientStoreParts;
  readonly #link: RedisLink;
  readonly #skip = new SkipRule();
  #shared: SharedCounts | undefined;
  #mode: LimiterMode = 'redis';
  #windowMs = 0;

  constructor(parts: ResilientStoreParts) {
    this.#parts = parts;
    this.#link = new RedisLink(parts.redis, { up: () => this.#up(), down: (error) => this.#become('local', error) });
  }

  /** `redis` from the start, so that a start without Redis is a change to `local` like any other loss of it. */
  get mode(): LimiterMode {
    return this.#mode;
  }

  init(options: Options): void {
    this.#windowMs = options.windowMs;
    this.#parts.local.init?.(options);
    if (this.#link.ready) this.#up();
  }

  async increment(key: string): Promise<ClientRateLimitInfo> {
    const era = this.#admit();
    if (era === undefined) return this.#parts.local.increment(key);
    const shared = this.#open();
    try {
      const count = await this.#timed(shared.increment(key));
      this.#worked(era);
      return count;
    } catch (error) {
      this.#failed(era, shared, error as Error);
      return this.#parts.local.increment(key);
    }
  }

  /**
   * Not supported: rate-limit-redis leaves a key that never expires when it takes a hit back from a window that
   * has just ended. Only `skipFailedRequests` and `skipSuccessfulRequests` would ask for it.
   */
  decrement(): Promise<never> {
    return Promise.reject(new Error('hits cannot be taken back'));
  }

  /** Forgets the hits of one key. Rejects when Redis could not be told. */
  async resetKey(key: string): Promise<void> {
    await this.#parts.local.resetKey(key);
    await this.#timed(this.#open().resetKey(key));
  }

  close(): void {
    this.#link.close();
    this.#parts.local.close();
  }

  /** The era to ask Redis in; `undefined` when the hit has to be counted here. */
  #admit(): number | undefined {
    if (this.#link.ready) return this.#skip.enter(Date.now());
    this.#link.wake();
    if (this.#mode !== 'local') this.#become('local', new Error('Redis is not connected'));
    return undefined;
  }

  /** Made anew after each failure, because rate-limit-redis keeps a script load that failed for ever. */
  #open(): SharedCounts {
    this.#shared ??= this.#parts.openShared((args) => this.#link.send(args), this.#windowMs);
    return this.#shared;
  }

  #timed<T>(work: Promise<T>): Promise<T> {
    return withDeadline(work, this.#parts.timeoutMs, this.#onLate);
  }

  readonly #onLate = (): void => this.#skip.repliedLate();

  #up(): void {
    this.#skip.end();
    this.#shared = undefined;
    const era = this.#skip.enter(Date.now());
    if (era === undefined) return;
    const shared = this.#open();
    this.#timed(shared.loaded).then(
      () => this.#worked(era),
      (error: Error) => this.#failed(era, shared, error),
    );
  }

  #worked(era: number): void {
    if (this.#skip.succeeded(era) && this.#mode !== 'redis') this.#become('redis', undefined);
  }

  #failed(era: number, shared: SharedCounts, error: Error): void {
    if (this.#shared === shared) this.#shared = undefined;
    if (this.#skip.failed(era, Date.now(), error instanceof DeadlineError)) this.#become('local', error);
  }

  #become(mode: LimiterMode, error: Error | undefined): void {
    const from = this.#mode;
    if (from === mode) return;
    this.#mode = mode;
    this.#parts.onModeChange(from, mode, error);
  }
}
