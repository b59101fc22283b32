import type { Duplex } from 'node:stream';
import type { Backend, Lease } from '../backends/backend.ts';
import type { Waiter } from '../backends/waiting-line.ts';
import type { Exchange } from '../core/exchange.ts';
import { ABORTED, type Failed, judge, type Outcome, type Rejected, type Verdict } from '../core/outcome.ts';
import { warnOnce } from '../core/warnings.ts';
import { Admission, overload } from './admission.ts';
import { Attempt } from './attempt.ts';
import type { AttemptOwner, AttemptTimeouts } from './attempt-owner.ts';
import type { ForwardingParts } from './forwarding-parts.ts';
import { ForwardingReports } from './forwarding-reports.ts';
import { answerOptions, endsHere, refusedHere } from './own-answer.ts';
import { cut, refuse } from './refusal.ts';
import { type ContentOwner, RequestContent } from './request-content.ts';
import { hasContent, type RequestHead, requestHead } from './request-head.ts';
import { isEventStream, type ResponseFields } from './response-head.ts';
import { Retries } from './retries.ts';

const BODY_ALREADY_READ =
  'the content of this request was read before it reached the proxy. ' +
  'Mount roundRobinProxy() before body parsers such as express.json().';

const TOO_LARGE: Rejected = Object.freeze({ kind: 'rejected', cause: 'content_too_large' });

/** One exchange on its way through the backends: picks one, tries it, and goes on to the next while it may. */
export class Forwarding implements AttemptOwner, ContentOwner, Waiter {
  readonly #parts: ForwardingParts;
  readonly #exchange: Exchange;
  readonly #retries: Retries;
  readonly #reports: ForwardingReports;
  #tried: readonly Backend[] = [];
  /** Nothing where there are no caps that it could come under. */
  #admission: Admission | undefined;
  #content: RequestContent | undefined;
  #backend: Backend | undefined;
  #lease: Lease | undefined;
  #lastFailure: Failed | undefined;
  #tooLarge = false;

  constructor(parts: ForwardingParts, exchange: Exchange) {
    this.#parts = parts;
    this.#exchange = exchange;
    this.#retries = new Retries(parts.retry, parts.budget, exchange.req.method, exchange.startedAt);
    this.#reports = new ForwardingReports(parts.events, exchange, parts.name);
  }

  start(): void {
    const { req, res } = this.#exchange;
    // It left, or was answered, while a middleware before this one was busy with it.
    if (this.#exchange.outcome !== undefined) {
      this.#over();
      return;
    }
    const { ambiguousPaths, caps, maxBodyBytes, rules, tunnels } = this.#parts;
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
    if (caps !== undefined || this.#exchange.upgrade !== undefined) {
      this.#admission = new Admission(caps, tunnels, this.#exchange);
      const full = this.#admission.enter();
      if (full !== undefined) {
        this.#refuse(full);
        return;
      }
    }
    if (!hasContent(req)) {
      this.#tryNext();
    } else if (req.readableDidRead) {
      warnOnce(req, 'ERR_EXPRESSWAY_BODY_ALREADY_READ', `A request got 500: ${BODY_ALREADY_READ}`);
      const detail = `ERR_EXPRESSWAY_BODY_ALREADY_READ: ${BODY_ALREADY_READ}`;
      this.#refuse({ kind: 'rejected', cause: 'content_already_read', detail });
    } else if (maxBodyBytes > 0 && Number(req.headers['content-length']) > maxBodyBytes) {
      this.#refuse(TOO_LARGE);
    } else {
      this.#content = new RequestContent(req, this.#retries.keepBytes, maxBodyBytes, this);
      this.#tryNext();
    }
  }

  #tryNext(): void {
    const { line, pool } = this.#parts;
    // Who comes later must not take the place that the first in line waits for.
    const head = line !== undefined && line.length > 0 ? undefined : this.#enter();
    if (head !== undefined) {
      this.#send(head);
    } else if (this.#exchange.outcome !== undefined) {
      return;
    } else if (!pool.hasFull(this.#tried) && (line === undefined || line.length === 0)) {
      this.#refuse(this.#lastFailure ?? { kind: 'rejected', cause: 'no_backend', retryAfterMs: pool.retryAfterMs() });
    } else if (line?.join(this) === true) {
      this.#exchange.working = { abort: () => this.#leaveLine() };
    } else {
      this.expired();
    }
  }

  // Nothing may be awaited between picking a backend and entering its circuit: that is what keeps two
  // requests from taking the same trial.
  #enter(): RequestHead | undefined {
    const exchange = this.#exchange;
    const backend = this.#parts.pool.select(exchange, this.#tried);
    if (backend === undefined) return undefined;
    const head = requestHead(exchange, backend.authority, this.#parts.rules);
    if (head === undefined) {
      this.#refuse({ kind: 'rejected', cause: 'bad_request', detail: 'The request target is none that is forwarded.' });
      return undefined;
    }
    const lease = backend.acquire();
    if (lease === undefined) throw new Error('a backend that was available refused in the same tick');
    this.#backend = backend;
    this.#lease = lease;
    this.#reports.picked(backend, head);
    exchange.backend = backend.origin;
    exchange.attempts += 1;
    return head;
  }

