import { CAUSES } from '../../core/causes.ts';
import type { RejectionCause } from '../../core/outcome.ts';
import { warnOfRejection, warnOfThrow } from '../../core/warnings.ts';
import type { FinishedRequest } from '../request-record.ts';
import { type AccessLogFormat, type LineFormat, lineFormat } from './access-log-format.ts';
import { accessRecord, type LineRules } from './access-record.ts';
import type { Refusal, RefusalOutput } from './refused-clients.ts';

/** A logger like pino's. */
export interface LogTarget {
  info(record: object, message: string): void;
}

/** A Node stream, or pino's destination. */
export interface LineTarget {
  write(line: string): unknown;
  /** Bytes that are buffered. */
  readonly writableLength?: number;
}

/** Writes an access log. */
export interface AccessLogOutput extends RefusalOutput {
  /** Lines that were not written because the stream took them too slowly. */
  readonly dropped: number;
  request(request: FinishedRequest): void;
  /** Writes the lines that wait. */
  flush(): void;
}

const OF_TARGET = ['WARN_EXPRESSWAY_LISTENER', 'The target of the access log threw, lines are lost'] as const;

/** Writes through a logger. Its destination must not block. */
export class LoggerOutput implements AccessLogOutput {
  readonly dropped = 0;
  readonly #logger: LogTarget;
  readonly #rules: LineRules;

  constructor(logger: LogTarget, rules: LineRules) {
    this.#logger = logger;
    this.#rules = rules;
  }

  request(request: FinishedRequest): void {
    this.#info(accessRecord(request, this.#rules), 'request');
  }

  flush(): void {}

  refusal({ client, status, cause, detail }: Refusal): void {
    this.#info({ client, status, source: 'gateway', cause, detail }, 'client refused');
  }

  omitted(count: number): void {
    this.#info({ omitted: count }, 'more clients refused');
  }

  rejectedEarly(count: number, cause: RejectionCause): void {
    this.#info({ rejected: count, status: CAUSES[cause].status, cause }, 'requests rejected early');
  }

  #info(record: object, message: string): void {
    warnOfRejection(this.#logger.info(record, message), this.#logger, ...OF_TARGET);
  }
}

export interface LineOutputOptions {
  readonly format: AccessLogFormat;
  readonly rules: LineRules;
  readonly maxBufferBytes: number;
  /** Members at the beginning of all `json` lines, if they are to look like those of a logger. */
  readonly base: object | undefined;
}

/**
 * Writes lines to a stream. While the stream buffers more than `maxBufferBytes`, lines are dropped. The lines of all requests that end in
 * one turn of the event loop are made at its end. One after the other, they take a fraction of the time, because the code is in the
 * processor's caches.
 */
export class LineOutput implements AccessLogOutput {
  readonly #stream: LineTarget;
  readonly #format: LineFormat;
  readonly #rules: LineRules;
  readonly #maxBufferBytes: number;
  /** Requests whose lines wait for the end of the turn. */
  #waiting: FinishedRequest[] = [];
  #dropped = 0;

  constructor(stream: LineTarget, { format, rules, maxBufferBytes, base }: LineOutputOptions) {
    this.#stream = stream;
    this.#format = lineFormat(format, base);
    this.#rules = rules;
    this.#maxBufferBytes = maxBufferBytes;
  }

  get dropped(): number {
    return this.#dropped;
  }

  request(request: FinishedRequest): void {
    if (this.#waiting.push(request) === 1) setImmediate(this.#flush);
  }

  flush(): void {
    if (this.#waiting.length === 0) return;
    const requests = this.#waiting;
    this.#waiting = [];
    for (const request of requests) this.#write(request);
  }

  readonly #flush = (): void => {
    try {
      this.flush();
    } catch (error) {
      warnOfThrow(this.#stream, ...OF_TARGET, error);
    }
  };

  #write(request: FinishedRequest): void {
    if (!this.#hasRoom) return;
    this.#put(`${this.#format.request(accessRecord(request, this.#rules), request.startedAt)}\n`);
  }

  refusal(refusal: Refusal): void {
    this.flush();
    if (this.#hasRoom) this.#put(`${this.#format.refusal(refusal)}\n`);
  }

  omitted(count: number): void {
    this.flush();
    this.#summary(this.#format.omitted(count, Date.now()));
  }

  rejectedEarly(count: number, cause: RejectionCause): void {
    this.flush();
    this.#summary(this.#format.rejectedEarly(count, cause, Date.now()));
  }

  #summary(line: string | undefined): void {
    if (line !== undefined && this.#hasRoom) this.#put(`${line}\n`);
  }

  #put(line: string): void {
    warnOfRejection(this.#stream.write(line), this.#stream, ...OF_TARGET);
  }

  get #hasRoom(): boolean {
    if ((this.#stream.writableLength ?? 0) <= this.#maxBufferBytes) return true;
    this.#dropped += 1;
    return false;
  }
}
