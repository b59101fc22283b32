import { CAUSES } from '../../core/causes.ts';
import type { RejectionCause } from '../../core/outcome.ts';
import type { AccessRecord } from './access-record.ts';
import { MAX_TEXT, printable } from './redaction.ts';
import type { Refusal } from './refused-clients.ts';

/** One JSON object a line, or the Common or Combined Log Format of Apache. */
export type AccessLogFormat = 'json' | 'common' | 'combined';

/** Writes records as lines, without the line end. */
export interface LineFormat {
  request(record: AccessRecord, time: number): string;
  refusal(refusal: Refusal): string;
  /** A line with the number of further refused clients; `undefined` for formats without such a line. */
  omitted(count: number, time: number): string | undefined;
  /** A line with the number of requests that were rejected before parsing; `undefined` for formats without such a line. */
  rejectedEarly(count: number, cause: RejectionCause, time: number): string | undefined;
}

/** @param base Members at the beginning of all `json` lines, if they are to look like those of a logger: they then have a `msg`. */
export function lineFormat(format: AccessLogFormat, base: object | undefined): LineFormat {
  return format === 'json' ? new JsonFormat(base) : new ApacheFormat(format === 'combined');
}

class JsonFormat implements LineFormat {
  readonly #start: string;
  readonly #hasMessages: boolean;
  readonly #isoTime = new IsoTime();

  constructor(base: object | undefined) {
    this.#start = base === undefined ? '{' : `${JSON.stringify(base).slice(0, -1)},`;
    this.#hasMessages = base !== undefined;
  }

  request(record: AccessRecord, time: number): string {
    return this.#line(time, record, 'request');
  }

  refusal({ time, client, status, cause, detail }: Refusal): string {
    return this.#line(time, { client, status, source: 'gateway', cause, detail }, 'client refused');
  }

  omitted(count: number, time: number): string {
    return this.#line(time, { omitted: count }, 'more clients refused');
  }

  rejectedEarly(count: number, cause: RejectionCause, time: number): string {
    return this.#line(time, { rejected: count, status: CAUSES[cause].status, cause }, 'requests rejected early');
  }

  /** @param members Must not be empty. */
  #line(time: number, members: object, message: string): string {
    const end = this.#hasMessages ? `,"msg":"${message}"}` : '}';
    return `${this.#start}"time":"${this.#isoTime.of(time)}",${JSON.stringify(members).slice(1, -1)}${end}`;
  }
}

/** Writes times in ISO 8601. Lines of the same second share all but the milliseconds, which saves most of the work. */
export class IsoTime {
  #second = Number.NaN;
  /** The text up to the milliseconds. */
  #start = '';

  /** @param time As of `Date.now()`: whole milliseconds. */
  of(time: number): string {
    const second = Math.floor(time / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#start = new Date(second * 1_000).toISOString().slice(0, -'000Z'.length);
    }
    return `${this.#start}${String(time - second * 1_000).padStart(3, '0')}Z`;
  }
}

/** The Common Log Format of NCSA httpd. The size includes headers. `combined` adds referer and user agent. */
class ApacheFormat implements LineFormat {
  readonly #isCombined: boolean;

  constructor(isCombined: boolean) {
    this.#isCombined = isCombined;
  }

  request(record: AccessRecord, time: number) {
    const { client, consumer, method, target, protocol, status, bytesOut, referer, userAgent } = record;
    const common = this.#common([client, consumer], time, `${method} ${target} ${protocol}`, status, bytesOut);
    return this.#isCombined ? `${common} ${quoted(referer)} ${quoted(userAgent)}` : common;
  }

  refusal({ client, time, status }: Refusal): string {
    const shownClient = client === undefined ? undefined : printable(client, MAX_TEXT);
    const common = this.#common([shownClient, undefined], time, undefined, status, 0);
    return this.#isCombined ? `${common} "-" "-"` : common;
  }

  omitted(): undefined {}

  rejectedEarly(): undefined {}

  /** @param names The client, and the user in the sense of httpd: the consumer. */
  #common(
    [client, consumer]: readonly [string | undefined, string | undefined],
    time: number,
    line: string | undefined,
    status: number | undefined,
    bytes: number,
  ): string {
    return `${column(client)} - ${column(consumer)} [${commonTime(time)}] ${quoted(line)} ${status ?? '-'} ${bytes || '-'}`;
  }
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `24/Nov/2026:12:33:10 +0000` */
function commonTime(time: number): string {
  const iso = new Date(time).toISOString();
  return `${iso.slice(8, 10)}/${MONTHS[Number(iso.slice(5, 7)) - 1]}/${iso.slice(0, 4)}:${iso.slice(11, 19)} +0000`;
}

/** Escapes quotes and backslashes. What `printable()` has escaped stays as it is. */
const quoted = (value: string | undefined): string =>
  value === undefined ? '"-"' : `"${value.replace(/\\(?!u[0-9a-f]{4})|"/g, '\\$&')}"`;

/** Characters that must not be in a column that ends at the next space. */
const NOT_IN_WORD = /\\(?!u[0-9a-f]{4})|[^\x21\x23-\x7e]/g;

/** A value for a column without quotes. */
const column = (value: string | undefined): string =>
  value === undefined || value === ''
    ? '-'
    : value.replace(NOT_IN_WORD, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
