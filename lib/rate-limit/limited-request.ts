import type { ClientRateLimitInfo } from 'express-rate-limit';
import type { GatewayEvents, LimiterMode } from '../core/events.ts';
import type { Exchange } from '../core/exchange.ts';
import { sendProblem } from '../core/problem.ts';
import type { Recorder } from '../core/recorder.ts';
import type { Claim, Ruling, Standing } from './meter.ts';
import type { Quota } from './quota.ts';
import type { RateLimitFields } from './rate-limit-fields.ts';

/** What all admissions of one limiter have in common. */
export interface AdmissionDesk {
  readonly name: string;
  readonly quotas: readonly Quota[];
  readonly fields: RateLimitFields;
  /** Whether nobody is refused. */
  readonly shadow: boolean;
  readonly events: GatewayEvents;
  /** Who counts. */
  readonly meter: { readonly mode: LimiterMode };
}

/**
 * One request before its limiter. Where the ruling has to be waited for, express-rate-limit takes this for the request: it asks
 * for the key, which is the admission itself again, and has the store judge it; then it assigns its verdict to `rateLimit`, then
 * calls either `next` or `refuse()`. So neither a closure per request is needed, nor a property on the real request, whose `ip`
 * it would read (and Express compute) for its debug log.
 */
export class Admission implements Claim {
  readonly key: string;
  readonly cost: number;
  readonly limit: number | undefined;
  /** The ruling that is waited for. */
  counting: Promise<Ruling> | undefined;
  readonly #exchange: Exchange;
  readonly #desk: AdmissionDesk;
  #ruling: Ruling | undefined;

  constructor(exchange: Exchange, desk: AdmissionDesk, key: string, cost = 1, limit?: number) {
    this.#exchange = exchange;
    this.#desk = desk;
    this.key = key;
    this.cost = cost;
    this.limit = limit;
  }

  /** For `DEBUG=express-rate-limit`. */
  get ip(): string {
    return this.key;
  }

  /** For `DEBUG=express-rate-limit`. */
  get originalUrl(): string | undefined {
    return this.#exchange.req.originalUrl;
  }

  /** Carries out what the meter says. @returns whether the request goes on. */
  judge(ruling: Ruling): boolean {
    this.#take(ruling);
    this.#tell(ruling);
    return ruling.allowed || this.refuse();
  }

  /** Takes what the meter says, in the words of express-rate-limit: two hits are over the limit, which is one. */
  judged(ruling: Ruling): ClientRateLimitInfo {
    this.#take(ruling);
    return ruling.allowed ? PASSED : REFUSED;
  }

  /** What it assigns is what the meter has said. */
  set rateLimit(_info: unknown) {
    this.#tell(this.#ruling as Ruling);
  }

  /** Over the limit, or nobody could count. @returns whether the request goes on all the same. */
  refuse(): boolean {
    const { events, name, quotas, shadow } = this.#desk;
    const exchange = this.#exchange;
    const { retryAfterMs, standings } = this.#ruling as Ruling;
    if (standings.length === 0) return this.#unavailable(retryAfterMs);
    if (!shadow) {
      exchange.settle({ kind: 'rejected', cause: 'rate_limited', retryAfterMs });
      sendProblem(exchange.res, 'rate_limited', { retryAfterMs });
    }
    if (events.listenerCount('limited') > 0) {
      const tightest = standings.findIndex(({ resetMs }) => resetMs === retryAfterMs);
      const limit = this.limit ?? (quotas[tightest] ?? (quotas[0] as Quota)).limit;
      events.emit('limited', { exchange, limiter: name, key: this.key, limit, retryAfterMs, shadow });
    }
    return shadow;
  }

  #take(ruling: Ruling): void {
    this.#ruling = ruling;
    const { recorder } = this.#exchange;
    if (recorder !== undefined) this.#record(recorder, ruling);
  }

  #tell({ standings }: Ruling): void {
    // Of a limit that nobody counts, nothing true can be told.
    if (this.#desk.shadow || standings.length === 0) return;
    this.#desk.fields.write(this.#exchange.res, standings, this.limit);
  }

  #record(recorder: Recorder, { allowed, standings }: Ruling): void {
    const { name, quotas, shadow, meter } = this.#desk;
    // Of several windows, the one with the least left.
    let tightest = 0;
    for (let i = 1; i < standings.length; i++) {
      if ((standings[i] as Standing).remaining < (standings[tightest] as Standing).remaining) tightest = i;
    }
    recorder.limiterDecided({
      limiter: name,
      mode: meter.mode,
      allowed,
      shadow,
      limit: this.limit ?? (quotas[tightest] as Quota).limit,
      remaining: standings[tightest]?.remaining,
      resetMs: standings[tightest]?.resetMs,
    });
  }

  #unavailable(retryAfterMs: number): boolean {
    const { events, shadow } = this.#desk;
    if (shadow) return true;
    const exchange = this.#exchange;
    const outcome = { kind: 'rejected', cause: 'limiter_unavailable', retryAfterMs } as const;
    exchange.settle(outcome);
    sendProblem(exchange.res, 'limiter_unavailable', { retryAfterMs });
    if (events.listenerCount('rejected') > 0) events.emit('rejected', { exchange, outcome });
    return false;
  }
}

const PASSED: ClientRateLimitInfo = Object.freeze({ totalHits: 1, resetTime: undefined });
const REFUSED: ClientRateLimitInfo = Object.freeze({ totalHits: 2, resetTime: undefined });
