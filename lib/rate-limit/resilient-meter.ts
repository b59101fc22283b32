import type { LimiterMode } from '../core/events.ts';
import { GuardedStore } from './guarded-store.ts';
import { Heartbeat } from './heartbeat.ts';
import type { LimiterMeter, ModeListener } from './limiter-meter.ts';
import type { Claim, Ruling } from './meter.ts';
import type { RedisClient } from './redis-client.ts';
import { RedisLink } from './redis-link.ts';
import { RedisUrl } from './redis-url.ts';
import type { OpenSharedMeter, Send, SharedMeter } from './shared-meter.ts';
import type { StandIn } from './stand-in.ts';

export interface ResilientMeterParts {
  readonly redis: RedisClient | RedisUrl;
  /** What the limiter's keys in Redis start with. */
  readonly prefix: string;
  /** Milliseconds that one call of Redis may take. */
  readonly timeoutMs: number;
  /** Rules while Redis fails. */
  readonly standIn: StandIn;
  readonly openShared: OpenSharedMeter;
  readonly onModeChange: ModeListener;
}

/**
 * Counts in Redis, and lets a stand-in rule while Redis is away: it never rejects, and takes no longer than its
 * deadline. A hit whose reply came too late may have been counted in both places, never in none.
 *
 * While Redis is skipped, no request is sent to try it: trials are beats of the heart, which are writes as well.
 */
export class ResilientMeter implements LimiterMeter {
  readonly #parts: ResilientMeterParts;
  readonly #guarded: GuardedStore;
  readonly #heartbeat: Heartbeat;
  #link: RedisLink;
  /** Whether the connection leads to the wrong Redis. */
  #astray = false;
  #shared: SharedMeter | undefined;

  constructor(parts: ResilientMeterParts) {
    this.#parts = parts;
    const { prefix, timeoutMs, standIn, onModeChange } = parts;
    this.#heartbeat = new Heartbeat({ send: this.#send, prefix, onDue: () => this.#due() });
    this.#guarded = new GuardedStore({
      mode: 'redis',
      shared: () => this.#open(),
      timeoutMs,
      standIn,
      onModeChange,
      tryIn: (waitMs) => this.#heartbeat.start(waitMs),
      onPause: (error) => this.#paused(error),
    });
    this.#link = this.#connect();
    this.#heartbeat.start();
    if (this.#link.ready) this.#up();
  }

  /** `redis` from the start, so that a start without Redis is a change of mode like any other loss of it. */
  get mode(): LimiterMode {
    return this.#guarded.closed ? this.#parts.standIn.mode : this.#guarded.mode;
  }

  take(claim: Claim): Ruling | Promise<Ruling> {
    const guarded = this.#guarded;
    if (this.#link.ready && !guarded.skipping && !guarded.closed) return guarded.ask(claim);
    this.#miss();
    return guarded.replace(claim);
  }

  /** Rejects when Redis could not be told. */
  reset(key: string): Promise<void> {
    return this.#guarded.reset(key);
  }

  /** Ends the connection when Redis was told, or had the time of one call. */
  close(): void | Promise<void> {
    if (this.#guarded.closed) return;
    this.#guarded.close();
    this.#heartbeat.stop();
    if (!this.#link.ready || this.#guarded.skipping) {
      this.#link.close();
      return;
    }
    const end = (): void => this.#link.close();
    // Untold, Redis forgets this gateway a little later.
    return this.#guarded.timed(this.#heartbeat.retire()).then(end, end);
  }

  /** A request came and Redis cannot be asked. */
  #miss(): void {
    if (this.#guarded.closed) return;
    if (this.#link.ready) {
      this.#try();
      return;
    }
    this.#link.wake();
    if (this.#guarded.mode === 'redis') this.#guarded.lost(new Error('Redis is not connected'));
  }

  #due(): void {
    if (!this.#link.ready) return;
    if (this.#guarded.skipping) {
      if (!this.#try()) this.#guarded.awaitTrial();
      return;
    }
    this.#guarded.watch(this.#beat());
    // Those that a lone error has left; and those of a connection that broke while it was told of them.
    this.#guarded.payDebts();
  }

  /** Whether a trial was due. */
  #try(): boolean {
    if (!this.#guarded.startTrial()) return false;
    if (this.#astray && this.#parts.redis instanceof RedisUrl) {
      this.#link.close();
      this.#link = this.#connect();
    } else {
      this.#probe();
    }
    this.#astray = false;
    return true;
  }

  #connect(): RedisLink {
    return new RedisLink(this.#parts.redis, { up: () => this.#up(), down: (error) => this.#guarded.lost(error) });
  }

  #up(): void {
    if (this.#guarded.closed) return;
    this.#guarded.found();
    this.#shared = undefined;
    this.#probe();
  }

  #probe(): void {
    this.#guarded.decide(Promise.all([this.#guarded.timed(this.#open().loaded), this.#beat()]));
  }

  async #beat(): Promise<void> {
    this.#parts.standIn.shareWith(await this.#guarded.timed(this.#heartbeat.beat()));
  }

  /** Made anew after each pause, because rate-limit-redis keeps a script load that failed for ever. */
  #open(): SharedMeter {
    this.#shared ??= this.#parts.openShared(this.#send);
    return this.#shared;
  }

  readonly #send: Send = (args, key) => this.#link.send(args, key);

  #paused(error: Error): void {
    this.#shared = undefined;
    // A replica that was a primary until a moment ago: behind the same name there may be another Redis by now.
    this.#astray = error.message.startsWith('READONLY');
  }
}
