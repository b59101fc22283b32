import { CAUSES } from '../../core/causes.ts';
import { retryAfterSeconds } from '../../core/problem.ts';

const { status, title } = CAUSES.limiter_unavailable;

/** Nobody could count a request, and the limiter lets none pass uncounted. Express takes status and fields from it. */
export class LimiterUnavailableError extends Error {
  readonly code = 'ERR_EXPRESSWAY_LIMITER_UNAVAILABLE';
  readonly status = status;
  readonly headers: Readonly<Record<string, string>>;

  constructor(retryAfterMs: number) {
    super(title);
    this.name = 'LimiterUnavailableError';
    this.headers = { 'Retry-After': String(retryAfterSeconds(retryAfterMs)), 'Cache-Control': 'no-store' };
  }
}
