import type { ClientRateLimitInfo } from 'express-rate-limit';
import type { GatewayEvents, LimiterMode } from '../core/events.ts';
import type { Exchange } from '../core/exchange.ts';
import type { Recorder } from '../core/recorder.ts';
import { reject, rejectWith } from '../core/reject.ts';
import type { Claim, Decision, QuotaState } from './meter.ts';
import type { Quota } from './quota.ts';
import type { RateLimitFields } from './rate-limit-fields.ts';

/** What all admissions of one limiter have in common. */
export interface LimiterContext {
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
 * One request before its limiter. Where the decision has to be waited for, express-rate-limit takes this for the request: it asks
 * for the key, which is the admission itself again, and has the store judge it; then it assigns its verdict to `rateLimit`, then
 * calls either `next` or `refuse()`. So neither a closure per request is needed, nor a property on the real request, whose `ip`
 * it would read (and Express compute) for its debug log.
 */
export class CountedRequest implements Claim {
  readonly key: string;
  readonly cost: number;
  readonly limit: number | undefined;
  /** The decision that is waited for. */
  counting: Promise<Decision> | undefined;
  readonly #exchange: Exchange;
  readonly #context: LimiterContext;
  #decision: Decision | undefined;

  constructor(exchange: Exchange, context: LimiterContext, key: string, cost = 1, limit?: number) {
    this.#exchange = exchange;
    this.#context = context;
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
  judge(decision: Decision): boolean {
    this.#take(decision);
    this.#tell(decision);
    return decision.allowed || this.refuse();
  }

  /** Takes what the meter says, in the words of express-rate-limit: two hits are over the limit, which is one. */
  judged(decision: Decision): ClientRateLimitInfo {
    this.#take(decision);
    return decision.allowed ? PASSED : REFUSED;
  }

  /** What it assigns is what the meter has said. */
  set rateLimit(_info: unknown) {
    this.#tell(this.#decision as Decision);
  }

  /** Over the limit, or nobody could count. @returns whether the request goes on all the same. */
  refuse(): boolean {
    const { events, name, quotas, shadow } = this.#context;
    const exchange = this.#exchange;
    const { retryAfterMs, quotaStates } = this.#decision as Decision;
    if (quotaStates.length === 0) return this.#unavailable(retryAfterMs);
    const tightest = quotaStates.findIndex(({ resetMs }) => resetMs === retryAfterMs);
    const limit = this.limit ?? (quotas[tightest] ?? (quotas[0] as Quota)).limit;
    const event = { exchange, limiter: name, key: this.key, limit, retryAfterMs, shadow };
    if (shadow) events.emit('limited', event);
    else rejectWith(exchange, { kind: 'rejected', cause: 'rate_limited', retryAfterMs }, events, 'limited', event);
    return shadow;
  }

  #take(decision: Decision): void {
    this.#decision = decision;
    const { recorder } = this.#exchange;
    if (recorder !== undefined) this.#record(recorder, decision);
  }

  #tell({ quotaStates }: Decision): void {
    // Of a limit that nobody counts, nothing true can be told.
    if (this.#context.shadow || quotaStates.length === 0) return;
    this.#context.fields.write(this.#exchange.res, quotaStates, this.limit);
  }

  #record(recorder: Recorder, { allowed, quotaStates }: Decision): void {
    const { name, quotas, shadow, meter } = this.#context;
    // Of several windows, the one with the least left.
    let tightest = 0;
    for (let i = 1; i < quotaStates.length; i++) {
      if ((quotaStates[i] as QuotaState).remaining < (quotaStates[tightest] as QuotaState).remaining) tightest = i;
    }
    recorder.limiterDecided({
      limiter: name,
      mode: meter.mode,
      allowed,
      shadow,
      limit: this.limit ?? (quotas[tightest] as Quota).limit,
      remaining: quotaStates[tightest]?.remaining,
      resetMs: quotaStates[tightest]?.resetMs,
    });
  }

  #unavailable(retryAfterMs: number): boolean {
    const { events, shadow } = this.#context;
    if (shadow) return true;
    reject(this.#exchange, { kind: 'rejected', cause: 'limiter_unavailable', retryAfterMs }, events);
    return false;
  }
}

const PASSED: ClientRateLimitInfo = Object.freeze({ totalHits: 1, resetTime: undefined });
const REFUSED: ClientRateLimitInfo = Object.freeze({ totalHits: 2, resetTime: undefined });
