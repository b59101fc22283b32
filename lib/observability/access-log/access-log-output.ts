import { warnOfThrow } from '../../core/warnings.ts';
import type { FinishedRequest } from '../request-record.ts';
import { accessMembers } from './access-log-json.ts';
import { accessRecord, combinedLine, commonLine, type LineRules, refusalLine } from './access-log-line.ts';
import { IsoTime } from './iso-time.ts';
import type { Refusal, RefusalOutput } from './refused-clients.ts';

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

/** One JSON object a line, or the Common or Combined Log Format of Apache. */
export type AccessLogFormat = 'json' | 'common' | 'combined';

/** Writes an access log. */
export interface AccessLogOutput extends RefusalOutput {
  /** Lines that were not written because the stream took them too slowly. */
  readonly dropped: number;
  request(request: FinishedRequest): void;
  /** Writes what was put off. */
  flush(): void;
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

  flush(): void {}

  refusal({ client, status, cause, detail }: Refusal): void {
    this.#logger.info({ client, status, source: 'gateway', cause, detail }, 'client refused');
  }

  omitted(count: number): void {
    this.#logger.info({ omitted: count }, 'more clients refused');
  }
}

export interface LineOutputOptions {
  readonly format: AccessLogFormat;
  readonly rules: LineRules;
  readonly maxBufferBytes: number;
  /** What all `json` lines begin with, if they are to look like a logger's. */
  readonly base: object | undefined;
}

/**
 * As lines of its own. While the stream holds more than `maxBufferBytes`, they are dropped. Those of all requests that end in one
 * turn of the event loop are put together at its end: one after the other they find the code for it in the processor's caches,
 * where each by itself, between all else that a request comes to, takes several times as long.
 */
export class LineOutput implements AccessLogOutput {
  readonly #stream: LineTarget;
  readonly #format: AccessLogFormat;
  readonly #rules: LineRules;
  readonly #maxBufferBytes: number;
  readonly #isoTime = new IsoTime();
  /** What all `json` lines begin with. */
  readonly #start: string;
  readonly #hasMessages: boolean;
  /** Requests whose lines are still to be written. */
  #waiting: FinishedRequest[] = [];
  #dropped = 0;

  constructor(stream: LineTarget, { format, rules, maxBufferBytes, base }: LineOutputOptions) {
    this.#stream = stream;
    this.#format = format;
    this.#rules = rules;
    this.#maxBufferBytes = maxBufferBytes;
    this.#start = base === undefined ? '{' : `${JSON.stringify(base).slice(0, -1)},`;
    this.#hasMessages = base !== undefined;
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
      warnOfThrow(
        this.#stream,
        'WARN_EXPRESSWAY_LISTENER',
        'The stream of the access log threw, lines are lost',
        error,
      );
    }
  };

  #write(request: FinishedRequest): void {
    if (!this.#hasRoom) return;
    if (this.#format === 'json') {
      this.#json(request.startedAt, accessMembers(request, this.#rules), 'request');
    } else {
      const line = (this.#format === 'common' ? commonLine : combinedLine)(request, this.#rules);
      this.#stream.write(`${line}\n`);
    }
  }

  refusal(refusal: Refusal): void {
    this.flush();
    if (!this.#hasRoom) return;
    const { time, client, status, cause, detail } = refusal;
    if (this.#format === 'json')
      this.#json(time, members({ client, status, source: 'gateway', cause, detail }), 'client refused');
    else this.#stream.write(`${refusalLine(refusal, this.#format)}\n`);
  }

  omitted(count: number): void {
    this.flush();
    // A line of the other formats has no place for it.
    if (this.#format === 'json' && this.#hasRoom)
      this.#json(Date.now(), members({ omitted: count }), 'more clients refused');
  }

  /** @param members As JSON, each with a comma before it. */
  #json(time: number, members: string, message: string): void {
    const end = this.#hasMessages ? `,"msg":"${message}"}\n` : '}\n';
    this.#stream.write(`${this.#start}"time":"${this.#isoTime.of(time)}"${members}${end}`);
  }

  get #hasRoom(): boolean {
    if ((this.#stream.writableLength ?? 0) <= this.#maxBufferBytes) return true;
    this.#dropped += 1;
    return false;
  }
}

/** @param record Must not be empty. */
const members = (record: object): string => `,${JSON.stringify(record).slice(1, -1)}`;
