import { eventsCheck, type GatewayEvents } from '../../core/gateway-events.ts';
import {
  type Checks,
  integer,
  nonEmptyStrings,
  oneOf,
  optional,
  optionalRatio,
  resolveOptions,
} from '../../core/options.ts';
import type { RequestSink } from '../request-record.ts';
import type { AccessLogFormat } from './access-log-format.ts';
import { LineOutput, type LineTarget, LoggerOutput, type LogTarget } from './access-log-output.ts';
import type { LineRules } from './access-record.ts';
import { Redaction } from './redaction.ts';
import { RefusedClients } from './refused-clients.ts';

export type { AccessLogFormat } from './access-log-format.ts';

/** Options of {@link accessLog}. */
export interface AccessLogOptions {
  /** Output of the lines: a logger like pino's (`json` only), or any object with `write()`. */
  to: LogTarget | LineTarget;
  /** How a request is written. Default `json`. */
  format?: AccessLogFormat;
  /**
   * Members that all `json` lines to a stream begin with, such as a `level`. With them lines have a `msg` too and look like a
   * logger's, for a stream that has lines of one as well. Default: none, and no `msg`.
   */
  base?: Readonly<Record<string, unknown>> | undefined;
  /** Share of the requests without an error that get a line, from 0 to 1. Requests with a status from 400 on always get one. Default 1. */
  sample?: number;
  /** Bytes that may wait for a slow stream. Further lines are dropped and counted. Default 16 MiB. */
  maxBufferBytes?: number;
  /** Request fields to show in `json`; those with credentials and cookies are masked. Default: none. */
  fields?: readonly string[];
  /**
   * Parameters and request fields to mask, beside those that are secret by their usual names. Spelling does not matter: `userEmail` is
   * `user_email` and `user[email]` as well. `*` stands for any characters: `*email*`. Default: none.
   */
  redact?: readonly string[];
  /**
   * The emitter of `hardenServer()`. Then clients that it refuses without a request (bad heads, slow clients, too many
   * connections) also get a line. Default: none.
   */
  events?: GatewayEvents | undefined;
  /**
   * Lines for such refusals within a second, 0 for none; `json` says how many more there were, and the metric
   * `clients_refused_total` counts all. Default 10.
   */
  maxRefusalsPerSecond?: number;
}

/** Defaults of {@link AccessLogOptions}. */
export const accessLogDefaults = Object.freeze({
  format: 'json' as AccessLogFormat,
  sample: 1,
  maxBufferBytes: 16 * 1024 * 1024,
  fields: [] as readonly string[],
  redact: [] as readonly string[],
  maxRefusalsPerSecond: 10,
});

const isLogger = (value: unknown): value is LogTarget => typeof (value as LogTarget | null)?.info === 'function';
const isStream = (value: unknown): value is LineTarget => typeof (value as LineTarget | null)?.write === 'function';

const isBase = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).length > 0;

const checks: Checks<AccessLogOptions> = {
  to: (value) => (isLogger(value) || isStream(value) ? undefined : 'must have write(), or info() like a logger'),
  format: oneOf('json', 'common', 'combined'),
  base: optional((value) => (isBase(value) ? undefined : 'must be an object of at least one member')),
  sample: optionalRatio,
  maxBufferBytes: integer(1),
  fields: nonEmptyStrings,
  redact: nonEmptyStrings,
  events: optional(eventsCheck),
  maxRefusalsPerSecond: integer(0),
};

/** What {@link accessLog} gives: a sink for `observability()`. */
export interface AccessLog extends RequestSink {
  /** Lines that were not written because the stream took them too slowly. */
  readonly dropped: number;
  /** Stops listening to events, and writes the remaining lines. */
  close(): void;
}

/**
 * Writes one line for each request when it has ended, in any way; for an upgraded connection, when it is closed. With `events`, clients that
 * were refused before they had made a request get a line too; it has a status only if the client got a response. Give it to `observability()`.
 *
 * ```ts
 * app.use(observability({ accessLog: accessLog({ to: pino() }) }));
 * ```
 *
 * Texts of clients have no control characters and a bounded length. Credentials, cookies, and parameters with secret names are masked. Lines to
 * a stream are written together, at the end of the turn of the event loop in which the requests ended. Requests do not wait for the log: lines
 * for which a slow stream has no room are dropped and counted. The destination of a logger must do the same.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function accessLog(given: AccessLogOptions): AccessLog {
  const options = resolveOptions('accessLog', given, accessLogDefaults, {
    ...checks,
    format: (value) =>
      checks.format(value) ?? (value === 'json' || isStream(given?.to) ? undefined : 'must be json for a logger'),
    base: (value) =>
      checks.base(value) ??
      (value === undefined || !isLogger(given?.to) ? undefined : 'is for streams: a logger has its own'),
  });
  const { to, format, base, sample, maxBufferBytes, events } = options;
  const rules: LineRules = {
    redaction: new Redaction(options.redact),
    fields: options.fields.map((name) => name.toLowerCase()),
  };
  const output = isLogger(to)
    ? new LoggerOutput(to, rules)
    : new LineOutput(to, { format, rules, maxBufferBytes, base });
  const refused = events && new RefusedClients(events, options.maxRefusalsPerSecond, output);
  return {
    get dropped() {
      return output.dropped;
    },
    finished(request) {
      if (sample < 1 && request.status < 400 && Math.random() >= sample) return;
      output.request(request);
    },
    close(): void {
      refused?.close();
      output.flush();
    },
  };
}
