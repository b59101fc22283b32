import type {
  ClientRateLimitInfo,
  RateLimitInfo,
  Options as RateLimitOptions,
  RateLimitRequestHandler,
} from 'express-rate-limit';
import type { LimiterMode } from '../core/events.ts';
import type { Exchange } from '../core/exchange.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import type { Next } from '../core/http.ts';
import type { Recorder } from '../core/recorder.ts';
import { reject, rejectWith } from '../core/reject.ts';
import { thrownBy } from '../core/thrown-by.ts';
import { MemoryMeter } from './memory/memory-meter.ts';
import type { Claim, Decision, Meter, QuotaState } from './meter.ts';
import type { Quota } from './quota.ts';
import type { RateLimitFields } from './rate-limit-fields.ts';

/** The parts that all requests of one limiter share. */
export interface LimiterContext {
  readonly name: string;
  readonly quotas: readonly Quota[];
  readonly fields: RateLimitFields;
  /** Whether it counts without rejecting requests. */
  readonly shadow: boolean;
  readonly events: GatewayEvents;
  /** The meter that counts. */
  readonly meter: { readonly mode: LimiterMode };
}

/** One request at a limiter: makes its claim, and applies the decision to the request. */
export class CountedRequest implements Claim {
  readonly key: string;
  readonly cost: number;
  readonly limit: number | undefined;
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

  get exchange(): Exchange {
    return this.#exchange;
  }

  /** Records the decision, and writes the headers about the limit. */
  learn(decision: Decision): void {
    this.#decision = decision;
    const { recorder, res } = this.#exchange;
    if (recorder !== undefined) this.#record(recorder, decision);
    // A decision that was made without counting has no numbers.
    if (!this.#context.shadow && decision.quotaStates.length > 0) {
      this.#context.fields.write(res, decision.quotaStates, this.limit);
    }
  }

  /** Rejects a request that is over the limit, or that could not be counted. @returns whether it passes all the same (`shadow`). */
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

  #record(recorder: Recorder, { allowed, quotaStates }: Decision): void {
    const { name, quotas, shadow, meter } = this.#context;
    // The window with the least left.
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

/** The response may have methods of the app. */
const APP = 'A function of the app';

/** Lets a request pass, or rejects it. */
export type Engine = (counted: CountedRequest, next: Next) => void;

/**
 * Applies the decisions of a meter. A decision that is there at once is applied at once. If it is a promise, express-rate-limit waits for
 * it and applies it (docs/decisions/0039).
 */
export function createEngine(meter: Meter): Engine {
  let waits = meter instanceof MemoryMeter ? undefined : waitingEngine();
  return (counted, next) => {
    let passes: boolean;
    try {
      const decision = meter.take(counted);
      if (decision instanceof Promise) {
        waits ??= waitingEngine();
        waits(counted, decision, next);
        return;
      }
      counted.learn(decision);
      passes = decision.allowed || counted.refuse();
    } catch (error) {
      next(thrownBy(APP, error));
      return;
    }
    if (passes) next();
  };
}

interface Waiting {
  readonly counted: CountedRequest;
  readonly decision: Promise<Decision>;
}

/**
 * Requests that wait, by tickets that are reused. An array, because a Map that is constantly filled and emptied leaves tables behind
 * that keep requests alive until a full garbage collection.
 */
class WaitingRequests {
  readonly #slots: (Waiting | undefined)[] = [];
  readonly #freeTickets: string[] = [];

  add(waiting: Waiting): string {
    const ticket = this.#freeTickets.pop() ?? String(this.#slots.length);
    this.#slots[Number(ticket)] = waiting;
    return ticket;
  }

  get(ticket: string): Waiting {
    return this.#slots[Number(ticket)] as Waiting;
  }

  remove(ticket: string): void {
    this.#slots[Number(ticket)] = undefined;
    this.#freeTickets.push(ticket);
  }
}

/** The property for express-rate-limit's own facts. It has another name than usual, because an app would read 1 of 1 there. */
const INFO = 'expresswayRateLimit';
const PASSED: ClientRateLimitInfo = Object.freeze({ totalHits: 1, resetTime: undefined });
const REFUSED: ClientRateLimitInfo = Object.freeze({ totalHits: 2, resetTime: undefined });

type ExpressRequest = Parameters<RateLimitRequestHandler>[0];
type ExpressResponse = Parameters<RateLimitRequestHandler>[1];

/**
 * express-rate-limit with a limit of 1, in front of a store that counts 1 for an admitted request and 2 for a rejected one. Its key
 * is a ticket: it names one request, not a client.
 */
function waitingEngine(): (counted: CountedRequest, decision: Promise<Decision>, next: Next) => void {
  /** Requests whose key express-rate-limit has not read yet, which it does one microtask later. */
  const called: Waiting[] = [];
  const waiting = new WaitingRequests();

  function ticketOf(req: object): string {
    const [one] = called.splice(
      called.findIndex(({ counted }) => counted.exchange.req === req),
      1,
    );
    return waiting.add(one as Waiting);
  }

  async function increment(ticket: string): Promise<ClientRateLimitInfo> {
    const { counted, decision: asked } = waiting.get(ticket);
    let refused = false;
    try {
      const decision = await asked;
      counted.learn(decision);
      refused = !decision.allowed;
      return refused ? REFUSED : PASSED;
    } catch (error) {
      throw thrownBy(APP, error);
    } finally {
      if (!refused) waiting.remove(ticket);
    }
  }

  function refuse(ticket: string): boolean {
    const { counted } = waiting.get(ticket);
    waiting.remove(ticket);
    try {
      return counted.refuse();
    } catch (error) {
      throw thrownBy(APP, error);
    }
  }

  const options: Partial<RateLimitOptions> = {
    limit: 1,
    // The other two functions belong to options that are not used here. They are never called.
    store: { increment, decrement() {}, resetKey() {} },
    legacyHeaders: false,
    standardHeaders: false,
    // Its checks print a message once; ours throw at construction.
    validate: false,
    requestPropertyName: INFO,
    keyGenerator: ticketOf,
    handler: (req: ExpressRequest & { [INFO]?: RateLimitInfo }, _res, next) => {
      if (refuse((req[INFO] as RateLimitInfo).key)) next();
    },
  };
  let limiter: RateLimitRequestHandler | undefined;
  // A meter in memory never needs it, and loading it takes 20 ms.
  const loading = import('express-rate-limit').then(({ rateLimit }) => {
    limiter = rateLimit(options);
  });
  // Each request reports the error, so this promise need not.
  loading.catch(() => {});

  return function wait(counted, decision, next): void {
    if (limiter === undefined) {
      // express-rate-limit takes care of an error later.
      decision.catch(() => {});
      loading.then(() => wait(counted, decision, next), next);
      return;
    }
    const { req, res } = counted.exchange;
    called.push({ counted, decision });
    // It reads only `originalUrl` and `ip`, for its debug log. A plain Node request does not have them.
    void limiter(req as ExpressRequest, res as ExpressResponse, next);
  };
}
