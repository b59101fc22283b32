/** Characters that are not seen, or turn round what is beside them. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is made visible here.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** What strangers wrote, as it can safely be read. */
export const visible = (text) =>
  String(text).replace(UNSEEN, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** Without the scheme, which is nearly always the same. */
export const short = (backend) => visible(backend).replace(/^http:\/\//, '');

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const count = (value) => whole.format(value);

export const rate = (value) => (value === 0 ? '0' : value < 10 ? tenths.format(value) : whole.format(value));

export function milliseconds(ms) {
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}

export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

export const ago = (at, now) => (now - at < 1_500 ? 'just now' : `${span(now - at)} ago`);

export const percent = (part) => `${Math.round(part * 100)} %`;

/** How much of all that is: few of many are more than nothing. */
export function share(some, all) {
  if (all === 0) return '100 %';
  const part = Math.min(1, some / all);
  if (part >= 0.0995) return percent(part);
  return part < 0.0005 ? '< 0.1 %' : `${tenths.format(part * 100)} %`;
}

export function bytes(value) {
  const mib = value / 1_048_576;
  return mib < 1_024 ? `${whole.format(mib)} MiB` : `${tenths.format(mib / 1_024)} GiB`;
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

export const time = (at) => clock.format(at);

/** The time zone of all times on the page: `Europe/Berlin, UTC+1`. */
export function timeZone(at) {
  const { timeZone: name } = new Intl.DateTimeFormat().resolvedOptions();
  const parts = new Intl.DateTimeFormat('en', { timeZoneName: 'shortOffset' }).formatToParts(at);
  const offset = parts.find(({ type }) => type === 'timeZoneName').value.replace('GMT', 'UTC');
  return name === 'UTC' ? name : `${name}, ${offset}`;
}
