import { createHmac } from 'node:crypto';
import type { AlgorithmScripts } from '../algorithms/algorithm-scripts.ts';
import type { Claim, Debt, Decision, QuotaState, Send, SharedMeter } from '../meter.ts';
import type { Quota } from '../quota.ts';
import type { LuaScript } from './lua.ts';

export interface RedisMeterParts {
  readonly send: Send;
  readonly scripts: AlgorithmScripts;
  readonly quotas: readonly Quota[];
  /** Prefix of the keys in Redis. */
  readonly prefix: string;
  /** Secret for HMACs of the keys; `undefined` leaves them as they are. */
  readonly keySecret?: string | undefined;
  /** For tests only: gives the time in milliseconds, in place of Redis's clock. */
  readonly clock?: (() => number) | undefined;
}

/** Counts in Redis, by Redis's clock, with one command for each claim. */
export class RedisMeter implements SharedMeter {
  readonly loaded: Promise<void>;
  readonly #parts: RedisMeterParts;
  readonly #suffixes: readonly string[];
  readonly #quotaArgs: readonly string[];

  /** @param script Is loaded before its first use. */
  constructor(parts: RedisMeterParts, script = parts.scripts.take) {
    this.#parts = parts;
    // With another window or algorithm, counts start again. The braces put all keys of a client into one slot of a cluster.
    this.#suffixes = parts.quotas.map(({ windowMs }) => `}${parts.scripts.keyLetter}${windowMs}`);
    this.#quotaArgs = parts.quotas.flatMap(argsOf);
    this.loaded = script.load(parts.send).then(() => {});
    this.loaded.catch(() => {});
  }

  get quotaCount(): number {
    return this.#parts.quotas.length;
  }

  take(claim: Claim): Promise<Decision> {
    return this.run(this.#parts.scripts.take, claim).then((reply) => decisionOf(reply, this.#parts.quotas.length));
  }

  /**
   * Runs a script and gives its reply.
   *
   * @param more Arguments between the time and the quotas.
   */
  run(script: LuaScript, { key, cost, limit }: Claim, more: readonly string[] = []): Promise<unknown> {
    const { send, clock } = this.#parts;
    const now = clock === undefined ? '' : String(clock());
    return script.run(send, this.#keys(key), [String(cost), now, ...more, ...this.#argsFor(limit)]);
  }

  async charge({ key, limit, owed }: Debt): Promise<void> {
    const { send, scripts, clock } = this.#parts;
    const now = clock === undefined ? '' : String(clock());
    const charges = (['units', 'older', 'restMs', 'least', 'over'] as const).flatMap((part) =>
      owed.map((one) => String(one[part] ?? 0)),
    );
    await scripts.charge.run(send, this.#keys(key), ['0', now, ...this.#argsFor(limit), ...charges]);
  }

  async reset(key: string): Promise<void> {
    const keys = this.#keys(key);
    await this.#parts.send(['DEL', ...keys], keys[0]);
  }

  #argsFor(limit: number | undefined): readonly string[] {
    if (limit === undefined) return this.#quotaArgs;
    return argsOf({ ...(this.#parts.quotas[0] as Quota), limit, burst: limit });
  }

  #keys(key: string): string[] {
    const { prefix, keySecret } = this.#parts;
    const start = `${prefix}{${keySecret === undefined ? key : hmac(keySecret, key)}`;
    return this.#suffixes.map((suffix) => start + suffix);
  }
}

/** 128 of its 256 bits are enough to distinguish clients. */
const hmac = (secret: string, key: string): string =>
  createHmac('sha256', secret).update(key).digest('base64url').slice(0, 22);

const argsOf = ({ limit, windowMs, burst }: Quota): string[] => [String(limit), String(windowMs), String(burst)];

/** @throws {TypeError} for a reply that does not come from our scripts. */
export function decisionOf(reply: unknown, count: number): Decision {
  if (!Array.isArray(reply) || reply.length !== 1 + 3 * count || !reply.every(Number.isSafeInteger)) {
    throw new TypeError('Redis returned no count');
  }
  const quotaStates: QuotaState[] = [];
  let retryAfterMs = 0;
  for (let i = 1; i < reply.length; i += 3) {
    const [remaining, resetMs, fits] = reply.slice(i, i + 3) as [number, number, number];
    quotaStates.push({ remaining, resetMs });
    if (fits === 0) retryAfterMs = Math.max(retryAfterMs, resetMs);
  }
  return { allowed: reply[0] === 1, retryAfterMs, quotaStates };
}
