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

/** Milliseconds after which gateways that started at the same time know of each other. */
const HEARD_AFTER_MS = 300;
/** The longest wait for Redis at a start. */
const LONGEST_START_MS = 5_000;
/** Milliseconds after which all gateways are connected to a Redis that is back: they try once a second. */
const RETURN_MS = 3_000;

/**
 * Counts in Redis, and has a fallback decide while Redis is away. It never rejects, and takes no longer than its deadline. A hit that
 * was in progress when the connection broke may be counted in both places, but never in none.
 *
 * While Redis is skipped, no request tries it: the heartbeat does, which writes to Redis as well.
 */
export class ResilientMeter implements LimiterMeter {
  readonly #parts: ResilientMeterParts;
  readonly #guarded: GuardedStore;
  readonly #heartbeat: Heartbeat;
  /** Settles with the first connection to Redis, or with its failure. */
  readonly #started = Promise.withResolvers<void>();
  #link: Link;
  /** The last error of Redis, or of the connection to it. */
  #error: Error | undefined;
  #shared: SharedMeter | undefined;
  /**
   * Settles when Redis has replied over a new connection. At a start, requests wait for that, one deadline at most. If the fallback
   * decides already, it goes on until then: Redis may accept connections and still reply with errors.
   */
  #gate: Promise<void> | undefined = this.#started.promise;
  #gateways = 1;
  /** How many gateways there were. Until that many are back, some may still count by themselves. */
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

  /** `redis` from the start, so that a start without Redis is reported as a change of mode, like any other loss of Redis. */
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

  /** Resolves when Redis was reached and other gateways know of this one, or when Redis is away; after 5 seconds at the latest. */
  async ready(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    let timer = setTimeout(resolve, LONGEST_START_MS);
    const heard = (): void => {
      clearTimeout(timer);
      timer = setTimeout(resolve, HEARD_AFTER_MS);
    };
    // Later than this turn: the app may connect its client on the next line, and a second `connect()` throws.
    setImmediate(() => {
      if (!this.#guarded.closed) this.#link.wake();
    });
    // A change of mode reports what is wrong with Redis.
    this.#started.promise.then(heard, resolve);
    await promise;
    clearTimeout(timer);
  }

  /** Rejects when Redis cannot be reached. */
  reset(key: string): Promise<void> {
    return this.#guarded.reset(key);
  }

  /** Signs this gateway off in Redis, within the deadline of one call, and ends the connection. */
  close(): void | Promise<void> {
    if (this.#guarded.closed) return;
    this.#guarded.close();
    this.#heartbeat.stop();
    if (!this.#link.ready || this.#guarded.skipping) {
      this.#link.close();
      return;
    }
    const end = (): void => this.#link.close();
    // If that fails, the entry of this gateway in Redis expires a little later.
    return this.#guarded.timed(this.#heartbeat.retire()).then(end, end);
  }

  /** A request came and Redis cannot be asked. */
  #miss(): void {
    if (this.#guarded.closed || this.#link.ready) return;
    this.#link.wake();
    if (this.#guarded.mode === 'redis') this.#guarded.lost(new Error('Redis is not connected'));
  }

  #due(): void {
    // This gateway announces itself once Redis has the hits that it admitted alone.
    if (!this.#link.ready || this.#gate !== undefined) return;
    if (this.#guarded.skipping) {
      if (!this.#try()) this.#guarded.awaitTrial();
      return;
    }
    this.#guarded.watch(this.#beat());
    // Debts that a single error has left, or a connection that broke.
    this.#guarded.payDebts();
  }

  /** @returns whether a trial was due. */
  #try(): boolean {
    if (!this.#guarded.startTrial()) return false;
    // This Redis became a replica. By now the same name may lead to the new primary.
    if (this.#parts.redis instanceof RedisUrl && this.#error?.message.startsWith('READONLY')) {
      this.#link.close();
      this.#link = this.#connect(this.#link);
      if (this.#link.ready) this.#up();
    } else {
      this.#probe((work) => this.#guarded.timed(work)).catch(() => {}); // `decide()` handles the failure.
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
      ? new Error('Redis does not respond to TLS: is TLS on at this port?')
      : error;
    this.#gate = undefined;
    this.#started.reject(error);
    this.#guarded.lost(error);
  }

  /** A Redis without TLS takes the handshake for the beginning of a command, and waits for the rest. */
  #isSilentTls({ message }: Error): boolean {
    const { redis } = this.#parts;
    return redis instanceof RedisUrl && redis.address.tls !== undefined && /timeout/i.test(message);
  }

  /** Whether other gateways may still count by themselves. */
  #awaits(): boolean {
    const now = Date.now();
    // The second condition holds when the clock was set back.
    if (now >= this.#awaitedUntil || this.#awaitedUntil - now > RETURN_MS) this.#awaited = 0;
    return this.#awaited > 0;
  }

  /**
   * Tries Redis. If that succeeds, debts are reported, and then other gateways learn that this one is back.
   *
   * @param timed Adds the deadline: a new connection may take longer, a trial must be as quick as a request.
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

  /** Made again after each pause, because rate-limit-redis keeps a failed load of its script for ever. */
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
