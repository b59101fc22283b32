import type { LimiterMode } from '../../core/events.ts';
import type { Claim, Decision, LimiterMeter, ModeListener, Send, SharedMeter } from '../meter.ts';
import { Heartbeat } from '../redis/heartbeat.ts';
import { RedisUrl } from '../redis/redis-address.ts';
import type { RedisClient } from '../redis/redis-client.ts';
import { RedisLink } from '../redis/redis-link.ts';
import { type Link, SharedRedis } from '../redis/shared-redis.ts';
import type { Fallback } from './fallback.ts';
import { GuardedStore } from './guarded-store.ts';
import type { MissRule } from './store-breaker.ts';

export interface ResilientMeterParts {
  readonly redis: RedisClient | RedisUrl;
  /** What the limiter's keys in Redis start with. */
  readonly prefix: string;
  /** Milliseconds that one call of Redis may take. */
  readonly timeoutMs: number;
  readonly missRule: MissRule;
  /** Decides while Redis fails. */
  readonly fallback: Fallback;
  readonly openShared: (send: Send) => SharedMeter;
  readonly onModeChange: ModeListener;
}

/** So long after this gateway has announced itself, others that started with it have heard of it. */
const HEARD_AFTER_MS = 300;
/** The longest wait for Redis at a start. */
const LONGEST_START_MS = 5_000;
/** After which all gateways that live are back at a Redis that is back: they try to connect once a second. */
const RETURN_MS = 3_000;

/**
 * Counts in Redis, and lets a fallback decide while Redis is away: it never rejects, and takes no longer than its
 * deadline. A hit that was under way when the connection broke may have been counted in both places, never in none.
 *
 * While Redis is skipped, no request is sent to try it: trials are beats of the heart, which are writes as well.
 */
export class ResilientMeter implements LimiterMeter {
  readonly #parts: ResilientMeterParts;
  readonly #guarded: GuardedStore;
  readonly #heartbeat: Heartbeat;
  /** Ends when Redis was reached for the first time, or not. */
  readonly #started = Promise.withResolvers<void>();
  #link: Link;
  /** What Redis, or the connection to it, failed with last. */
  #error: Error | undefined;
  #shared: SharedMeter | undefined;
  /**
   * Ends when a new connection was tried. At a start, requests wait for that, one deadline at most. Where the fallback decides
   * already, it goes on until then: a connection says little, and Redis may still answer with errors.
   */
  #gate: Promise<void> | undefined = this.#started.promise;
  #gateways = 1;
  /** While not all gateways that there were are back, they may still count apart. */
  #awaited = 0;
  #awaitedUntil = 0;

