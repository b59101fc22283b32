import { randomUUID } from 'node:crypto';
import { jittered } from '../../core/delay.ts';
import type { Send } from '../meter.ts';
import { LuaScript } from './lua.ts';

/** Milliseconds between two beats, varied by up to a fifth: a thousand gateways must not beat at the same time. */
export const BEAT_INTERVAL_MS = 3_000;
const BEAT_JITTER = 0.2;
/** Milliseconds between two beats of a gateway that has just started, or come back, */
const FIRST_BEATS_INTERVAL_MS = 100;
/** for this many milliseconds. So gateways that start together soon know of each other. */
const FIRST_BEATS_MS = 3_000;
/** Milliseconds without a beat after which a gateway counts as gone. Two beats may get lost. */
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

const NO_COUNT = 'Redis returned no count of gateways';

/** What the reply to a beat tells. */
export interface Beat {
  /**
   * The number of gateways, including this one: the highest within the last TTL. After a flush or restart of Redis, the others are
   * missing there until their next beat.
   */
  readonly gateways: number;
  /** Gateways that are in Redis now. */
  readonly present: number;
}

export interface HeartbeatParts {
  readonly send: Send;
  /** Prefix of the limiter's keys in Redis. */
  readonly prefix: string;
  /** Called when the next beat is due, from `start()` to `stop()`. */
  readonly onDue: () => void;
}

/** Tells the other gateways of a limiter that this one is alive, and counts them. */
export class Heartbeat {
  readonly #send: Send;
  readonly #key: string;
  readonly #id = randomUUID();
  readonly #onDue: () => void;
  #timer: NodeJS.Timeout | undefined;
  #hurriesUntil = 0;
  #hasBeaten = false;
  /** Counts of the last TTL, the highest first; a count is dropped when a later one exceeds it. */
  #counts: { readonly at: number; readonly gateways: number }[] = [];

  constructor({ send, prefix, onDue }: HeartbeatParts) {
    this.#send = send;
    // It cannot equal the key of a client: those have something after the brace, or no braces.
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

  /** Starts again, with frequent beats for a while. */
  hurry(): void {
    this.#hurriesUntil = Date.now() + FIRST_BEATS_MS;
    this.start();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /**
   * Whether Redis no longer knows this gateway, and so may have lost all counts. Does not announce this gateway. Rejects when Redis
   * accepts no writes; has no deadline.
   */
  async isForgotten(): Promise<boolean> {
    return (await this.#run(true))[0] === 1 && this.#hasBeaten;
  }

  /** Sends one beat. Rejects when Redis does not accept it; has no deadline. */
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

  /** Removes this gateway from the count. Rejects when Redis cannot be reached; has no deadline. */
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
