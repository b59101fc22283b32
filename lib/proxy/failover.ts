import type { Duplex } from 'node:stream';
import type { Waiter } from '../backends/queue.ts';
import type { Exchange } from '../core/exchange.ts';
import { grpcStatusIn } from '../core/grpc.ts';
import { ABORTED, type Completed, type Failed, handlerError, type Outcome, type Rejected } from '../core/outcome.ts';
import { cut, respond } from '../core/reject.ts';
import { Attempt } from './attempt.ts';
import type { AttemptOwner, AttemptTimeouts } from './attempt-owner.ts';
import { BackendChoice } from './backend-choice.ts';
import type { ForwardedBody } from './forwarded-body.ts';
import type { ProxyParts } from './proxy-parts.ts';
import { alreadyRead } from './request/read-body.ts';
import { BAD_TARGET, type RequestHead, requestHead } from './request/request-head.ts';
import { overload } from './request-caps.ts';
import type { HeaderSpelling } from './response/header-spelling.ts';
import type { ResponseFields } from './response/response-head.ts';
import type { Retries } from './retry/retries.ts';

/** Gets the end of the attempts of a request. */
export interface FailoverOwner {
  /** Sends a response of the gateway itself, and ends the request. */
  reject(outcome: Failed | Rejected): void;
  /** Ends the request, and passes the error to the app: one of its functions threw, or set a header that cannot be sent. */
  fail(error: unknown): void;
  /** Ends the request, and releases all that it holds. Further calls have no effect. */
  over(): void;
}

/** The attempts of one request: picks a backend, tries it, and goes on to the next one while the rules for retries allow it. */
export class Failover implements AttemptOwner, Waiter {
  readonly #parts: ProxyParts;
  readonly #exchange: Exchange;
  readonly #retries: Retries;
  readonly #body: ForwardedBody | undefined;
  readonly #owner: FailoverOwner;
  readonly #choice: BackendChoice;

  constructor(
    parts: ProxyParts,
    exchange: Exchange,
    retries: Retries,
    body: ForwardedBody | undefined,
    owner: FailoverOwner,
  ) {
    this.#parts = parts;
    this.#exchange = exchange;
    this.#retries = retries;
    this.#body = body;
    this.#owner = owner;
    this.#choice = new BackendChoice(parts, exchange);
  }

  start(): void {
    try {
      this.#tryNext();
    } catch (error) {
      this.#fail(error);
    }
  }

  #tryNext(): void {
    const { queue, pool } = this.#parts;
    // Requests that have waited longer take free slots first.
    queue?.advance();
    const head = this.#enter();
    if (head !== undefined) {
      if (this.#retries.isIdempotent) this.#send(head);
      else this.#sendSoon(head, onceClosesAreRead);
    } else if (this.#exchange.outcome !== undefined) {
      return;
    } else if (!this.#choice.hasFull) {
      const none = { kind: 'rejected', cause: 'no_backend', retryAfterMs: pool.retryAfterMs() } as const;
      this.#owner.reject(this.#choice.lastFailure ?? none);
    } else if (queue?.join(this) === true) {
      this.#waits(() => queue.leave(this));
    } else {
      this.expired();
    }
  }

