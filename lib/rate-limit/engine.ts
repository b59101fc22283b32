import type { ServerResponse } from 'node:http';
import { type ClientRateLimitInfo, type Options, rateLimit } from 'express-rate-limit';
import type { Next } from '../core/http.ts';
import type { CountedRequest } from './counted-request.ts';
import type { Decision, Meter } from './meter.ts';

/** Lets a request pass, or answers it. */
export type Engine = (admission: CountedRequest, res: ServerResponse, next: Next) => void;

/**
 * What a meter says at once is carried out at once; whatever has to be waited for is express-rate-limit's to wait for, and to
 * carry out (docs/decisions/0039).
 */
export function createEngine(meter: Meter): Engine {
  const waited = waitingEngine();
  return (admission, res, next) => {
    let passes: boolean;
    try {
      const decision = meter.take(admission);
      if (decision instanceof Promise) {
        admission.counting = decision;
        void waited(admission, res, next);
        return;
      }
      passes = admission.judge(decision);
    } catch (error) {
      next(error);
      return;
    }
    if (passes) next();
  };
}

/** express-rate-limit's middleware, as it is used here: what it takes for the request, and its key, is an admission. */
function waitingEngine(): (admission: CountedRequest, res: ServerResponse, next: Next) => Promise<void> {
  const increment = async (admission: CountedRequest): Promise<ClientRateLimitInfo> =>
    admission.judged(await (admission.counting as Promise<Decision>));
  return rateLimit({
    limit: 1,
    // Never called: they are for options that are not used here.
    store: { increment, decrement() {}, resetKey() {} } as unknown as NonNullable<Options['store']>,
    legacyHeaders: false,
    standardHeaders: false,
    // Its checks print once and go on; ours throw at construction.
    validate: false,
    keyGenerator: ((admission: CountedRequest) => admission) as unknown as NonNullable<Options['keyGenerator']>,
    handler: ((admission: CountedRequest, _res: ServerResponse, next: Next) => {
      if (admission.refuse()) next();
    }) as unknown as NonNullable<Options['handler']>,
  }) as unknown as ReturnType<typeof waitingEngine>;
}
