import type { LimiterMode } from '../core/events.ts';
import { DeadlineError, withDeadline } from './deadline.ts';
import type { Debt } from './debts.ts';
import { Heartbeat } from './heartbeat.ts';
import type { LimiterMeter, ModeListener } from './limiter-meter.ts';
import type { Claim, Ruling } from './meter.ts';
import type { RedisClient } from './redis-client.ts';
import { RedisLink } from './redis-link.ts';
import { RedisUrl } from './redis-url.ts';
import type { OpenSharedMeter, Send, SharedMeter } from './shared-meter.ts';
import { SkipRule, type StoreFailure } from './skip-rule.ts';
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
  readonly #standIn: StandIn;
  readonly #skip = new SkipRule();
  readonly #heartbeat: Heartbeat;
  #link: RedisLink;
  /** Whether the connection leads to the wrong Redis. */
  #astray = false;
  #shared: SharedMeter | undefined;
  #mode: LimiterMode = 'redis';
  #closed = false;

  constructor(parts: ResilientMeterParts) {
    this.#parts = parts;
    this.#standIn = parts.standIn;
    this.#heartbeat = new Heartbeat({ send: this.#send, prefix: parts.prefix, onDue: () => this.#due() });
    this.#link = this.#connect();
    this.#heartbeat.start();
    if (this.#link.ready) this.#up();
  }

  /** `redis` from the start, so that a start without Redis is a change of mode like any other loss of it. */
  get mode(): LimiterMode {
    return this.#mode;
  }

  take(claim: Claim): Ruling | Promise<Ruling> {
    if (this.#link.ready && !this.#skip.skipping && !this.#closed) return this.#ask(claim, this.#skip.era);
    this.#miss();
    return this.#replace(claim);
  }

  /** Rejects when Redis could not be told. */
  async reset(key: string): Promise<void> {
    this.#standIn.reset(key);
    await this.#timed(this.#open().reset(key));
  }

  /** Ends the connection when Redis was told, or had the time of one call. */
  close(): void | Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#mode = this.#standIn.mode;
    this.#heartbeat.stop();
    if (!this.#link.ready || this.#skip.skipping) {
      this.#link.close();
      return;
    }
    const end = (): void => this.#link.close();
    // Untold, Redis forgets this gateway a little later.
    return this.#timed(this.#heartbeat.retire()).then(end, end);
  }

  async #ask(claim: Claim, era: number): Promise<Ruling> {
    let ruling: Ruling;
    let asked: Promise<Ruling> | undefined;
    try {
      asked = this.#payAndTake(claim);
      ruling = await this.#timed(asked);
    } catch (error) {
      this.#failed(era, error as Error, 'error');
      const stood = this.#replace(claim);
      if (asked !== undefined && stood.allowed) this.#notTwice(claim, asked);
      return stood;
    }
    if (this.#skip.succeeded(era)) this.#become('redis', undefined);
    this.#standIn.learn(claim, ruling);
    return ruling;
  }

  /** What this client got while Redis was away counts first. */
  #payAndTake(claim: Claim): Promise<Ruling> {
    const { debts } = this.#standIn;
    const paying = debts?.empty === false ? debts.pay(claim.key, this.#charge) : undefined;
    return paying === undefined ? this.#open().take(claim) : paying.then(() => this.#open().take(claim));
  }

  /** A reply that was late says that Redis has counted what it was asked, and need not be told of it. */
  #notTwice(claim: Claim, asked: Promise<Ruling>): void {
    asked.then(
      ({ allowed }) => {
        if (allowed) this.#standIn.debts?.cancel(claim);
      },
      () => {}, // Not counted, as far as anybody knows: the error was reported when it ended the wait, or came too late for it.
    );
  }

  readonly #charge = (debt: Debt): Promise<void> => this.#timed(this.#open().charge(debt));

  #payDebts(): void {
    const { debts } = this.#standIn;
    if (debts === undefined || debts.empty) return;
    const { era } = this.#skip;
    debts.payAll(this.#charge).catch((error: Error) => this.#failed(era, error, 'error'));
  }

  /** A request came and Redis cannot be asked. */
  #miss(): void {
    if (this.#closed) return;
    if (this.#link.ready) {
      this.#try();
      return;
    }
    this.#link.wake();
    if (this.#mode === 'redis') this.#become(this.#standIn.mode, new Error('Redis is not connected'));
  }

  #replace(claim: Claim): Ruling {
    return this.#standIn.take(claim, this.#skip.waitMs(Date.now()));
  }

  #due(): void {
    if (!this.#link.ready) return;
    if (this.#skip.skipping) {
      if (!this.#try()) this.#awaitTrial();
      return;
    }
    const { era } = this.#skip;
    this.#beat().catch((error: Error) => this.#failed(era, error, 'error'));
    // Those that a lone error has left; and those of a connection that broke while it was told of them.
    this.#payDebts();
  }

  /** So that trials need no requests. */
  #awaitTrial(): void {
    if (!this.#closed) this.#heartbeat.start(this.#skip.waitMs(Date.now()));
  }

  /** Whether a trial was due. */
  #try(): boolean {
    if (!this.#skip.startTrial(Date.now())) return false;
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
    const { redis, standIn } = this.#parts;
    return new RedisLink(redis, { up: () => this.#up(), down: (error) => this.#become(standIn.mode, error) });
  }

  #up(): void {
    if (this.#closed) return;
    this.#skip.end();
    this.#shared = undefined;
    this.#probe();
  }

  #probe(): void {
    const { era } = this.#skip;
    Promise.all([this.#timed(this.#open().loaded), this.#beat()]).then(
      () => {
        if (!this.#skip.trialSucceeded(era)) return;
        this.#become('redis', undefined);
        this.#payDebts();
      },
      (error: Error) => this.#failed(era, error, 'decisive'),
    );
  }

  async #beat(): Promise<void> {
    this.#standIn.shareWith(await this.#timed(this.#heartbeat.beat()));
  }

  /** Made anew after each pause, because rate-limit-redis keeps a script load that failed for ever. */
  #open(): SharedMeter {
    this.#shared ??= this.#parts.openShared(this.#send);
    return this.#shared;
  }

  #timed<T>(work: Promise<T>): Promise<T> {
    return withDeadline(work, this.#parts.timeoutMs, this.#onLate);
  }

  readonly #send: Send = (args, key) => this.#link.send(args, key);

  readonly #onLate = (): void => {
    if (!this.#skip.skipping) return;
    this.#skip.repliedLate();
    this.#awaitTrial();
  };

  #failed(era: number, error: Error, otherwise: StoreFailure): void {
    const failure = error instanceof DeadlineError ? 'silent' : otherwise;
    if (!this.#skip.failed(era, Date.now(), failure)) return;
    this.#shared = undefined;
    // A replica that was a primary until a moment ago: behind the same name there may be another Redis by now.
    this.#astray = error.message.startsWith('READONLY');
    this.#awaitTrial();
    this.#become(this.#standIn.mode, error);
  }

  #become(mode: LimiterMode, error: Error | undefined): void {
    const from = this.#mode;
    if (from === mode || this.#closed) return;
    this.#mode = mode;
    this.#parts.onModeChange(from, mode, error);
  }
}
