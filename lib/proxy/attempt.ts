import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Abortable, Exchange } from '../core/exchange.ts';
import { isEventStream } from '../core/field-values.ts';
import { lastAnswer } from '../core/last-answer.ts';
import { ABORTED, type Failed, type FailureCause, type Outcome } from '../core/outcome.ts';
import { cut } from '../core/reject.ts';
import type { AttemptOwner, AttemptTimeouts } from './attempt-owner.ts';
import type { SendableContent } from './request/request-body.ts';
import { type RequestHead, unsendable } from './request/request-head.ts';
import { tellOfThrow } from './response/contain-throws.ts';
import { type Encoded, endWith, flushEncoder, flushHead, SMALL_ANSWER } from './response/flush.ts';
import type { HeaderSpelling } from './response/header-spelling.ts';
import { passInformational } from './response/informational.ts';
import {
  applyResponseHead,
  checkResponseHead,
  closesIdleConnection,
  forgetRawFields,
  type ResponseFields,
  removeResponseHead,
} from './response/response-head.ts';
import { ScopedHandler } from './response/scoped-handler.ts';
import { addTrailers, endConnection } from './response/trailers.ts';
import type { BackendConnections, RequestConnection } from './transport/backend-connections.ts';
import { asksForConnection, authenticatesConnection } from './transport/bound-connections.ts';
import { bytesReadBefore } from './transport/connections.ts';
import { failureCause, isRefusedRequest, shortageOutcome } from './transport/failure.ts';
import type { Watchdog, Watched } from './watchdog.ts';

const IDLE_408 = 'the backend sent 408 to close an idle connection, when this request was on its way';

/** How long the news of a closed connection may take to cross a request that was just sent on it. */
const IDLE_CLOSE_RACE_MS = 1_000;

/**
 * One request to one backend: writes the request, streams the answer to the client, and says how it went.
 * Never throws and never rejects. It answers the client only with what the backend sent.
 */
export class Attempt implements Abortable, Watched {
  timeoutMs = Number.POSITIVE_INFINITY;
  silentSince = 0;
  place = -1;
  readonly #exchange: Exchange;
  readonly #owner: AttemptOwner;
  readonly #watchdog: Watchdog;
  readonly #timeouts: AttemptTimeouts;
  readonly #res: ServerResponse;
  #controller: Dispatcher.DispatchController | undefined;
  #on: RequestConnection | undefined;
  #content: SendableContent | undefined;
  /** `Date.now()` when a request with a body was sent. */
  #startedAt = 0;
  #spelling: HeaderSpelling | undefined;
  #status = 0;
  #informationals = 0;
  /** What the answer's head named as ending here. */
  #connection: ResponseFields[string];
  /** Bytes that the answer's length field still promises; NaN when it has none. */
  #remaining = Number.NaN;
  #isStream = false;
  #paused = false;
  #hearsDrain = false;
  /** Whether a middleware such as compression() keeps back what it is given. */
  #encoded = false;
  /** The head that is on the response but has not gone out. */
  #held: ResponseFields | undefined;
  #answering = false;
  /** Why undici takes no such request. It says so before `dispatch()` returns. */
  #refused: Error | undefined;
  #done = false;

  constructor(exchange: Exchange, owner: AttemptOwner, watchdog: Watchdog, timeouts: AttemptTimeouts) {
    this.#exchange = exchange;
    this.#owner = owner;
    this.#watchdog = watchdog;
    this.#timeouts = timeouts;
    this.#res = exchange.res;
  }