  #send(head: RequestHead): void {
    const { connections, watchdog } = this.#parts;
    const exchange = this.#exchange;
    const { origin, serverName } = this.#backend as Backend;
    new Attempt(exchange, this, watchdog, this.#timeouts).start(
      connections.to(origin, serverName),
      head,
      this.#content,
      exchange.upgrade?.protocol,
    );
  }

  /** The first in line takes its place at once; the request follows when the transport is out of the way. */
  tryEnter(): boolean {
    const head = this.#enter();
    if (head === undefined) return this.#exchange.outcome !== undefined;
    this.#exchange.working = {
      abort: () => {
        this.#exchange.working = undefined;
        this.ended(ABORTED);
      },
    };
    process.nextTick(() => {
      if (this.#exchange.working !== undefined) this.#send(head);
    });
    return true;
  }

  expired(): void {
    this.#exchange.working = undefined;
    this.#refuse(this.#lastFailure ?? overload('overloaded'));
  }

  #leaveLine(): void {
    this.#parts.line?.leave(this);
    this.#exchange.working = undefined;
    this.#over();
  }

  sent(): void {
    this.#lease?.sent();
  }

  accepts(status: number, fields: ResponseFields): boolean {
    const exchange = this.#exchange;
    this.#parts.health.answered(this.#backend as Backend, status, fields);
    // Not worth a look on most answers: status first, then whether anybody else could do better.
    if (!this.#parts.retry.statuses.includes(status) || exchange.outcome !== undefined) return true;
    const tried = [...this.#tried, this.#backend as Backend];
    if (!this.#parts.pool.hasCandidate(tried) || !this.#retries.afterAnswer(status, this.#replayable)) return true;
    const outcome: Outcome = { kind: 'completed', status };
    this.#lease?.release(this.#verdict(outcome));
    this.#reports.attemptFailed(this.#backend as Backend, outcome, true);
    this.#tried = tried;
    this.#later();
    return false;
  }

  answered(status: number, fields: ResponseFields): void {
    this.#lease?.answered();
    const outcome: Outcome = { kind: 'completed', status };
    const isStream = isEventStream(fields);
    if (isStream || this.#lease?.isTrial === true) this.#lease?.settle(this.#verdict(outcome));
    if (isStream) this.#exchange.settle(outcome);
  }

  upgraded(status: number, fields: ResponseFields, backendSocket: Duplex): void {
    const exchange = this.#exchange;
    const outcome: Outcome = { kind: 'completed', status };
    const problem = this.#parts.tunnels.open(exchange, this.#backend as Backend, fields, backendSocket, () => {
      this.#lease?.release('neutral');
      this.#reports.forwarded(this.#backend as Backend, outcome);
      this.#over();
      // For whoever measures the response: it is over only now.
      exchange.res.emit('close');
    });
    if (problem !== undefined) {
      this.ended({ kind: 'failed', cause: 'http_upgrade_failed', error: problem, sent: true, headSent: false });
      return;
    }
    this.#lease?.settle(this.#verdict(outcome));
    exchange.settle(outcome);
  }

  /** Content of unknown length turned out to be too long. Between two attempts, the next one is not made. */
  contentTooLarge(): void {
    this.#tooLarge = true;
    const { working } = this.#exchange;
    if (working instanceof Attempt) working.abort();
  }

  ended(ending: Outcome): void {
    const outcome = this.#tooLarge && ending.kind === 'aborted' ? TOO_LARGE : ending;
    this.#lease?.release(this.#verdict(outcome));
    switch (outcome.kind) {
      case 'failed':
        this.#failed(outcome);
        break;
      case 'rejected':
        this.#refuse(outcome);
        break;
      default:
        this.#reports.forwarded(this.#backend as Backend, outcome);
        this.#over();
    }
  }

  #failed(outcome: Failed): void {
    const exchange = this.#exchange;
    // A connection that died unused says nothing of its backend: that one may be asked again.
    const tried = outcome.unused === true ? this.#tried : [...this.#tried, this.#backend as Backend];
    const retried =
      !outcome.headSent &&
      exchange.outcome === undefined &&
      this.#parts.pool.hasCandidate(tried) &&
      this.#retries.afterFailure(outcome, this.#replayable);
    this.#reports.attemptFailed(this.#backend as Backend, outcome, retried);
    if (retried) {
      this.#lastFailure = outcome;
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
    if (this.#tooLarge) this.#refuse(TOO_LARGE);
    else this.#tryNext();
  }

  #refuse(outcome: Failed | Rejected): void {
    this.#exchange.settle(outcome);
    this.#reports.rejected(outcome);
    refuse(this.#exchange, outcome);
    this.#over();
  }

  #over(): void {
    this.#retries.end();
    this.#admission?.leave();
    if (!this.#exchange.req.complete) this.#content?.drain();
  }

  #verdict(outcome: Outcome): Verdict {
    return judge(outcome, this.#parts.isFailure);
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