  constructor(parts: ResilientMeterParts) {
    this.#parts = parts;
    const { prefix, timeoutMs, missRule, fallback, onModeChange } = parts;
    this.#started.promise.catch(() => {});
    this.#heartbeat = new Heartbeat({ send: this.#send, prefix, onDue: () => this.#due() });
    this.#guarded = new GuardedStore({
      mode: 'redis',
      shared: () => this.#open(),
      timeoutMs,
      missRule,
      fallback,
      onModeChange,
      tryIn: (waitMs) => this.#heartbeat.start(waitMs),
      onPause: (error) => this.#paused(error),
    });
    this.#link = this.#connect();
    if (this.#parts.redis instanceof SharedRedis) this.#share();
    this.#heartbeat.start();
    if (this.#link.ready) this.#up();
  }

  /** `redis` from the start, so that a start without Redis is a change of mode like any other loss of it. */
  get mode(): LimiterMode {
    return this.#guarded.closed ? this.#parts.fallback.mode : this.#guarded.mode;
  }

  get storeError(): Error | undefined {
    return this.#guarded.mode === 'redis' ? undefined : this.#error;
  }

  take(claim: Claim): Decision | Promise<Decision> {
    const guarded = this.#guarded;
    const gate = this.#gate;
    if (!guarded.skipping && !guarded.closed && (gate === undefined ? this.#link.ready : guarded.mode === 'redis')) {
      this.#link.wake();
      return guarded.ask(claim, gate, this.#awaits());
    }
    this.#miss();
    return guarded.replace(claim);
  }

  /** Ends when Redis was reached and other gateways know of this one, or when Redis is away; after 5 seconds at the latest. */
  async ready(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    let timer = setTimeout(resolve, LONGEST_START_MS);
    const heard = (): void => {
      clearTimeout(timer);
      timer = setTimeout(resolve, HEARD_AFTER_MS);
    };
    // A change of mode reports what is wrong with Redis.
    this.#started.promise.then(heard, resolve);
    await promise;
    clearTimeout(timer);
  }

  /** Rejects when Redis could not be told. */
  reset(key: string): Promise<void> {
    return this.#guarded.reset(key);
  }

  /** Ends the connection when Redis has the debts, or had the time of one call. */
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
    if (this.#guarded.closed || this.#link.ready) return;
    this.#link.wake();
    if (this.#guarded.mode === 'redis') this.#guarded.lost(new Error('Redis is not connected'));
  }

  #due(): void {
    // Others hear of this gateway when Redis has what it let pass.
    if (!this.#link.ready || this.#gate !== undefined) return;
    if (this.#guarded.skipping) {
      if (!this.#try()) this.#guarded.awaitTrial();
      return;
    }
    this.#guarded.watch(this.#beat());
    // Those that a lone error has left; and those of a connection that broke meanwhile.
    this.#guarded.payDebts();
  }

  /** Whether a trial was due. */
  #try(): boolean {
    if (!this.#guarded.startTrial()) return false;
    // A replica that was a primary until a moment ago: behind the same name there may be another Redis by now.
    if (this.#parts.redis instanceof RedisUrl && this.#error?.message.startsWith('READONLY')) {
      this.#link.close();
      this.#link = this.#connect(this.#link);
      if (this.#link.ready) this.#up();
    } else {
      this.#probe((work) => this.#guarded.timed(work)).catch(() => {}); // No loss: it decides by itself.
    }
    return true;
  }

  /** @param instead A connection that leads to the wrong Redis. */
  #connect(instead?: Link): Link {
    const { redis } = this.#parts;
    const observer = { up: () => this.#up(), down: (error: Error) => this.#down(error) };
    return redis instanceof SharedRedis ? redis.join(observer, instead) : new RedisLink(redis, observer);
  }

  #up(): void {
    if (this.#guarded.closed) return;
    this.#guarded.found();
    this.#shared = undefined;
    this.#awaited = this.#gateways > 1 ? this.#gateways : 0;
    this.#awaitedUntil = Date.now() + RETURN_MS;
    this.#heartbeat.hurry();
    const gate = this.#probe((work) => this.#guarded.patiently(work));
    this.#gate = gate;
    const open = (): void => {
      if (this.#gate === gate) this.#gate = undefined;
    };
    gate.then(open, open);
    this.#started.resolve(gate);
  }

  #down(error: Error): void {
    this.#error = this.#isSilentTls(error)
      ? new Error('Redis does not answer TLS: does it speak it at this port?')
      : error;
    this.#gate = undefined;
    this.#started.reject(error);
    this.#guarded.lost(error);
  }

  /** A Redis without TLS waits for the rest of what it takes for a command. */
  #isSilentTls({ message }: Error): boolean {
    const { redis } = this.#parts;
    return redis instanceof RedisUrl && redis.address.tls !== undefined && /timeout/i.test(message);
  }

  /** Whether other gateways may still count apart, as far as anybody knows. */
  #awaits(): boolean {
    const now = Date.now();
    // The second part is for a clock that was set back.
    if (now >= this.#awaitedUntil || this.#awaitedUntil - now > RETURN_MS) this.#awaited = 0;
    return this.#awaited > 0;
  }

  /**
   * Other gateways hear that this one is back when Redis has what it let pass.
   *
   * @param timed What the deadline is: a new connection may take its time, a trial must be as quick as a request.
   */
  async #probe(timed: <T>(work: Promise<T>) => Promise<T>): Promise<void> {
    const look = this.#heartbeat.isForgotten().then((isForgotten) => {
      if (isForgotten) this.#guarded.restore();
    });
    const probing = Promise.all([timed(this.#open().loaded), timed(look)]);
    this.#guarded.decide(probing, () => {
      if (!this.#guarded.closed) this.#guarded.watch(this.#beat());
    });
    await probing;
  }

  async #beat(): Promise<void> {
    const { gateways, present } = await this.#guarded.timed(this.#heartbeat.beat());
    if (present >= this.#awaited) this.#awaited = 0;
    this.#gateways = this.#awaits() ? Math.max(gateways, this.#awaited) : gateways;
    const { redis } = this.#parts;
    if (redis instanceof SharedRedis) redis.heardOf(this.#gateways);
    this.#share();
  }

  #share(): void {
    const { redis, fallback } = this.#parts;
    fallback.shareWith(redis instanceof SharedRedis ? Math.max(this.#gateways, redis.gateways) : this.#gateways);
  }

  /** Made anew after each pause, because rate-limit-redis keeps a script load that failed for ever. */
  #open(): SharedMeter {
    this.#shared ??= this.#parts.openShared(this.#send);
    return this.#shared;
  }

  readonly #send: Send = (args, key) => this.#link.send(args, key);

  #paused(error: Error): void {
    this.#error = error;
    this.#shared = undefined;
  }
}
