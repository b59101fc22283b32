import { AsyncResource } from 'node:async_hooks';
import type { Duplex } from 'node:stream';
import type { Backend, Place } from '../backends/backend.ts';
import type { Waiter } from '../backends/queue.ts';
import { declaredLength } from '../core/declared-length.ts';
import type { Exchange } from '../core/exchange.ts';
import { isEventStream } from '../core/field-values.ts';
import type { Next } from '../core/http.ts';
import {
  ABORTED,
  type Failed,
  handlerError,
  judge,
  type Outcome,
  type Rejected,
  type Verdict,
} from '../core/outcome.ts';
import { cut, rejectWith } from '../core/reject.ts';
import { Attempt } from './attempt.ts';
import type { AttemptOwner, AttemptTimeouts } from './attempt-owner.ts';
import { ForwardingReports } from './forwarding-reports.ts';
import type { ProxyParts } from './proxy-parts.ts';
import { alreadyRead, keptBody, whyUnreadable } from './request/read-body.ts';
import { type ContentOwner, RequestContent, type SendableContent } from './request/request-body.ts';
import { type RequestHead, requestHead } from './request/request-head.ts';
import { overload, RequestCaps } from './request-caps.ts';
import { containListeners, tellOfThrow } from './response/contain-throws.ts';
import type { HeaderSpelling } from './response/header-spelling.ts';
import { answerOptions, endsHere, refusedHere } from './response/own-response.ts';
import type { ResponseFields } from './response/response-head.ts';
import { Retries } from './retry/retries.ts';
import { tellOfUpgrade } from './tunnel/upgrade-protocols.ts';

/** Backends that are away and that one request asks at most. */
const MOST_AWAY = 3;

const tooLarge = (maxBodyBytes: number): Rejected => ({
  kind: 'rejected',
  cause: 'content_too_large',
  detail: `Longest allowed: ${maxBodyBytes} bytes (maxBodyBytes, MAX_BODY_BYTES).`,
});

/** One exchange on its way through the backends: picks one, tries it, and goes on to the next while it may. */
export class Forwarding implements AttemptOwner, ContentOwner, Waiter {
  readonly #parts: ProxyParts;
  readonly #exchange: Exchange;
  readonly #retries: Retries;
  readonly #reports: ForwardingReports;
  readonly #next: Next | undefined;
  #tried: readonly Backend[] = [];
  /** Nothing where there are no caps that it could come under. */
  #caps: RequestCaps | undefined;
  #content: SendableContent | undefined;
  #backend: Backend | undefined;
  #place: Place | undefined;
  #lastFailure: Failed | undefined;
  #bodyLength = 0;
  #isDecoded = false;
  /** Signs of life of the backend at the time when the request was sent to it. */
  #signsBefore = 0;
  /** A backend that did not respond in time, which may be the fault of this request. */
  #suspect: { readonly backend: Backend; readonly signsBefore: number } | undefined;
  /** Backends that were asked although their circuits were open. */
  #awayTried = 0;
  /** Why the body cannot be sent, if that turned out on the way. */
  #unsendable: Rejected | undefined;
  #isOver = false;

  /**
   * @param next Gets the errors of the app: what a middleware wrote that cannot be sent, what a function of a user threw. A
   * plain server has none.
   */
  constructor(parts: ProxyParts, exchange: Exchange, next: Next | undefined) {
    this.#parts = parts;
    this.#exchange = exchange;
    this.#next = next;
    this.#retries = new Retries(parts.retry, parts.budget, exchange.req.method, exchange.startedAt);
    this.#reports = new ForwardingReports(parts.events, exchange, parts.name);
  }

