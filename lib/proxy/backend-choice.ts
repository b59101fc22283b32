import type { Backend } from '../backends/backend.ts';
import type { Slot } from '../backends/slot.ts';
import { countedClient } from '../core/address-key.ts';
import type { Exchange } from '../core/exchange.ts';
import { isEventStream } from '../core/http.ts';
import { type Completed, type Failed, judge, type Outcome, type Verdict } from '../core/outcome.ts';
import type { ProxyParts } from './proxy-parts.ts';
import type { RequestHead } from './request/request-head.ts';
import type { ResponseFields } from './response/response-head.ts';

/** Most backends without a process that one request tries. */
const MAX_AWAY = 3;

/**
 * The backends of one request: those that it has tried, and the current one with the request's slot there. Reports the outcome of each
 * attempt to circuit, health, events and recorder.
 */
export class BackendChoice {
  /** The failure that the client gets when no other backend can be tried. */
  lastFailure: Failed | undefined;
  readonly #parts: ProxyParts;
  readonly #exchange: Exchange;
  #tried: readonly Backend[] = [];
  #awayTried = 0;
  /** Whether the next backend is one that refused connections lately. */
  #isAway = false;
  #backend: Backend | undefined;
  #slot: Slot | undefined;
  #pickedAt = 0;
  /** Signs of life of the backend when the request was sent to it. */
  #signsBefore = 0;
  /** A backend that did not respond in time, which may be the fault of this request. */
  #suspect: { readonly backend: Backend; readonly signsBefore: number } | undefined;

  constructor(parts: ProxyParts, exchange: Exchange) {
    this.#parts = parts;
    this.#exchange = exchange;
  }

  /** The backend of the current attempt. */
  get current(): Backend {
    return this.#backend as Backend;
  }

  /** Whether a backend that was not tried yet is suitable, but full. */
  get hasFull(): boolean {
    return this.#parts.pool.hasFull(this.#tried);
  }

  /** The cause of a rejection because all backends are full: adaptive limits, or other limits. */
  get fullCause(): 'concurrency_limit' | 'overloaded' {
    return this.#parts.pool.hasLimited(this.#tried) ? 'concurrency_limit' : 'overloaded';
  }

