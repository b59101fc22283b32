import { randomUUID } from 'node:crypto';
import { jittered } from '../../core/delay.ts';
import type { Send } from '../meter.ts';
import { LuaScript } from './lua.ts';

/** Between two beats, a fifth more or less: a thousand gateways must not beat in step. */
export const BEAT_INTERVAL_MS = 3_000;
const BEAT_JITTER = 0.2;
/** A gateway that has just come, or come back, beats so often, */
const FIRST_BEATS_INTERVAL_MS = 100;
/** for so long: gateways that start together then know of each other. */
const FIRST_BEATS_MS = 3_000;
/** A gateway that was not heard of for so long is gone: two beats may get lost. */
export const GATEWAY_TTL_MS = 10_000;

/**
 * KEYS: the set of gateways. ARGV: one's own id, milliseconds until it is forgotten, and 1 only to look. Replies whether it was
 * new there, and how many there are. The moments are those of Redis's clock, and the whole set has an expiry at all times. Later ones than any beat of now are from
 * before that clock was set back.
 * ZADD comes first: a Redis without memory lets a script go on that has written once.
 */
const script = new LuaScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = tonumber(ARGV[2])
local isNew = redis.call('ZADD', KEYS[1], string.format('%.0f', now + ttl), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('(%.0f', now + ttl), '+inf')
redis.call('PEXPIRE', KEYS[1], ttl)
if isNew == 1 and ARGV[3] == '1' then redis.call('ZREM', KEYS[1], ARGV[1]) end
return { isNew, redis.call('ZCARD', KEYS[1]) }
`);

const NO_COUNT = 'Redis gave no count of gateways';

/** What a gateway hears when it beats. */
export interface Beat {
  /**
   * The number of gateways, this one included: the highest of the last TTL, because in a Redis that was flushed, or has just
   * started, the others are missing until their next beat.
   */
  readonly gateways: number;
  /** Those that are there now. */
  readonly present: number;
}

export interface HeartbeatParts {
  readonly send: Send;
  /** What the limiter's keys in Redis start with. */
  readonly prefix: string;
  /** Called when the next beat is due, from `start()` to `stop()`. */
  readonly onDue: () => void;
}

/** Says to the other gateways of a limiter that this one lives, and hears how many there are. */
export class Heartbeat {
  readonly #send: Send;
  readonly #key: string;
  readonly #id = randomUUID();
  readonly #onDue: () => void;
  #timer: NodeJS.Timeout | undefined;
  #hurriesUntil = 0;
  #hasBeaten = false;
  /** Counts of the last TTL, without those that a later one exceeds; the highest is the first. */
  #counts: { readonly at: number; readonly gateways: number }[] = [];

  constructor({ send, prefix, onDue }: HeartbeatParts) {
    this.#send = send;
    // No client's key is like it: those have something behind the brace, or no braces.
    this.#key = `${prefix}{gateways}`;
    this.#onDue = onDue;
  }

  /** @param delayMs Milliseconds until the first beat is due. */
  start(delayMs = this.#intervalMs()): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.start();
      this.#onDue();
    }, delayMs);
    this.#timer.unref();
  }

  /** Beats often for a while, and begins anew with that. */
  hurry(): void {
    this.#hurriesUntil = Date.now() + FIRST_BEATS_MS;
    this.start();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /**
   * Whether Redis does not know this gateway any more, and so may have lost all that it had counted. Other gateways do not hear of
   * it. Rejects when Redis takes no writes; has no deadline.
   */
  async isForgotten(): Promise<boolean> {
    return (await this.#run(true))[0] === 1 && this.#hasBeaten;
  }

  /** One beat. Rejects when Redis does not take it; has no deadline. */
  async beat(): Promise<Beat> {
    const [, present] = await this.#run(false);
    if (present < 1) throw new TypeError(NO_COUNT);
    this.#hasBeaten = true;
    const [at, gateways] = [Date.now(), present];
    const isRecent = (moment: number): boolean => moment <= at && at - moment < GATEWAY_TTL_MS;
    const recent = this.#counts.filter((one) => one.gateways > gateways && isRecent(one.at));
    this.#counts = [...recent, { at, gateways }];
    return { gateways: (this.#counts[0] as { gateways: number }).gateways, present: gateways };
  }

  /** Takes this gateway off the count. Rejects when Redis was not told; has no deadline. */
  async retire(): Promise<void> {
    await this.#send(['ZREM', this.#key, this.#id], this.#key);
  }

  async #run(onlyLooks: boolean): Promise<[isNew: number, present: number]> {
    const reply = await script.run(this.#send, [this.#key], [this.#id, String(GATEWAY_TTL_MS), onlyLooks ? '1' : '0']);
    if (!Array.isArray(reply) || reply.length !== 2 || !reply.every(Number.isSafeInteger))
      throw new TypeError(NO_COUNT);
    return reply as [number, number];
  }

  #intervalMs(): number {
    const now = Date.now();
    const hurries = now < this.#hurriesUntil && this.#hurriesUntil - now <= FIRST_BEATS_MS;
    return jittered(hurries ? FIRST_BEATS_INTERVAL_MS : BEAT_INTERVAL_MS, BEAT_JITTER);
  }
}
