import type { ServerResponse } from 'node:http';
import { type ClientRateLimitInfo, type Options, rateLimit } from 'express-rate-limit';
import type { Next } from '../core/http.ts';
import type { Admission } from './admission.ts';
import type { Meter } from './meter.ts';

/** express-rate-limit's middleware, as it is used here: what it takes for the request, and its key, is an admission. */
export type Engine = (admission: Admission, res: ServerResponse, next: Next) => Promise<void>;

export function createEngine(meter: Meter): Engine {
  const increment = (admission: Admission): ClientRateLimitInfo | Promise<ClientRateLimitInfo> => {
    const ruling = meter.take(admission);
    return ruling instanceof Promise ? ruling.then((late) => admission.judged(late)) : admission.judged(ruling);
  };
  return rateLimit({
    limit: 1,
    // Never called: they are for options that are not used here.
    store: { increment, decrement() {}, resetKey() {} } as unknown as NonNullable<Options['store']>,
    legacyHeaders: false,
    standardHeaders: false,
    // Its checks print once and go on; ours throw at construction.
    validate: false,
    keyGenerator: ((admission: Admission) => admission) as unknown as NonNullable<Options['keyGenerator']>,
    handler: ((admission: Admission, _res: ServerResponse, next: Next) =>
      admission.refuse(next)) as unknown as NonNullable<Options['handler']>,
  }) as unknown as Engine;
}
