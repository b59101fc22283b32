const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const CLF_TIME = /^(\d{2})\/([A-Z][a-z]{2})\/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-]\d{4})$/;
const ISO_TIME =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(?: ?(Z|[+-]\d{2}:?\d{2}))?)?$/i;
/** Numbers below this are seconds. As milliseconds they would be in 1973 or earlier. */
const LEAST_MS = 100_000_000_000;

/** Epoch milliseconds of `10/Oct/2000:13:55:36 -0700`; NaN for anything else, and for a date that does not exist. */
export function clfTime(text: string): number {
  const match = CLF_TIME.exec(text);
  if (match === null) return Number.NaN;
  const [, day, month = '', year, hour, minute, second, zone] = match;
  return utc([year, MONTHS.indexOf(month) + 1, day, hour, minute, second].map(Number), zone);
}

/**
 * Epoch milliseconds of an ISO 8601 text, of the time of an access log's line, or of epoch milliseconds or seconds; NaN for anything else,
 * and for a date that does not exist. A text without a time zone is in UTC.
 */
export function jsonTime(value: unknown): number {
  if (typeof value === 'string' && !/^\d+(\.\d+)?$/.test(value)) {
    // Date.parse() also accepts other formats, which depend on the engine, and dates that do not exist.
    const match = ISO_TIME.exec(value);
    if (match === null) return clfTime(value);
    const [, year, month, day, hour = 0, minute = 0, second = 0, fraction = '0', zone] = match;
    const time = utc([year, month, day, hour, minute, second].map(Number), zone);
    return time + Math.floor(Number(`0.${fraction}`) * 1_000);
  }
  const number = Number(typeof value === 'string' || typeof value === 'number' ? value : Number.NaN);
  if (!(number >= 0 && number < 8.64e15)) return Number.NaN;
  return Math.floor(number < LEAST_MS ? number * 1_000 : number);
}

/** @param numbers Year, month from 1, day, hour, minute and second. */
function utc(numbers: readonly number[], zone = 'Z'): number {
  const [year, month, day, hour, minute, second] = numbers as [number, number, number, number, number, number];
  const midnight = new Date(Date.UTC(year, month - 1, day));
  // Date moves a day that does not exist into the next month.
  if (month < 1 || midnight.getUTCMonth() !== month - 1 || midnight.getUTCDate() !== day) return Number.NaN;
  // 60 is a leap second.
  if (hour > 23 || minute > 59 || second > 60) return Number.NaN;
  return midnight.getTime() + ((hour * 60 + minute) * 60 + second) * 1_000 - zoneMs(zone);
}

function zoneMs(zone: string): number {
  if (/^z$/i.test(zone)) return 0;
  const [hours, minutes] = [Number(zone.slice(1, 3)), Number(zone.slice(-2))];
  if (hours > 14 || minutes > 59) return Number.NaN;
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes) * 60_000;
}
