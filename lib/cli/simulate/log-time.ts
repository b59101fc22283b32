const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const CLF_TIME = /^(\d{2})\/([A-Z][a-z]{2})\/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-])(\d{2})(\d{2})$/;
/** Below it, a number is seconds: as milliseconds it would be in the year 1973 at most. */
const LEAST_MS = 100_000_000_000;

/** Epoch milliseconds of `10/Oct/2000:13:55:36 -0700`; NaN for anything else. */
export function clfTime(text: string): number {
  const match = CLF_TIME.exec(text);
  if (match === null) return Number.NaN;
  const [, day, name, year, hour, minute, second, sign, zoneHours, zoneMinutes] = match;
  const month = MONTHS.indexOf(name as string);
  if (month < 0) return Number.NaN;
  const local = Date.UTC(Number(year), month, Number(day), Number(hour), Number(minute), Number(second));
  const zone = (Number(zoneHours) * 60 + Number(zoneMinutes)) * 60_000;
  return sign === '+' ? local - zone : local + zone;
}

/** Epoch milliseconds of an ISO 8601 text, or of epoch milliseconds or seconds; NaN for anything else. */
export function jsonTime(value: unknown): number {
  if (typeof value === 'string' && !/^\d+(\.\d+)?$/.test(value)) {
    // Date.parse() takes much else, each engine its own.
    return /^\d{4}-\d\d-\d\d/.test(value) ? Date.parse(value) : Number.NaN;
  }
  const number = Number(typeof value === 'string' || typeof value === 'number' ? value : Number.NaN);
  if (!(number >= 0 && number < 8.64e15)) return Number.NaN;
  return Math.floor(number < LEAST_MS ? number * 1_000 : number);
}
