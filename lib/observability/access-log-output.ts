import { accessRecord, combinedLine, commonLine, type LineRules, refusalLine } from './access-log-line.ts';
import type { Refusal, RefusalOutput } from './refused-clients.ts';
import type { FinishedRequest } from './request-record.ts';

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

/** Writes an access log. */
export interface AccessLogOutput extends RefusalOutput {
  /** Lines that were not written because the stream took them too slowly. */
  readonly dropped: number;
  request(request: FinishedRequest): void;
}

/** Through a logger, whose destination must do without waiting. */
export class LoggerOutput implements AccessLogOutput {
  readonly dropped = 0;
  readonly #logger: LogTarget;
  readonly #rules: LineRules;

  constructor(logger: LogTarget, rules: LineRules) {
    this.#logger = logger;
    this.#rules = rules;
  }

  request(request: FinishedRequest): void {
    this.#logger.info(accessRecord(request, this.#rules), 'request');
  }

  refusal({ client, status, cause }: Refusal): void {
    this.#logger.info({ client, status, source: 'gateway', cause }, 'client refused');
  }

  omitted(count: number): void {
    this.#logger.info({ omitted: count }, 'more clients refused');
  }
}

/** As lines of its own. While the stream holds more than `maxBufferBytes`, they are dropped. */
export class LineOutput implements AccessLogOutput {
  readonly #stream: LineTarget;
  readonly #format: AccessLogFormat;
  readonly #rules: LineRules;
  readonly #maxBufferBytes: number;
  #dropped = 0;

  constructor(stream: LineTarget, format: AccessLogFormat, rules: LineRules, maxBufferBytes: number) {
    this.#stream = stream;
    this.#format = format;
    this.#rules = rules;
    this.#maxBufferBytes = maxBufferBytes;
  }

  get dropped(): number {
    return this.#dropped;
  }

  request(request: FinishedRequest): void {
    if (this.#hasRoom) this.#stream.write(`${REQUEST_LINES[this.#format](request, this.#rules)}\n`);
  }

  refusal(refusal: Refusal): void {
    if (!this.#hasRoom) return;
    const { time, client, status, cause } = refusal;
    const line =
      this.#format === 'json'
        ? JSON.stringify({ time: new Date(time).toISOString(), client, status, source: 'gateway', cause })
        : refusalLine(refusal, this.#format);
    this.#stream.write(`${line}\n`);
  }

  omitted(count: number): void {
    // A line of the other formats has no place for it.
    if (this.#format !== 'json' || !this.#hasRoom) return;
    this.#stream.write(`${JSON.stringify({ time: new Date().toISOString(), omitted: count })}\n`);
  }

  get #hasRoom(): boolean {
    if ((this.#stream.writableLength ?? 0) <= this.#maxBufferBytes) return true;
    this.#dropped += 1;
    return false;
  }
}

const REQUEST_LINES: Readonly<Record<AccessLogFormat, (request: FinishedRequest, rules: LineRules) => string>> = {
  json: (request, rules) =>
    JSON.stringify({ time: new Date(request.startedAt).toISOString(), ...accessRecord(request, rules) }),
  common: commonLine,
  combined: combinedLine,
};
