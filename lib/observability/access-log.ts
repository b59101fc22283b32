import { type Checks, integer, oneOf, optionalRatio, resolveOptions } from '../core/options.ts';
import { accessRecord, combinedLine, commonLine, type LineRules } from './access-log-line.ts';
import { Redaction } from './redaction.ts';
import type { FinishedRequest, RequestSink } from './request-record.ts';

/** A logger like pino's. */
export interface LogTarget {
  info(record: object, message: string): void;
}

/** A Node stream, or pino's destination. */
export interface LineTarget {
  write(line: string): unknown;
  /** Bytes that it has taken and not got rid of. */
  readonly writableLength?: number;
}

export type AccessLogFormat = 'json' | 'common' | 'combined';

export interface AccessLogOptions {
  /** Where lines go: a logger like pino's (`json` only), or anything with `write()`. */
  to: LogTarget | LineTarget;
  /** Default `json`. */
  format?: AccessLogFormat;
  /** The part of the requests without an error, from 0 to 1, that gets a line; a status from 400 on always does. Default 1. */
  sample?: number;
  /** Bytes that a slow stream may hold; lines that come on top are dropped and counted. Default 16 MiB. */
  maxBufferBytes?: number;
  /** Request fields to show in `json`; those with credentials and cookies are masked. Default: none. */
  fields?: readonly string[];
  /** Query parameters to mask, beside those that are secret by their usual names. Default: none. */
  redact?: readonly string[];
}

export const accessLogDefaults = Object.freeze({
  format: 'json' as AccessLogFormat,
  sample: 1,
  maxBufferBytes: 16 * 1024 * 1024,
  fields: [] as readonly string[],
  redact: [] as readonly string[],
});

const names = (value: unknown): string | undefined =>
  Array.isArray(value) && value.every((one) => typeof one === 'string' && one !== '')
    ? undefined
    : 'must be an array of non-empty strings';

const isLogger = (value: unknown): value is LogTarget => typeof (value as LogTarget | null)?.info === 'function';
const isStream = (value: unknown): value is LineTarget => typeof (value as LineTarget | null)?.write === 'function';

const checks: Checks<AccessLogOptions> = {
  to: (value) => (isLogger(value) || isStream(value) ? undefined : 'must have write(), or info() like a logger'),
  format: oneOf('json', 'common', 'combined'),
  sample: optionalRatio,
  maxBufferBytes: integer(1),
  fields: names,
  redact: names,
};

export interface AccessLog extends RequestSink {
  /** Lines that were not written because the stream took them too slowly. */
  readonly dropped: number;
}

/**
 * One line for each request that is over, whatever became of it; of an upgraded connection when it is closed. Give it to
 * `observability()`.
 *
 * ```ts
 * app.use(observability({ accessLog: accessLog({ to: pino() }) }));
 * ```
 *
 * What clients send is shown without control characters and cut to a bounded length, and never their credentials,
 * cookies, and parameters with secret names. Nothing waits for the log: what a slow stream cannot take is dropped and
 * counted. A logger has a destination of its own, which must do the same.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function accessLog(given: AccessLogOptions): AccessLog {
  const options = resolveOptions('accessLog', given, accessLogDefaults, {
    ...checks,
    format: (value) =>
      checks.format(value) ?? (value === 'json' || isStream(given?.to) ? undefined : 'must be json for a logger'),
  });
  const { to, format, sample, maxBufferBytes } = options;
  const rules: LineRules = {
    redaction: new Redaction(options.redact),
    fields: options.fields.map((name) => name.toLowerCase()),
  };
  let dropped = 0;
  const write = isLogger(to)
    ? (request: FinishedRequest) => to.info(accessRecord(request, rules), 'request')
    : (request: FinishedRequest) => {
        if ((to.writableLength ?? 0) > maxBufferBytes) dropped += 1;
        else to.write(`${LINES[format](request, rules)}\n`);
      };
  return {
    get dropped() {
      return dropped;
    },
    finished(request) {
      if (sample < 1 && request.status < 400 && Math.random() >= sample) return;
      write(request);
    },
  };
}

const LINES: Readonly<Record<AccessLogFormat, (request: FinishedRequest, rules: LineRules) => string>> = {
  json: (request, rules) =>
    JSON.stringify({ time: new Date(request.startedAt).toISOString(), ...accessRecord(request, rules) }),
  common: commonLine,
  combined: combinedLine,
};
