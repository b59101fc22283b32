import { type Check, type Checks, described, durationMs, group } from '../../core/options.ts';
import type { ResponseFields } from './response-head.ts';

/** For how long a backend that sends `Retry-After` gets no new requests. */
export interface RetryAfterOptions {
  /**
   * Lower bound for `Retry-After`, in milliseconds.
   *
   * @default 1_000
   */
  minMs?: number;
  /**
   * Upper bound for `Retry-After`, in milliseconds. It overrides `minMs`.
   *
   * @default 60_000
   */
  maxMs?: number;
  /**
   * Statuses of responses whose `Retry-After` counts.
   *
   * @default `[503, 429]`
   */
  statuses?: readonly number[];
}

/** Defaults of {@link RetryAfterOptions}. */
export const retryAfterDefaults = Object.freeze({
  minMs: 1_000,
  maxMs: 60_000,
  statuses: Object.freeze([503, 429]) as readonly number[],
});

const errorStatuses: Check = described(
  (value) =>
    Array.isArray(value) && value.length > 0 && value.every((one) => Number.isInteger(one) && one >= 400 && one <= 599)
      ? undefined
      : 'must be a non-empty array of statuses from 400 to 599',
  { type: 'array', items: { type: 'integer', minimum: 400, maximum: 599 }, minItems: 1 },
);

export const retryAfterChecks: Checks<RetryAfterOptions> = {
  minMs: durationMs,
  maxMs: durationMs,
  statuses: errorStatuses,
};

const options = group(retryAfterDefaults, retryAfterChecks);

export const retryAfterOrFalse: Check = described((value) => (value === false ? undefined : options(value)), {
  anyOf: [{ const: false }, options.schema ?? {}],
});

/** For how long, in milliseconds, the backend of this response should get no requests; `undefined` without a valid `Retry-After`. */
export function restMs(
  status: number,
  fields: ResponseFields,
  { minMs, maxMs, statuses }: Required<RetryAfterOptions>,
): number | undefined {
  const value = fields['retry-after'];
  if (typeof value !== 'string' || !statuses.includes(status)) return undefined;
  const asked = readRetryAfter(value, fields.date);
  return asked === undefined ? undefined : Math.min(maxMs, Math.max(minMs, asked));
}

/** Reads both forms of RFC 9110 §10.2.3. A date is compared with the response's `Date`, which is the backend's clock. */
function readRetryAfter(value: string, date: string | string[] | undefined): number | undefined {
  if (/^\d+$/.test(value)) return Number(value) * 1_000;
  const then = readHttpDate(value);
  if (then === undefined) return undefined;
  return then - ((typeof date === 'string' ? readHttpDate(date) : undefined) ?? Date.now());
}

/** Reads the three forms of RFC 9110 §5.6.7. The last of them does not name its time zone, GMT. */
function readHttpDate(text: string): number | undefined {
  if (!/^(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?,? /.test(text)) return undefined;
  const time = Date.parse(text.endsWith(' GMT') ? text : `${text} GMT`);
  return Number.isNaN(time) ? undefined : time;
}
