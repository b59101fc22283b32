import { type Check, type Checks, durationMs, group } from '../../core/options.ts';
import type { ResponseFields } from './response-head.ts';

/** For how long a backend's `Retry-After` keeps it out. */
export interface RetryAfterOptions {
  /** Milliseconds that a shorter wish is taken for. Default 1 000. */
  minMs?: number;
  /** Milliseconds that a longer wish is cut to; wins over `minMs`. Default 60 000. */
  maxMs?: number;
  /** On which statuses the field is heeded. Default 503 and 429. */
  statuses?: readonly number[];
}

/** Defaults of {@link RetryAfterOptions}. */
export const retryAfterDefaults = Object.freeze({
  minMs: 1_000,
  maxMs: 60_000,
  statuses: Object.freeze([503, 429]) as readonly number[],
});

const errorStatuses: Check = (value) =>
  Array.isArray(value) && value.length > 0 && value.every((one) => Number.isInteger(one) && one >= 400 && one <= 599)
    ? undefined
    : 'must be a non-empty array of statuses from 400 to 599';

export const retryAfterChecks: Checks<RetryAfterOptions> = {
  minMs: durationMs,
  maxMs: durationMs,
  statuses: errorStatuses,
};

const options = group(retryAfterDefaults, retryAfterChecks);

export const retryAfterOrFalse: Check = (value) => (value === false ? undefined : options(value));

/** How long the head of an answer asks to be left alone, in milliseconds; nothing when it does not. */
export function restMs(
  status: number,
  fields: ResponseFields,
  { minMs, maxMs, statuses }: Required<RetryAfterOptions>,
): number | undefined {
  const value = fields['retry-after'];
  if (typeof value !== 'string' || !statuses.includes(status)) return undefined;
  const wish = readRetryAfter(value, fields.date);
  return wish === undefined ? undefined : Math.min(maxMs, Math.max(minMs, wish));
}

/** Both forms of RFC 9110 §10.2.3. A date is read by the backend's own clock, if its answer says what that shows. */
function readRetryAfter(value: string, date: string | string[] | undefined): number | undefined {
  if (/^\d+$/.test(value)) return Number(value) * 1_000;
  const then = readHttpDate(value);
  if (then === undefined) return undefined;
  return then - ((typeof date === 'string' ? readHttpDate(date) : undefined) ?? Date.now());
}

/** The three forms of RFC 9110 §5.6.7; the last of them does not say that it means GMT. */
function readHttpDate(text: string): number | undefined {
  if (!/^(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs)?|Fri|Sat(?:ur)?|Sun)(?:day)?,? /.test(text)) return undefined;
  const time = Date.parse(text.endsWith(' GMT') ? text : `${text} GMT`);
  return Number.isNaN(time) ? undefined : time;
}