  // No `await` may come between picking a backend and entering its circuit. Otherwise two requests could take the same trial.
  #enter(): RequestHead | undefined {
    const exchange = this.#exchange;
    // Another reader took bytes of the body while no attempt asked for them.
    if (!this.#replayable) {
      this.#owner.reject(this.#body?.unsendable ?? this.#choice.lastFailure ?? alreadyRead(exchange.req));
      return undefined;
    }
    const backend = this.#choice.next();
    if (backend === undefined) return undefined;
    const body = this.#body;
    const { rules } = this.#parts;
    const head = requestHead(exchange, backend.authority, rules, body?.length ?? 0, body?.isDecoded === true);
    exchange.sentFields = head?.fields;
    if (head === undefined) this.#owner.reject(BAD_TARGET);
    else this.#choice.take(backend, head);
    return head;
  }

  #send(head: RequestHead): void {
    const { connections, watchdog } = this.#parts;
    new Attempt(this.#exchange, this, watchdog, this.#timeouts).start(
      connections.to(this.#choice.current),
      head,
      this.#body?.content,
      this.#exchange.upgrade?.protocol,
    );
  }

  /** Takes a slot for the first request in the queue at once. The request is sent when the current call of the transport has returned. */
  tryEnter(): boolean {
    return this.#exchange.scope.runInAsyncScope(this.#tryEnter, this);
  }

  #tryEnter(): boolean {
    try {
      const head = this.#enter();
      if (head === undefined) return this.#exchange.outcome !== undefined;
      this.#sendSoon(head, process.nextTick);
    } catch (error) {
      this.#fail(error);
    }
    return true;
  }

  /** Sends a request a little later. It has entered its circuit already. */
  #sendSoon(head: RequestHead, soon: (send: () => void) => void): void {
    this.#exchange.working = {
      abort: () => {
        this.#exchange.working = undefined;
        this.ended(ABORTED);
      },
    };
    soon(() => this.#sendLater(head));
  }

  #sendLater(head: RequestHead): void {
    try {
      if (this.#exchange.working === undefined) return;
      if (this.#body?.unsendable === undefined) this.#send(head);
      else this.ended(this.#body.unsendable);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The request has waited in the queue for too long, or the queue is full. */
  expired(): void {
    try {
      this.#exchange.working = undefined;
      this.#owner.reject(this.#choice.lastFailure ?? overload(this.#choice.fullCause));
    } catch (error) {
      this.#fail(error);
    }
  }

  sent(): void {
    this.#choice.sent();
  }

  accepts(status: number, fields: ResponseFields): boolean {
    this.#parts.health.responded(this.#choice.current, status, fields);
    // The cheapest check comes first: most responses need no retry.
    if (!this.#retries.isWorthwhile(status) || this.#exchange.outcome !== undefined) return true;
    if (!this.#choice.hasOther() || !this.#retries.afterResponse(this.#replayable)) return true;
    this.#choice.dropped({ kind: 'completed', status });
    this.#later();
    return false;
  }

  headersForClient(status: number, fields: ResponseFields): ResponseFields {
    return this.#parts.response?.apply(status, fields, this.#exchange) ?? fields;
  }

  responded(status: number, fields: ResponseFields): void {
    const outcome: Completed = { kind: 'completed', status, grpcStatus: grpcStatusIn(fields) };
    if (this.#choice.responded(outcome, fields)) this.#exchange.settle(outcome);
  }

  upgraded(status: number, fields: ResponseFields, socket: Duplex, spelling: HeaderSpelling | undefined): void {
    const exchange = this.#exchange;
    const outcome: Completed = { kind: 'completed', status };
    const closed = () => {
      this.#choice.releaseNeutral();
      this.#choice.forwarded(outcome);
      this.#owner.over();
      // Middlewares that measure the response listen for this event.
      exchange.res.emit('close');
    };
    const switched = { backend: this.#choice.current, socket, fields, spelling };
    const problem = this.#parts.tunnels.open(exchange, switched, () => exchange.scope.runInAsyncScope(closed));
    if (problem !== undefined) {
      this.ended({ kind: 'failed', cause: 'http_upgrade_failed', error: problem, sent: true, headSent: false });
      return;
    }
    this.#choice.settle(outcome);
    exchange.settle(outcome);
  }

  threw(error: unknown, isKept: boolean): void {
    const exchange = this.#exchange;
    if (exchange.upgrade === undefined && !isKept) {
      this.#fail(error);
      return;
    }
    // The connection is cut instead of asking the app for a response: a middleware that keeps a body would join that to it. And Express
    // responds to an upgrade in a later tick. If a function of the response throws again there, the process ends.
    exchange.working = undefined;
    this.#choice.releaseNeutral();
    this.#owner.over();
    exchange.settle(handlerError(error, isKept || exchange.res.headersSent));
    cut(exchange);
  }

  ended(ending: Outcome): void {
    const outcome = ending.kind === 'aborted' ? (this.#body?.unsendable ?? ending) : ending;
    this.#choice.release(outcome);
    try {
      if (outcome.kind === 'failed') {
        this.#failed(outcome);
      } else if (outcome.kind === 'rejected') {
        if (outcome.error !== undefined) this.#parts.shortages.noticed(outcome.error);
        this.#owner.reject(outcome);
      } else {
        // The exchange cannot derive the gRPC status from the response.
        if (outcome.kind === 'completed' && outcome.grpcStatus !== undefined) this.#exchange.settle(outcome);
        // The gateway rejected the body, such as one with bad chunks: then the client has not left.
        const known = this.#exchange.outcome;
        this.#choice.forwarded(outcome.kind === 'aborted' && known?.kind === 'rejected' ? known : outcome);
        this.#owner.over();
      }
    } catch (error) {
      this.#owner.over();
      throw error;
    }
  }

  #failed(outcome: Failed): void {
    const exchange = this.#exchange;
    const isOpen = !outcome.headSent && exchange.outcome === undefined;
    const hasNext = isOpen && this.#choice.hasNextAfter(outcome);
    const goesOn =
      isOpen && (hasNext || this.#choice.wasAway(outcome)) && this.#retries.afterFailure(outcome, this.#replayable);
    // Without a next backend, only the response is another one than that of this failure.
    this.#choice.failed(outcome, goesOn, goesOn && hasNext);
    if (goesOn) {
      this.#later();
    } else if (outcome.headSent) {
      exchange.settle(outcome);
      this.#choice.forwarded(outcome);
      respond(exchange, outcome);
      this.#owner.over();
    } else {
      this.#owner.reject(outcome);
    }
  }

  /** Makes the next attempt, never in the same tick: the transport may still have work to do after its report. */
  #later(): void {
    const { waitMs } = this.#retries;
    const timer = waitMs === 0 ? undefined : setTimeout(() => this.#again(), waitMs).unref();
    if (timer === undefined) process.nextTick(() => this.#again());
    this.#waits(() => clearTimeout(timer));
  }

  /** @param stop Called when the client leaves meanwhile. */
  #waits(stop: () => void): void {
    this.#exchange.working = {
      abort: () => {
        stop();
        this.#exchange.working = undefined;
        this.#owner.over();
      },
    };
  }

  #again(): void {
    // The exchange has ended in the meantime.
    if (this.#exchange.working === undefined) return;
    this.#exchange.working = undefined;
    try {
      if (this.#body?.unsendable !== undefined) this.#owner.reject(this.#body.unsendable);
      else this.#tryNext();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#exchange.working = undefined;
    this.#choice.releaseNeutral();
    this.#owner.fail(error);
  }

  /** Further attempts get only the time that is left until the deadline. */
  get #timeouts(): AttemptTimeouts {
    const { timeouts } = this.#parts;
    if (this.#exchange.attempts < 2) return timeouts;
    const responseTimeoutMs = Math.max(1, Math.min(timeouts.responseTimeoutMs, this.#retries.remainingMs));
    return { ...timeouts, responseTimeoutMs };
  }

  get #replayable(): boolean {
    return this.#body?.content?.replayable !== false;
  }
}

/**
 * Delays a request that must not be sent twice, so that connections which the backend has closed are noticed first. The first turn of the
 * event loop reads what arrived together with the request, the second one what has arrived since.
 */
const onceClosesAreRead = (send: () => void): void => {
  setImmediate(() => setImmediate(send));
};