  /**
   * @param upgrade The protocol asked for, if any.
   * @throws {GatewayError} ERR_EXPRESSWAY_REQUEST_HEAD when a middleware made the head something that cannot be sent. Its owner
   * hears of nothing else then.
   */
  start(
    connections: BackendConnections,
    head: RequestHead,
    content: SendableContent | undefined,
    upgrade?: string,
  ): void {
    const { req } = this.#exchange;
    this.#exchange.working = this;
    this.#content = content;
    if (content !== undefined) this.#startedAt = Date.now();
    this.#spelling = connections.spelling;
    this.#watchdog.watch(this);
    try {
      this.#on = connections.dispatch(
        {
          path: head.path,
          method: req.method as Dispatcher.HttpMethod,
          headers: head.fields,
          body: content?.reader() ?? null,
          upgrade: upgrade ?? null,
        },
        new ScopedHandler(this, this.#exchange),
        req.socket,
      );
      if (authenticatesConnection(head.fields)) this.#on?.bindTo(req.socket);
      if (this.#refused !== undefined) throw unsendable(head, this.#refused);
    } catch (error) {
      this.#finish();
      throw error;
    }
  }

  /** The client is gone, or was answered by somebody else. */
  abort(): void {
    const known = this.#exchange.outcome;
    this.#stop(known?.kind === 'failed' ? known : ABORTED, 'the client closed the connection');
  }

  /** Code of the app threw while it got the response, or heard of its end: the backend is not to blame. */
  threw(error: unknown): void {
    this.#exchange.scope.runInAsyncScope(this.#threw, this, error);
  }

  expired(silentMs: number): void {
    try {
      this.#exchange.scope.runInAsyncScope(this.#expired, this, silentMs);
    } catch (error) {
      this.threw(error);
    }
  }

  /** A head must not wait for its content. */
  flushHead(): void {
    try {
      flushHead(this.#res);
      this.#held = undefined;
    } catch (error) {
      this.threw(error);
    }
  }

  /** Once the backend pauses: what it has sent must not wait for what it may send later. */
  flushEncoder(): void {
    try {
      flushEncoder(this.#res);
    } catch (error) {
      this.threw(error);
    }
  }

  #expired(silentMs: number): void {
    if (this.#status !== 0) {
      const { idleTimeoutMs } = this.#timeouts;
      this.#timedOut(
        'connection_read_timeout',
        `The backend sent nothing for ${idleTimeoutMs} ms (idleTimeoutMs, IDLE_TIMEOUT_MS)`,
      );
    } else if (this.#content?.starved !== true) {
      const { responseTimeoutMs } = this.#timeouts;
      const message = `The backend sent no response within ${responseTimeoutMs} ms (responseTimeoutMs, RESPONSE_TIMEOUT_MS)`;
      this.#timedOut('http_response_timeout', message, `${message}.`);
    } else if (silentMs >= this.#timeouts.idleTimeoutMs) {
      this.#stop({ kind: 'rejected', cause: 'client_timeout' }, 'the client stopped sending');
    }
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#done) controller.abort(new Error('the request ended while it waited for a connection'));
    else this.#progress(this.#timeouts.responseTimeoutMs);
  }

  onBodySent(): void {
    this.#progress(this.#timeouts.responseTimeoutMs);
  }

  onRequestSent(): void {
    this.#owner.sent();
    this.#progress(this.#timeouts.responseTimeoutMs);
  }

  onResponseStarted(): void {
    this.#answering = true;
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    fields: ResponseFields,
    statusMessage?: string,
  ): void {
    const spelling = this.#spelling?.read(controller.rawHeaders);
    if (status < 200) {
      this.#informationals += 1;
      passInformational(this.#res, status, fields, this.#informationals, spelling);
      forgetRawFields(controller);
      return;
    }
    checkResponseHead(status, fields);
    if (closesIdleConnection(status, fields) && this.#on?.isReused === true && this.#startedJustNow) {
      const error = Object.assign(new Error(IDLE_408), { code: 'ECONNRESET' });
      this.#stop({ ...this.#failed('connection_terminated', error), unused: true }, IDLE_408);
      return;
    }
    const challenge = fields['www-authenticate'];
    if (challenge !== undefined && asksForConnection(challenge)) this.#on?.bindTo(this.#exchange.req.socket);
    if (!this.#owner.accepts(status, fields)) {
      this.#finish();
      controller.abort(new Error('the answer is not wanted'));
      return;
    }
    const res = this.#res;
    applyResponseHead(res, status, statusMessage, fields, spelling);
    forgetRawFields(controller);
    this.#status = status;
    this.#connection = fields.connection;
    const length = fields['content-length'];
    if (typeof length === 'string') this.#remaining = Number(length);
    this.#isStream = isEventStream(fields['content-type']);
    this.#encoded = (res as Encoded).flush !== undefined;
    this.#owner.answered(status, fields);
    this.#progress(this.#timeouts.idleTimeoutMs);
    // A head must not wait for its content: long polls and streams show theirs at once. Only a small answer of known
    // length goes out in one piece, and so can still be replaced when its backend dies between the two.
    this.#held = fields;
    if (this.#remaining <= SMALL_ANSWER) return;
    if (this.#isStream) res.flushHeaders();
    else process.nextTick(flushHeadOf, this);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#done) return;
    this.#remaining -= chunk.length;
    if (this.#remaining === 0) {
      this.#endUpload();
      endWith(this.#res, chunk);
    } else {
      const isFull = !this.#res.write(chunk);
      if (this.#encoded) setImmediate(flushEncoderOf, this);
      if (isFull) {
        // The client reads slowly: that is not for the backend to answer for.
        this.timeoutMs = Number.POSITIVE_INFINITY;
        controller.pause();
        this.#paused = true;
        // Once for all pauses: an encoder hands its listeners on, and never takes one back.
        if (!this.#hearsDrain) this.#res.on('drain', this.#onDrain);
        this.#hearsDrain = true;
        return;
      }
    }
    this.#progress(this.#timeouts.idleTimeoutMs);
  }

  onResponseEnd(controller: Dispatcher.DispatchController, trailers: ResponseFields): void {
    if (this.#done) return;
    if (endConnection(trailers)) this.#on?.retire();
    if (!this.#res.writableEnded) {
      this.#endUpload();
      addTrailers(this.#res, trailers, this.#connection, this.#spelling?.read(controller.rawTrailers));
      this.#res.end();
    }
    this.#end({ kind: 'completed', status: this.#status });
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (isRefusedRequest(error) && this.#controller === undefined) {
      this.#refused = error;
    } else {
      const shortage = shortageOutcome(error);
      this.#end(shortage ?? this.#failed(failureCause(error, this.#status !== 0), error));
    }
  }

  onRequestUpgrade(
    controller: Dispatcher.DispatchController,
    status: number,
    fields: ResponseFields,
    socket: Duplex,
  ): void {
    if (this.#done) {
      socket.destroy();
      return;
    }
    this.#finish();
    this.#owner.upgraded(status, fields, socket, this.#spelling?.read(controller.rawHeaders));
  }

  readonly #onDrain = (): void => {
    if (!this.#paused || this.#done) return;
    this.#paused = false;
    this.#progress(this.#timeouts.idleTimeoutMs);
    this.#controller?.resume();
  };

  /** A client that is answered early may have much left to send: RFC 9112 §9.3 lets nobody wait for that. */
  #endUpload(): void {
    if (this.#content !== undefined && !this.#content.endsSoon) lastAnswer(this.#res);
  }

  #progress(timeoutMs: number): void {
    this.silentSince = 0;
    this.timeoutMs = this.#isStream ? Number.POSITIVE_INFINITY : timeoutMs;
  }

  #timedOut(cause: FailureCause, message: string, detail?: string): void {
    const failed = this.#failed(cause, Object.assign(new Error(message), { code: 'ETIMEDOUT' }));
    this.#stop(detail === undefined ? failed : { ...failed, detail }, message);
  }

  #failed(cause: FailureCause, error: Error): Failed {
    const sent = this.#controller !== undefined;
    const failed = { kind: 'failed', cause, error, sent, headSent: this.#res.headersSent } as const;
    const unused =
      cause === 'connection_terminated' && sent && !this.#answering && bytesReadBefore(error) > 0 && this.#sentJustNow;
    return unused ? { ...failed, unused } : failed;
  }

  /** Whether the backend cannot have waited for this request, or for the rest of its body. */
  get #startedJustNow(): boolean {
    return this.#content === undefined ? this.#sentJustNow : Date.now() - this.#startedAt < IDLE_CLOSE_RACE_MS;
  }

  /** A backend that worked on the request for longer than this did see it. */
  get #sentJustNow(): boolean {
    return this.#watchdog.silentMs(this) < IDLE_CLOSE_RACE_MS;
  }

  /** Ends by our own decision: the transport must let go of the connection as well. */
  #stop(outcome: Outcome, why: string): void {
    if (this.#done) return;
    try {
      this.#end(outcome);
    } finally {
      this.#controller?.abort(new Error(why));
    }
  }

  #threw(error: unknown): void {
    const { req, res } = this.#exchange;
    tellOfThrow(req, 'A function of the app', error);
    try {
      if (!this.#done) {
        this.#finish();
        this.#controller?.abort(new Error('a function of the app threw'));
      }
      if (this.#held !== undefined && !res.headersSent) removeResponseHead(res, this.#held);
      this.#owner.threw(error);
    } catch {
      // The same function once more, most likely.
      cut(this.#exchange);
    }
  }

  #end(outcome: Outcome): void {
    if (this.#done) return;
    this.#finish();
    if (outcome.kind !== 'completed' && this.#held !== undefined && !this.#res.headersSent) {
      removeResponseHead(this.#res, this.#held);
    }
    this.#owner.ended(outcome);
  }

  #finish(): void {
    this.#done = true;
    this.#watchdog.unwatch(this);
    if (this.#exchange.working === this) this.#exchange.working = undefined;
    if (this.#hearsDrain) this.#res.off('drain', this.#onDrain);
  }
}

const flushHeadOf = (attempt: Attempt): void => attempt.flushHead();
const flushEncoderOf = (attempt: Attempt): void => attempt.flushEncoder();
