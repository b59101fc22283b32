import type { ClientRateLimitInfo, Options } from 'express-rate-limit';
import { type RedisReply, RedisStore } from 'rate-limit-redis';
import type { Claim, Debt, Decision, Owed, QuotaState, Send, SharedMeter } from '../meter.ts';
import type { Quota } from '../quota.ts';
import { messageOf, namingForeign, refuseForeign } from './foreign-key.ts';
import { LuaScript } from './lua.ts';

const MOST_ATTEMPTS = 3;
const NO_HITS: ClientRateLimitInfo = Object.freeze({ totalHits: 0, resetTime: undefined });

/** The beginning of all scripts, those of rate-limit-redis included: they would overwrite a key without an expiry, whatever it holds. */
const ONLY_COUNTS = `local text = redis.pcall('GET', KEYS[1])${refuseForeign('1', "string.find(text, '^%d+$')")}`;

/**
 * KEYS: a client's count, as rate-limit-redis keeps it. ARGV: what to add; the length in milliseconds of a window that begins with it.
 */
const chargeScript = new LuaScript(`${ONLY_COUNTS}
local ttl = redis.call('PTTL', KEYS[1])
local count = tonumber(ARGV[1])
if ttl > 0 then count = count + (tonumber(text) or 0) end
return redis.call('SET', KEYS[1], string.format('%.0f', count), 'PX', ttl > 0 and ttl or ARGV[2])
`);

/** Fixed windows in Redis, by Redis's clock, with rate-limit-redis. */
export class RedisWindows implements SharedMeter {
  readonly loaded: Promise<void>;
  readonly #send: Send;
  readonly #prefix: string;
  readonly #store: RedisStore;
  readonly #limit: number;
  readonly #windowMs: number;

  constructor(send: Send, prefix: string, { limit, windowMs }: Quota) {
    this.#windowMs = windowMs;
    this.#send = send;
    this.#prefix = prefix;
    this.#limit = limit;
    this.#store = new RedisStore({
      prefix,
      sendCommandCluster: ({ key, command }) => this.#guarded(command, key),
    });
    this.loaded = this.#store.init({ windowMs } as Options);
    // Nothing is lost: take() waits for the same script and rejects with the same error.
    this.loaded.catch(() => {});
  }

  async take({ key, cost, limit = this.#limit }: Claim): Promise<Decision> {
    if (cost === 0) return this.#look(key, limit);
    const count = await this.#retried(() => this.#store.increment(key));
    // NaN would be below every limit.
    if (!(count.totalHits >= 1) || !count.resetTime || Number.isNaN(count.resetTime.getTime())) {
      throw new TypeError('Redis returned no count');
    }
    const decision = fixedWindowDecision(count, limit);
    const resetMs = (decision.quotaStates[0] as QuotaState).resetMs;
    return resetMs <= this.#windowMs ? decision : this.#endInTime(key, decision);
  }

  /** Reads without counting. A client without a window has its whole limit. */
  async #look(key: string, limit: number): Promise<Decision> {
    const count = (await this.#retried(() => this.#store.get(key))) ?? NO_HITS;
    const { quotaStates } = fixedWindowDecision(count.totalHits >= 1 ? count : NO_HITS, limit);
    return { allowed: true, retryAfterMs: 0, quotaStates };
  }

  /** For a window that ends too late because Redis's clock was set back: shortens it to a full window from now. */
  async #endInTime(key: string, { allowed, quotaStates }: Decision): Promise<Decision> {
    const [{ remaining }] = quotaStates as [QuotaState];
    const resetMs = this.#windowMs;
    await this.#send(['PEXPIRE', this.#prefix + key, String(resetMs)], this.#prefix + key);
    return { allowed, retryAfterMs: allowed ? 0 : resetMs, quotaStates: [{ remaining, resetMs }] };
  }

  /** Has the scripts of rate-limit-redis leave alone what is no count. It runs them by the digests that Redis returns here. */
  async #guarded([first = '', second, ...rest]: string[], key?: string): Promise<RedisReply> {
    const isLoad = first === 'SCRIPT' && second === 'LOAD';
    const more = isLoad ? rest.map((source) => ONLY_COUNTS + source) : rest;
    try {
      const reply = (await this.#send([first, ...(second === undefined ? [] : [second]), ...more], key)) as RedisReply;
      // rate-limit-redis refuses the Buffer of a client whose `typeMapping` asks for Buffers.
      return isLoad ? String(reply) : reply;
    } catch (error) {
      throw namingForeign(error, key === undefined ? [] : [key]);
    }
  }

  /**
   * Asks again after NOSCRIPT: nothing was counted. rate-limit-redis loads a lost script once, and gives up when the script is lost again
   * before it runs.
   */
  async #retried<T>(ask: () => T | Promise<T>, attempts = MOST_ATTEMPTS): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      if (attempts <= 1 || !messageOf(error).startsWith('NOSCRIPT')) throw error;
      return this.#retried(ask, attempts - 1);
    }
  }

  async charge({ key, owed }: Debt): Promise<void> {
    const [{ units, restMs }] = owed as readonly [Owed];
    await chargeScript.run(this.#send, [this.#prefix + key], [String(units), String(restMs)]);
  }

  reset(key: string): Promise<void> {
    return this.#store.resetKey(key);
  }
}

/** The decision for a count of a fixed window. */
export function fixedWindowDecision({ totalHits, resetTime }: ClientRateLimitInfo, limit: number): Decision {
  const resetMs = resetTime === undefined ? 0 : Math.max(0, resetTime.getTime() - Date.now());
  const allowed = totalHits <= limit;
  const quotaStates = [{ remaining: Math.max(0, limit - totalHits), resetMs }];
  return { allowed, retryAfterMs: allowed ? 0 : resetMs, quotaStates };
}
