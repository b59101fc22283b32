import type { LimiterMode } from '../core/events.ts';
import { DeadlineError, withDeadline } from './deadline.ts';
import type { LimiterMeter, ModeListener } from './limiter-meter.ts';
import type { Claim, Ruling } from './meter.ts';
import type { RedisClient } from './redis-client.ts';
import { RedisLink } from './redis-link.ts';
import type { RedisUrl } from './redis-url.ts';
import type { OpenSharedMeter, Send, SharedMeter } from './shared-meter.ts';
import { SkipRule } from './skip-rule.ts';

export interface ResilientMeterParts {
  readonly redis: RedisClient | RedisUrl;
  /** Milliseconds that one call of Redis may take. */
  readonly timeoutMs: number;
  /** Counts while Redis fails. */
  readonly local: LimiterMeter;
  readonly openShared: OpenSharedMeter;
  readonly onModeChange: ModeListener;
}

/**
 * Counts in Redis, and in this process while Redis is away: it never rejects, and takes no longer than its
 * deadline. A hit whose reply came too late may have been counted in both places, never in none.
 */
export class ResilientMeter implements LimiterMeter {
  readonly #parts: ResilientMeterParts;
  readonly #link: RedisLink;
  readonly #skip = new SkipRule();
  #shared: SharedMeter | undefined;
  #mode: LimiterMode = 'redis';

  constructor(parts: ResilientMeterParts) {
    this.#parts = parts;
    this.#link = new RedisLink(parts.redis, { up: () => this.#up(), down: (error) => this.#become('local', error) });
    if (this.#link.ready) this.#up();
  }

  /** `redis` from the start, so that a start without Redis is a change to `local` like any other loss of it. */
  get mode(): LimiterMode {
    return this.#mode;
  }

  take(claim: Claim): Ruling | Promise<Ruling> {
    const era = this.#admit();
    return era === undefined ? this.#parts.local.take(claim) : this.#ask(claim, era);
  }

  /** Rejects when Redis could not be told. */
  async reset(key: string): Promise<void> {
    await this.#parts.local.reset(key);
    await this.#timed(this.#open().reset(key));
  }

  close(): void {
    this.#link.close();
    this.#parts.local.close();
  }

  async #ask(claim: Claim, era: number): Promise<Ruling> {
    const shared = this.#open();
    try {
      const ruling = await this.#timed(shared.take(claim));
      this.#worked(era);
      return ruling;
    } catch (error) {
      this.#failed(era, shared, error as Error);
      return this.#parts.local.take(claim);
    }
  }

  /** The era to ask Redis in; `undefined` when the hit has to be counted here. */
  #admit(): number | undefined {
    if (this.#link.ready) return this.#skip.enter(Date.now());
    this.#link.wake();
    if (this.#mode !== 'local') this.#become('local', new Error('Redis is not connected'));
    return undefined;
  }

  /** Made anew after each failure, because rate-limit-redis keeps a script load that failed for ever. */
  #open(): SharedMeter {
    this.#shared ??= this.#parts.openShared(this.#send);
    return this.#shared;
  }

  #timed<T>(work: Promise<T>): Promise<T> {
    return withDeadline(work, this.#parts.timeoutMs, this.#onLate);
  }

  readonly #send: Send = (args) => this.#link.send(args);

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

  #failed(era: number, shared: SharedMeter, error: Error): void {
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
