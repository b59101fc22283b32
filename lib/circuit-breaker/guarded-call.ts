import type { ServerResponse } from 'node:http';
import { deadline } from '../core/delay.ts';
import type { Exchange, ExchangeObserver } from '../core/exchange.ts';
import type { GatewayEvents } from '../core/gateway-events.ts';
import { isEventStream } from '../core/http.ts';
import { type Failed, judge, type Outcome } from '../core/outcome.ts';
import { endApart, reject } from '../core/reject.ts';
import { warnOnce } from '../core/warnings.ts';
import type { Permit } from './eras.ts';

/** Milliseconds after which the outcome of a call comes too late to describe the present. */
const LONG_CALL_MS = 10_000;

export interface GuardRules {
  /** Name of the circuit. */
  readonly name: string;
  readonly timeoutMs: number;
  readonly isFailure?: ((outcome: Outcome) => boolean) | undefined;
  readonly events: GatewayEvents;
}

/** One request that the circuit let through to the guarded handler. */
export class GuardedCall implements ExchangeObserver {
  readonly #exchange: Exchange;
  readonly #permit: Permit;
  readonly #rules: GuardRules;
  #stopTimer: (() => void) | undefined;
  #isJudged = false;

  constructor(exchange: Exchange, permit: Permit, rules: GuardRules) {
    this.#exchange = exchange;
    this.#permit = permit;
    this.#rules = rules;
  }

  watch(): void {
    const { timeoutMs } = this.#rules;
    if (timeoutMs > 0) this.#stopTimer = deadline(timeoutMs, () => this.#due());
    // A long download must not hold up recovery.
    if (this.#permit.isTrial) onHead(this.#exchange.res, (status) => this.settled({ kind: 'completed', status }));
    this.#exchange.observe(this);
  }

  settled(outcome: Outcome): void {
    this.#stopTimer?.();
    if (Date.now() - this.#exchange.startedAt > LONG_CALL_MS) this.#warnOfStream();
    // A trial is judged by its head.
    if (this.#isJudged) return;
    this.#isJudged = true;
    this.#permit.settle(judge(outcome, this.#rules.isFailure));
  }

  /**
   * Warns about a handler of the app that writes an event stream: its outcome is known only at the end of the stream. (The
   * proxy reports the outcome of an event stream at the response head.)
   */
  #warnOfStream(): void {
    const { req, res } = this.#exchange;
    if (!res.closed || !isEventStream(res.getHeader('content-type'))) return;
    warnOnce(
      req,
      'WARN_EXPRESSWAY_GUARDED_STREAM',
      `The circuit "${this.#rules.name}" guards an event stream that a handler of this app writes: such a call counts only ` +
        'when the stream has ended, too late to open the circuit in time. Mount the route of the stream before the circuitBreaker().',
    );
  }

  #due(): void {
    endApart(this.#exchange, 'an expired timeoutMs', () => this.#expire());
  }

  #expire(): void {
    const exchange = this.#exchange;
    const { res } = exchange;
    // timeoutMs ends at the response head: a response that has begun, such as an event stream, goes on.
    if (res.headersSent) return;
    const error = new Error(`the guarded handler sent no response head within ${this.#rules.timeoutMs} ms`);
    const outcome: Failed = { kind: 'failed', cause: 'handler_timeout', error, sent: true, headSent: false };
    exchange.settle(outcome);
    // A late error makes Express destroy the connection. The connection must not carry another request by then.
    res.shouldKeepAlive = false;
    // The proxy, if it works on the response, may send this outcome itself.
    exchange.working?.abort();
    if (!res.headersSent) reject(exchange, outcome, this.#rules.events);
    ignoreLateResponse(res);
  }
}

/** Calls the listener when a response head is written. Node calls `writeHead()` for implicit heads as well. */
function onHead(res: ServerResponse, listener: (status: number) => void): void {
  const writeHead = res.writeHead as (...args: unknown[]) => ServerResponse;
  res.writeHead = (...args: unknown[]): ServerResponse => {
    writeHead.apply(res, args);
    listener(res.statusCode);
    return res;
  };
}

/**
 * Turns the methods of a finished response into no-ops, for a handler that responds after the timeout. Without this, Node throws
 * `ERR_HTTP_HEADERS_SENT` or emits `ERR_STREAM_WRITE_AFTER_END`; inside a timer or a stream either one ends the process.
 */
function ignoreLateResponse(res: ServerResponse): void {
  const chain = (): ServerResponse => res;
  const nothing = (): void => {};
  // True ("go on writing"): a stream that is piped into the response must run to its end, not wait for a drain that never comes.
  const swallow = (...args: unknown[]): boolean => {
    const done = args.at(-1);
    if (typeof done === 'function') process.nextTick(done as () => void);
    return true;
  };
  Object.assign(res, {
    setHeader: chain,
    setHeaders: chain,
    appendHeader: chain,
    removeHeader: nothing,
    writeHead: chain,
    writeContinue: nothing,
    writeProcessing: nothing,
    writeEarlyHints: nothing,
    write: swallow,
    end: (...args: unknown[]): ServerResponse => {
      swallow(...args);
      return res;
    },
  });
}
