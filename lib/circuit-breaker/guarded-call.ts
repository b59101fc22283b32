import type { ServerResponse } from 'node:http';
import type { GatewayEvents } from '../core/events.ts';
import type { Exchange, ExchangeObserver } from '../core/exchange.ts';
import { type Failed, judge, type Outcome } from '../core/outcome.ts';
import { sendProblem } from '../core/problem.ts';
import { warnOfThrow, warnOnce } from '../core/warnings.ts';
import { ignoreLateAnswer } from './late-answer.ts';
import type { Permit } from './permit.ts';

/** What a circuit learns only after so long says little of now. */
const LONG_CALL_MS = 10_000;

export interface GuardRules {
  /** Of the circuit. */
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
  #timer: NodeJS.Timeout | undefined;

  constructor(exchange: Exchange, permit: Permit, rules: GuardRules) {
    this.#exchange = exchange;
    this.#permit = permit;
    this.#rules = rules;
  }

  watch(): void {
    const { timeoutMs } = this.#rules;
    if (timeoutMs > 0) this.#timer = setTimeout(() => this.#due(), timeoutMs).unref();
    // A long download must not hold up recovery.
    if (this.#permit.isTrial) onHead(this.#exchange.res, (status) => this.settled({ kind: 'completed', status }));
    this.#exchange.observe(this);
  }

  settled(outcome: Outcome): void {
    clearTimeout(this.#timer);
    if (Date.now() - this.#exchange.startedAt > LONG_CALL_MS) this.#tellOfStream();
    this.#permit.settle(judge(outcome, this.#rules.isFailure));
  }

  /** The proxy says at the head of an event stream how the call went; a handler of the app's own says it at the end. */
  #tellOfStream(): void {
    const { req, res } = this.#exchange;
    if (!res.closed || !String(res.getHeader('content-type')).startsWith('text/event-stream')) return;
    warnOnce(
      req,
      'WARN_EXPRESSWAY_GUARDED_STREAM',
      `The circuit "${this.#rules.name}" guards an event stream that a handler of this app writes: such a call counts only ` +
        'when the stream has ended, too late to open the circuit in time. Mount the route of the stream before the circuitBreaker().',
    );
  }

  #due(): void {
    try {
      this.#expire();
    } catch (error) {
      const { req, res } = this.#exchange;
      warnOfThrow(
        req.socket ?? req,
        'WARN_EXPRESSWAY_LISTENER',
        'A function of the app threw while the time limit was answered, and the connection was cut',
        error,
      );
      res.destroy();
    }
  }

  #expire(): void {
    const exchange = this.#exchange;
    const { res } = exchange;
    // An answer that has begun is its handler's, and so is an event stream: those have no time limit here.
    if (res.headersSent) return;
    const error = new Error(`the guarded handler sent no response head within ${this.#rules.timeoutMs} ms`);
    const outcome: Failed = { kind: 'failed', cause: 'handler_timeout', error, sent: true, headSent: false };
    exchange.settle(outcome);
    // A late error makes Express destroy the connection, which must not carry another request by then.
    res.shouldKeepAlive = false;
    // Whoever works on the answer gets the chance to give this one.
    exchange.working?.abort();
    if (!res.headersSent) {
      this.#rules.events.emit('rejected', { exchange, outcome });
      sendProblem(res, 'handler_timeout');
    }
    ignoreLateAnswer(res);
  }
}

/** Calls back once a head is on its way; implicit heads pass through `writeHead()` as well. */
function onHead(res: ServerResponse, listener: (status: number) => void): void {
  const writeHead = res.writeHead as (...args: unknown[]) => ServerResponse;
  res.writeHead = (...args: unknown[]): ServerResponse => {
    writeHead.apply(res, args);
    listener(res.statusCode);
    return res;
  };
}