  /** The backend for the next attempt. `take()` must follow in the same tick. */
  next(): Backend | undefined {
    const { connections, pool, policy } = this.#parts;
    const exchange = this.#exchange;
    const bound = connections.boundTo(exchange.req.socket);
    let usable = pool.candidate(bound, this.#tried) ?? pool.select(exchange, this.#tried, policy);
    if (usable === undefined && pool.endLongWaits()) usable = pool.select(exchange, this.#tried, policy);
    this.#isAway = false;
    if (usable !== undefined) return usable;
    const away = this.#away(this.#tried);
    if (away === undefined) return undefined;
    this.#isAway = true;
    this.#awayTried += 1;
    return away;
  }

  /** Takes a slot at a backend, and enters its circuit. */
  take(backend: Backend, head: RequestHead): void {
    const exchange = this.#exchange;
    const slot = this.#isAway ? backend.acquireAway() : backend.acquire();
    if (slot === undefined) throw new Error('a backend that was available refused in the same tick');
    this.#backend = backend;
    this.#signsBefore = backend.timeouts.signsOfLife;
    this.#slot = slot;
    const { connections, events } = this.#parts;
    exchange.recorder?.attemptStarted(backend.origin, head, connections.isHttp2 ? '2' : '1.1');
    if (events.listenerCount('forwarded') > 0) this.#pickedAt = Date.now();
    exchange.backend = backend.origin;
    exchange.isAppError = false;
    exchange.attempts += 1;
  }

  /** The request has been sent, with its whole body. */
  sent(): void {
    this.#signsBefore = this.current.timeouts.signsOfLife;
    this.#slot?.sent();
  }

  /** The response head has arrived. @returns whether the response is an event stream. */
  responded(outcome: Completed, fields: ResponseFields): boolean {
    this.#slot?.responded(outcome.status < 500);
    const backend = this.current;
    this.#exchange.recorder?.attemptAnswered(backend.origin);
    if (backend.isAway) backend.circuit.reset();
    if (outcome.status < 500) {
      backend.timeouts.showedLife();
      this.#suspect?.backend.confirmTimeout(this.#suspect.signsBefore);
      this.#suspect = undefined;
    }
    const isStream = isEventStream(fields['content-type']);
    if (isStream || this.#slot?.isTrial === true) this.settle(outcome);
    return isStream;
  }

  /** Reports the outcome to the circuit; the slot stays in use. */
  settle(outcome: Outcome): void {
    this.#slot?.settle(this.#verdict(outcome));
  }

  /** Releases the slot, and reports the outcome to the circuit, unless `settle()` has done so. */
  release(outcome: Outcome): void {
    if (outcome.kind === 'failed' && this.#backend !== undefined) this.#backend.lastFailure = outcome.cause;
    this.#slot?.release(this.#verdict(outcome));
  }

  /** The same for an attempt that says nothing about the backend. */
  releaseNeutral(): void {
    this.#slot?.release('neutral');
  }

  /** Whether a backend other than those tried, and than the current one, is available. */
  hasOther(): boolean {
    return this.#parts.pool.hasCandidate([...this.#tried, this.current]);
  }

  /** Whether there is a backend to try after this failure: another one, or one whose process may be back. */
  hasNextAfter(outcome: Failed): boolean {
    const tried = this.#triedAfter(outcome);
    return this.#parts.pool.hasCandidate(tried) || this.#away(tried) !== undefined;
  }

  /** Whether the attempt only looked if the process of a backend is back, so that its failure is not what the client gets. */
  wasAway(outcome: Failed): boolean {
    return this.current.isAway && !outcome.sent;
  }

  /**
   * The attempt ended without a response for the client.
   *
   * @param goesOn Whether `next()` follows.
   * @param retried Whether it has a backend to give.
   */
  failed(outcome: Failed, goesOn: boolean, retried: boolean): void {
    this.#attemptFailed(outcome, retried);
    if (!goesOn) return;
    // If a backend still refuses connections, the client gets the earlier failure.
    if (!this.wasAway(outcome)) this.lastFailure = outcome;
    this.#tried = this.#triedAfter(outcome);
  }

  /** The response of the backend is dropped, and the request goes to another backend. */
  dropped(outcome: Completed): void {
    this.release(outcome);
    this.#attemptFailed(outcome, true);
    this.#tried = [...this.#tried, this.current];
  }

  /** The response of the backend went to the client, complete or cut off. */
  forwarded(outcome: Outcome): void {
    const backend = this.current.origin;
    this.#exchange.recorder?.attemptEnded(backend, outcome);
    const { events, name } = this.#parts;
    if (events.listenerCount('forwarded') === 0) return;
    const durationMs = Math.max(0, Date.now() - (this.#pickedAt || this.#exchange.startedAt));
    events.emit('forwarded', { exchange: this.#exchange, service: name, backend, outcome, durationMs });
  }

  #attemptFailed(outcome: Outcome, retried: boolean): void {
    const backend = this.current.origin;
    this.#exchange.recorder?.attemptEnded(backend, outcome);
    const { events, name } = this.#parts;
    if (events.listenerCount('attemptFailed') === 0) return;
    events.emit('attemptFailed', { exchange: this.#exchange, service: name, backend, outcome, retried });
  }

  /**
   * When no backend is available, tries those that are out only because they refused connections, before the client gets 503: a
   * refused connection costs little, and the process may be back.
   */
  #away(tried: readonly Backend[]): Backend | undefined {
    const { pool } = this.#parts;
    return this.#awayTried < MAX_AWAY && !pool.hasFull(tried) ? pool.away(tried) : undefined;
  }

  /** A connection that ended unused says nothing about its backend, so that backend may be tried again. */
  #triedAfter(outcome: Failed): readonly Backend[] {
    return outcome.unused === true ? this.#tried : [...this.#tried, this.current];
  }

  #verdict(outcome: Outcome): Verdict {
    const verdict = judge(outcome, this.#parts.isFailure);
    const isLate = outcome.kind === 'failed' && outcome.cause === 'http_response_timeout';
    return isLate && verdict === 'failure' ? this.#timeoutVerdict() : verdict;
  }

  #timeoutVerdict(): Verdict {
    const backend = this.current;
    const blame = backend.timeouts.judge(this.#signsBefore, countedClient(this.#exchange));
    if (blame === 'repeated') this.#suspect = { backend, signsBefore: this.#signsBefore };
    return blame === 'counts' ? 'failure' : 'neutral';
  }
}
