import { randomUUID } from 'node:crypto';
import { jittered } from '../core/jitter.ts';
import { LuaScript } from './lua.ts';
import type { Send } from './shared-meter.ts';

/** Between two beats, a fifth more or less: a thousand gateways must not beat in step. */
export const BEAT_INTERVAL_MS = 3_000;
const BEAT_JITTER = 0.2;
/** A gateway that was not heard of for so long is gone: two beats may get lost. */
export const GATEWAY_TTL_MS = 10_000;

/**
 * KEYS: the set of gateways. ARGV: one's own id, milliseconds until it is forgotten. Replies how many there are. The
 * moments are those of Redis's clock, and the whole set has an expiry at all times. Later ones than any beat of now are from
 * before that clock was set back.
 */
const script = new LuaScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('(%.0f', now + ttl), '+inf')
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ttl), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ttl)
return redis.call('ZCARD', KEYS[1])
`);

export interface HeartbeatParts {
  readonly send: Send;
  /** What the limiter's keys in Redis start with. */
  readonly prefix: string;
  /** Is told when the next beat is due, from `start()` to `stop()`. */
  readonly onDue: () => void;
}

/** Says to the other gateways of a limiter that this one lives, and hears how many there are. */
export class Heartbeat {
  readonly #send: Send;
  readonly #key: string;
  readonly #id = randomUUID();
  readonly #onDue: () => void;
  #timer: NodeJS.Timeout | undefined;
  /** Counts of the last TTL, as far as none that came later is higher; the highest is the first. */
  #counts: { readonly at: number; readonly gateways: number }[] = [];

  constructor({ send, prefix, onDue }: HeartbeatParts) {
    this.#send = send;
    // No client's key is like it: those have something behind the brace, or no braces.
    this.#key = `${prefix}{gateways}`;
    this.#onDue = onDue;
  }

  /** @param delayMs Milliseconds until the first beat is due. */
  start(delayMs = jittered(BEAT_INTERVAL_MS, BEAT_JITTER)): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.start();
      this.#onDue();
    }, delayMs);
    this.#timer.unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /**
   * One beat. Gives the number of gateways, this one included: the highest count of the last TTL, because in a Redis that
   * was flushed, or has just started, the others are missing until their next beat.
   *
   * Rejects when Redis does not take it; has no deadline.
   */
  async beat(): Promise<number> {
    const count = await script.run(this.#send, [this.#key], [this.#id, String(GATEWAY_TTL_MS)]);
    if (!Number.isSafeInteger(count) || (count as number) < 1) throw new TypeError('Redis gave no count of gateways');
    const [at, gateways] = [Date.now(), count as number];
    const isRecent = (moment: number): boolean => moment <= at && at - moment < GATEWAY_TTL_MS;
    const recent = this.#counts.filter((one) => one.gateways > gateways && isRecent(one.at));
    this.#counts = [...recent, { at, gateways }];
    return (this.#counts[0] as { gateways: number }).gateways;
  }

  /** Takes this gateway off the count. Rejects when Redis was not told; has no deadline. */
  async retire(): Promise<void> {
    await this.#send(['ZREM', this.#key, this.#id], this.#key);
  }
}
