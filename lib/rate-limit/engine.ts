import type { ServerResponse } from 'node:http';
import { type ClientRateLimitInfo, type Options, rateLimit } from 'express-rate-limit';
import type { Next } from '../core/http.ts';
import type { Admission } from './limited-request.ts';
import type { Meter, Ruling } from './meter.ts';

/** Lets a request pass, or answers it. */
export type Engine = (admission: Admission, res: ServerResponse, next: Next) => void;

/**
 * What a meter says at once is carried out at once; whatever has to be waited for is express-rate-limit's to wait for, and to
 * carry out (docs/decisions/0039).
 */
export function createEngine(meter: Meter): Engine {
  const waited = waitingEngine();
  return (admission, res, next) => {
    let passes: boolean;
    try {
      const ruling = meter.take(admission);
      if (ruling instanceof Promise) {
        admission.counting = ruling;
        void waited(admission, res, next);
        return;
      }
      passes = admission.judge(ruling);
    } catch (error) {
      next(error);
      return;
    }
    if (passes) next();
  };
}

/** express-rate-limit's middleware, as it is used here: what it takes for the request, and its key, is an admission. */
function waitingEngine(): (admission: Admission, res: ServerResponse, next: Next) => Promise<void> {
  const increment = async (admission: Admission): Promise<ClientRateLimitInfo> =>
    admission.judged(await (admission.counting as Promise<Ruling>));
  return rateLimit({
    limit: 1,
    // Never called: they are for options that are not used here.
    store: { increment, decrement() {}, resetKey() {} } as unknown as NonNullable<Options['store']>,
    legacyHeaders: false,
    standardHeaders: false,
    // Its checks print once and go on; ours throw at construction.
    validate: false,
    keyGenerator: ((admission: Admission) => admission) as unknown as NonNullable<Options['keyGenerator']>,
    handler: ((admission: Admission, _res: ServerResponse, next: Next) => {
      if (admission.refuse()) next();
    }) as unknown as NonNullable<Options['handler']>,
  }) as unknown as ReturnType<typeof waitingEngine>;
}