  start(): void {
    this.#exchange.scope = new AsyncResource('ExpresswayExchange');
    containListeners(this.#exchange);
    try {
      this.#start();
    } catch (error) {
      this.#fail(error);
    }
  }

  #start(): void {
    const { req, res } = this.#exchange;
    // It left, or was answered, while a middleware before this one was busy with it.
    if (this.#exchange.outcome !== undefined) {
      this.#over();
      return;
    }
    const { ambiguousPaths, caps, rules, tunnels } = this.#parts;
    const refusal = refusedHere(this.#exchange, ambiguousPaths, rules.via);
    if (refusal !== undefined) {
      this.#refuse(refusal);
      return;
    }
    if (req.method === 'OPTIONS' && endsHere(req)) {
      answerOptions(res);
      this.#over();
      return;
    }
    if (req.headers.upgrade !== undefined && this.#exchange.upgrade === undefined)
      tellOfUpgrade(req, req.headers.upgrade);
    if (caps !== undefined || this.#exchange.upgrade !== undefined) {
      this.#caps = new RequestCaps(caps, tunnels, this.#exchange);
      const full = this.#caps.enter();
      if (full !== undefined) {
        this.#refuse(full);
        return;
      }
    }
    this.#bodyLength = declaredLength(req);
    const unsendable = this.#bodyLength > 0 ? this.#takeBody() : undefined;
    if (unsendable === undefined) this.#tryNext();
    else this.#refuse(unsendable);
  }

  /** Attaches the body, or says why it cannot be sent. */
  #takeBody(): Rejected | undefined {
    const { req } = this.#exchange;
    const { body, maxBodyBytes } = this.#parts;
    const why = whyUnreadable(req);
    const kept = why === undefined ? undefined : keptBody(req, body);
    if (kept !== undefined) {
      this.#bodyLength = kept.length;
      this.#isDecoded = kept.isDecoded;
    }
    if (maxBodyBytes > 0 && this.#bodyLength > maxBodyBytes && this.#bodyLength < Infinity)
      return tooLarge(maxBodyBytes);
    if (why !== undefined && kept === undefined) return alreadyRead(req, why);
    this.#content = kept ?? new RequestContent(req, this.#retries.keepBytes, maxBodyBytes, this);
    return undefined;
  }

  #tryNext(): void {
    const { queue, pool } = this.#parts;
    // Who comes later must not take a place that somebody waits for.
    queue?.advance();
    const head = this.#enter();
    if (head !== undefined) {
      this.#send(head);
    } else if (this.#exchange.outcome !== undefined) {
      return;
    } else if (!pool.hasFull(this.#tried)) {
      this.#refuse(this.#lastFailure ?? { kind: 'rejected', cause: 'no_backend', retryAfterMs: pool.retryAfterMs() });
    } else if (queue?.join(this) === true) {
      this.#exchange.working = { abort: () => this.#leaveLine() };
    } else {
      this.expired();
    }
  }

  // Nothing may be awaited between picking a backend and entering its circuit: that is what keeps two
  // requests from taking the same trial.
  #enter(): RequestHead | undefined {
    const exchange = this.#exchange;
    // Somebody else drew it while nobody asked for it here.
    if (!this.#replayable) {
      this.#refuse(this.#unsendable ?? this.#lastFailure ?? alreadyRead(exchange.req));
      return undefined;
    }
    const { connections, pool } = this.#parts;
    const bound = connections.boundTo(exchange.req.socket);
    const usable = pool.candidate(bound, this.#tried) ?? pool.select(exchange, this.#tried);
    const away = usable === undefined ? this.#away(this.#tried) : undefined;
    const backend = usable ?? away;
    if (backend === undefined) return undefined;
    if (away !== undefined) this.#awayTried += 1;
    const head = requestHead(exchange, backend.authority, this.#parts.rules, this.#bodyLength, this.#isDecoded);
    if (head === undefined) {
      this.#refuse({ kind: 'rejected', cause: 'bad_request', detail: 'The request target is none that is forwarded.' });
      return undefined;
    }
    const place = away === undefined ? backend.acquire() : backend.acquireAway();
    if (place === undefined) throw new Error('a backend that was available refused in the same tick');
    this.#backend = backend;
    this.#signsBefore = backend.timeouts.signsOfLife;
    this.#place = place;
    this.#reports.picked(backend, head);
    exchange.backend = backend.origin;
    exchange.attempts += 1;
    return head;
  }

  /**
   * When all backends are out, and some only because their process was away, those are asked before the client gets 503: a
   * refused connection costs nothing, and the process may be back.
   */
  #away(tried: readonly Backend[]): Backend | undefined {
    const { pool } = this.#parts;
    return this.#awayTried < MOST_AWAY && !pool.hasFull(tried) ? pool.away(tried) : undefined;
  }

  #send(head: RequestHead): void {
    const { connections, watchdog } = this.#parts;
    const exchange = this.#exchange;
    new Attempt(exchange, this, watchdog, this.#timeouts).start(
      connections.to(this.#backend as Backend),
      head,
      this.#content,
      exchange.upgrade?.protocol,
    );
  }

  /** The first in line takes its place at once; the request follows when the transport is out of the way. */
  tryEnter(): boolean {
    return this.#exchange.scope.runInAsyncScope(this.#tryEnter, this);
  }

  #tryEnter(): boolean {
    try {
      const head = this.#enter();
      if (head === undefined) return this.#exchange.outcome !== undefined;
      this.#exchange.working = {
        abort: () => {
          this.#exchange.working = undefined;
          this.ended(ABORTED);
        },
      };
      process.nextTick(() => this.#sendLater(head));
    } catch (error) {
      this.#fail(error);
    }
    return true;
  }

  #sendLater(head: RequestHead): void {
    try {
      if (this.#exchange.working === undefined) return;
      if (this.#unsendable === undefined) this.#send(head);
      else this.ended(this.#unsendable);
    } catch (error) {
      this.#fail(error);
    }
  }

  expired(): void {
    try {
      this.#exchange.working = undefined;
      this.#refuse(this.#lastFailure ?? overload('overloaded'));
    } catch (error) {
      this.#fail(error);
    }
  }

  #leaveLine(): void {
    this.#parts.queue?.leave(this);
    this.#exchange.working = undefined;
    this.#over();
  }

  sent(): void {
    this.#signsBefore = (this.#backend as Backend).timeouts.signsOfLife;
    this.#place?.sent();
  }

  accepts(status: number, fields: ResponseFields): boolean {
    const exchange = this.#exchange;
    this.#parts.health.answered(this.#backend as Backend, status, fields);
    // Not worth a look on most answers: status first, then whether anybody else could do better.
    if (!this.#parts.retry.statuses.includes(status) || exchange.outcome !== undefined) return true;
    const tried = [...this.#tried, this.#backend as Backend];
    if (!this.#parts.pool.hasCandidate(tried) || !this.#retries.afterAnswer(status, this.#replayable)) return true;
    const outcome: Outcome = { kind: 'completed', status };
    this.#place?.release(this.#verdict(outcome));
    this.#reports.attemptFailed(this.#backend as Backend, outcome, true);
    this.#tried = tried;
    this.#later();
    return false;
  }

  answered(status: number, fields: ResponseFields): void {
    this.#place?.answered();
    const backend = this.#backend as Backend;
    this.#exchange.recorder?.attemptAnswered(backend.origin);
    if (backend.isAway) backend.circuit.reset();
    if (status < 500) {
      backend.timeouts.showedLife();
      this.#suspect?.backend.confirmTimeout(this.#suspect.signsBefore);
      this.#suspect = undefined;
    }
    const outcome: Outcome = { kind: 'completed', status };
    const isStream = isEventStream(fields['content-type']);
    if (isStream || this.#place?.isTrial === true) this.#place?.settle(this.#verdict(outcome));
    if (isStream) this.#exchange.settle(outcome);
  }

  upgraded(status: number, fields: ResponseFields, backendSocket: Duplex, spelling: HeaderSpelling | undefined): void {
    const exchange = this.#exchange;
    const outcome: Outcome = { kind: 'completed', status };
    const closed = () => {
      this.#place?.release('neutral');
      this.#reports.forwarded(this.#backend as Backend, outcome);
      this.#over();
      // For whoever measures the response: it is over only now.
      exchange.res.emit('close');
    };
    const problem = this.#parts.tunnels.open(
      exchange,
      { backend: this.#backend as Backend, socket: backendSocket, fields, spelling },
      () => exchange.scope.runInAsyncScope(closed),
    );
    if (problem !== undefined) {
      this.ended({ kind: 'failed', cause: 'http_upgrade_failed', error: problem, sent: true, headSent: false });
      return;
    }
    this.#place?.settle(this.#verdict(outcome));
    exchange.settle(outcome);
  }

  /** Between two attempts, the next one is not made. */
  contentRefused(cause: 'content_too_large' | 'content_already_read'): void {
    const exchange = this.#exchange;
    const { req, working } = exchange;
    this.#unsendable = cause === 'content_too_large' ? tooLarge(this.#parts.maxBodyBytes) : alreadyRead(req);
    if (working instanceof Attempt) exchange.scope.runInAsyncScope(working.abort, working);
  }

  threw(error: unknown): void {
    // Express replies to an upgrade in a later tick, where a function of the response that throws once more ends the process.
    if (this.#exchange.upgrade === undefined) this.#fail(error);
    else this.#giveUp(error);
  }

  ended(ending: Outcome): void {
    const outcome = ending.kind === 'aborted' ? (this.#unsendable ?? ending) : ending;
    if (outcome.kind === 'failed' && this.#backend !== undefined) this.#backend.lastFailure = outcome.cause;
    this.#place?.release(this.#verdict(outcome));
    try {
      switch (outcome.kind) {
        case 'failed':
          this.#failed(outcome);
          break;
        case 'rejected':
          if (outcome.error !== undefined) this.#parts.shortages.noticed(outcome.error);
          this.#refuse(outcome);
          break;
        default:
          this.#reports.forwarded(this.#backend as Backend, outcome);
          this.#over();
      }
    } catch (error) {
      this.#over();
      throw error;
    }
  }

  #failed(outcome: Failed): void {
    const exchange = this.#exchange;
    // A connection that died unused says nothing of its backend: that one may be asked again.
    const backend = this.#backend as Backend;
    const tried = outcome.unused === true ? this.#tried : [...this.#tried, backend];
    const wasAway = backend.isAway && !outcome.sent;
    const retried =
      !outcome.headSent &&
      exchange.outcome === undefined &&
      (this.#parts.pool.hasCandidate(tried) || this.#away(tried) !== undefined || wasAway) &&
      this.#retries.afterFailure(outcome, this.#replayable);
    this.#reports.attemptFailed(backend, outcome, retried);
    if (retried) {
      // A backend that is still away is out, as it was before: that is no news for the client.
      if (!wasAway) this.#lastFailure = outcome;
      this.#tried = tried;
      this.#later();
    } else if (outcome.headSent) {
      exchange.settle(outcome);
      this.#reports.forwarded(this.#backend as Backend, outcome);
      cut(exchange);
      this.#over();
    } else {
      this.#refuse(outcome);
    }
  }

  /** Never in the same tick: the transport may still be in the middle of what it reported. */
  #later(): void {
    const { waitMs } = this.#retries;
    const timer = waitMs === 0 ? undefined : setTimeout(() => this.#again(), waitMs).unref();
    if (timer === undefined) process.nextTick(() => this.#again());
    this.#exchange.working = {
      abort: () => {
        clearTimeout(timer);
        this.#exchange.working = undefined;
        this.#over();
      },
    };
  }

  #again(): void {
    // Somebody else has ended the exchange while it waited.
    if (this.#exchange.working === undefined) return;
    this.#exchange.working = undefined;
    try {
      if (this.#unsendable !== undefined) this.#refuse(this.#unsendable);
      else this.#tryNext();
    } catch (error) {
      this.#fail(error);
    }
  }

  #refuse(outcome: Failed | Rejected): void {
    try {
      const { events, name } = this.#parts;
      const exchange = this.#exchange;
      rejectWith(exchange, outcome, events, 'rejected', { exchange, proxy: name, outcome });
    } finally {
      this.#over();
    }
  }

  /** A function of the app threw, or a middleware wrote what cannot be sent: whatever is held is released, and the app hears of it. */
  #fail(error: unknown): void {
    const exchange = this.#exchange;
    exchange.working = undefined;
    this.#place?.release('neutral');
    this.#over();
    const { headersSent: headSent } = exchange.res;
    if (!headSent && this.#next !== undefined) {
      try {
        this.#next(error);
      } catch (again) {
        // The error handlers of the app failed as well, by a wrapped method of the response, say.
        tellOfThrow(exchange.req, 'A function of the app', again);
        cut(exchange);
      }
      return;
    }
    this.#refuse(handlerError(error, headSent));
  }

  /** The connection is cut, and nobody is asked for a response. */
  #giveUp(error: unknown): void {
    const exchange = this.#exchange;
    exchange.working = undefined;
    this.#place?.release('neutral');
    this.#over();
    exchange.settle(handlerError(error, exchange.res.headersSent));
    cut(exchange);
  }

  /** Once or more often: what is held is released once. */
  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#retries.end();
    this.#caps?.leave();
    this.#content?.drain();
  }

  #verdict(outcome: Outcome): Verdict {
    const verdict = judge(outcome, this.#parts.isFailure);
    const isLate = outcome.kind === 'failed' && outcome.cause === 'http_response_timeout';
    return isLate && verdict === 'failure' ? this.#timeoutVerdict() : verdict;
  }

  #timeoutVerdict(): Verdict {
    const backend = this.#backend as Backend;
    const blame = backend.timeouts.judge(this.#signsBefore, this.#exchange.clientAddress);
    if (blame === 'repeated') this.#suspect = { backend, signsBefore: this.#signsBefore };
    return blame === 'counts' ? 'failure' : 'neutral';
  }

  /** A further attempt may wait only for what the first ones left of the deadline. */
  get #timeouts(): AttemptTimeouts {
    const { timeouts } = this.#parts;
    if (this.#exchange.attempts < 2) return timeouts;
    const responseTimeoutMs = Math.max(1, Math.min(timeouts.responseTimeoutMs, this.#retries.remainingMs));
    return { ...timeouts, responseTimeoutMs };
  }

  get #replayable(): boolean {
    return this.#content?.replayable !== false;
  }
}
