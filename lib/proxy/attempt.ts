import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Abortable, Exchange } from '../core/exchange.ts';
import { grpcStatusIn } from '../core/grpc.ts';
import { ABORTED, type Failed, type FailureCause, type Outcome } from '../core/outcome.ts';
import { cut } from '../core/reject.ts';
import { failedOutcome, IDLE_CLOSE_RACE_MS, timeoutAfter } from './attempt-failure.ts';
import type { AttemptOwner, AttemptTimeouts } from './attempt-owner.ts';
import { ClientResponse } from './client-response.ts';
import type { SendableBody } from './request/request-body.ts';
import { type RequestHead, unsendable } from './request/request-head.ts';
import { warnOfListener } from './response/contain-throws.ts';
import type { HeaderSpelling } from './response/header-spelling.ts';
import {
  checkResponseHead,
  closesIdleConnection,
  forgetRawFields,
  type ResponseFields,
} from './response/response-head.ts';
import { ScopedHandler } from './response/scoped-handler.ts';
import { endsConnection } from './response/trailers.ts';
import { asksForConnection, authenticatesConnection } from './transport/bound-connections.ts';
import type { Connections, RequestConnection } from './transport/connections.ts';
import { failureCause, isRefusedRequest, rejection } from './transport/failure.ts';
import type { Watchdog, Watched } from './watchdog.ts';

const IDLE_408 = 'the backend sent 408 to close an idle connection, when this request was on its way';

/**
 * One request to one backend: writes the request, streams the response to the client, and reports the outcome.
 * Never throws and never rejects. It sends the client only what the backend sent.
 */
export class Attempt implements Abortable, Watched {
  timeoutMs = Number.POSITIVE_INFINITY;
  silentSince = 0;
  index = 0;
  readonly #exchange: Exchange;
  readonly #owner: AttemptOwner;
  readonly #watchdog: Watchdog;
  readonly #timeouts: AttemptTimeouts;
  readonly #response: ClientResponse;
  #controller: Dispatcher.DispatchController | undefined;
  #connection: RequestConnection | undefined;
  /** `Date.now()` when a request with a body was sent. */
  #startedAt = 0;
  #spelling: HeaderSpelling | undefined;
  #isResponding = false;
  /** `grpc-status` of a head that is the whole response. */
  #grpcStatus: number | undefined;
  #hasPaused = false;
  /** Why undici rejected the request, before `dispatch()` returned. */
  #refused: Error | undefined;
  #done = false;

  constructor(exchange: Exchange, owner: AttemptOwner, watchdog: Watchdog, timeouts: AttemptTimeouts) {
    this.#exchange = exchange;
    this.#owner = owner;
    this.#watchdog = watchdog;
    this.#timeouts = timeouts;
    this.#response = new ClientResponse(exchange.res);
  }

  /**
   * @param upgrade The protocol asked for, if any.
   * @throws {GatewayError} ERR_EXPRESSWAY_REQUEST_HEAD when a middleware set a header that cannot be sent. Then the owner gets no other
   *   call.
   */
  start(connections: Connections, head: RequestHead, content: SendableBody | undefined, upgrade?: string): void {
    const { req } = this.#exchange;
    this.#exchange.working = this;
    this.#response.upload = content;
    if (content !== undefined) this.#startedAt = Date.now();
    this.#spelling = connections.spelling;
    this.#watchdog.watch(this);
    try {
      this.#connection = connections.dispatch(
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
      if (authenticatesConnection(head.fields)) this.#connection?.bindTo(req.socket);
      if (this.#refused !== undefined) throw unsendable(head, this.#refused);
    } catch (error) {
      this.#finish();
      throw error;
    }
  }

  /** The client is gone, got its response from another middleware, or the app broke off the response. */
  abort(): void {
    const known = this.#exchange.outcome;
    // A timeout of the route is the backend's. An error of the app is not.
    const isTheirs = known?.kind === 'failed' && known.cause !== 'handler_error';
    this.#stop(isTheirs ? known : ABORTED, 'the client closed the connection');
  }

  /** Code of the app threw while it got the response or its end: the backend is not to blame. */
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

  /** Sends bytes of the response that must not wait for later ones. */
  flush(what: Flush): void {
    try {
      this.#response[what]();
    } catch (error) {
      this.threw(error);
    }
  }

  #expired(silentMs: number): void {
    const { isStream, upload } = this.#response;
    if (isStream && upload?.isStalled !== true) {
      this.silentSince = 0;
      return;
    }
    const timeout = timeoutAfter(silentMs, this.#response, this.#timeouts);
    if (timeout === undefined) return;
    const { cause, message, detail } = timeout;
    if (cause === 'client_timeout') {
      this.#stop({ kind: 'rejected', cause }, message);
    } else {
      const failed = this.#failed(cause, Object.assign(new Error(message), { code: 'ETIMEDOUT' }));
      this.#stop({ ...failed, detail }, message);
    }
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#done) controller.abort(new Error('the request ended while it waited for a connection'));
    else this.#progress();
  }

  onBodySent(): void {
    this.#progress();
  }

  onRequestSent(): void {
    this.#owner.sent();
    this.#progress();
  }

  onResponseStarted(): void {
    this.#isResponding = true;
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    fields: ResponseFields,
    statusMessage?: string,
  ): void {
    const spelling = this.#spelling?.read(controller.rawHeaders);
    if (status < 200) {
      this.#response.informational(status, fields, spelling);
      forgetRawFields(controller);
      return;
    }
    checkResponseHead(status, fields);
    this.#grpcStatus = grpcStatusIn(fields);
    if (closesIdleConnection(status, fields) && this.#connection?.isReused === true && this.#startedJustNow) {
      const error = Object.assign(new Error(IDLE_408), { code: 'ECONNRESET' });
      this.#stop({ ...this.#failed('connection_terminated', error), unused: true }, IDLE_408);
      return;
    }
    const challenge = fields['www-authenticate'];
    if (challenge !== undefined && asksForConnection(challenge)) this.#connection?.bindTo(this.#exchange.req.socket);
    if (!this.#owner.accepts(status, fields)) {
      this.#finish();
      controller.abort(new Error('the response is not wanted'));
      return;
    }
    const response = this.#response;
    let headers: ResponseFields;
    try {
      headers = this.#owner.headersForClient(status, fields);
    } catch (error) {
      // Here, because by its code the error could look like one of the backend's head.
      this.#threw(error);
      return;
    }
    response.begin(status, statusMessage, headers, spelling);
    forgetRawFields(controller);
    this.#owner.responded(status, fields);
    this.#progress();
    if (response.holdsHead) return;
    if (response.isStream) response.flushHead();
    else process.nextTick(flush, this, 'flushHead');
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#done) return;
    const response = this.#response;
    const takesMore = response.write(chunk);
    if (response.isEncoded && !response.isEnded) setImmediate(flush, this, 'flushEncoder');
    if (takesMore) this.#progress();
    else this.#pause(controller);
  }

  onResponseEnd(controller: Dispatcher.DispatchController, trailers: ResponseFields): void {
    if (this.#done) return;
    if (endsConnection(trailers)) this.#connection?.retire();
    this.#response.end(trailers, this.#spelling?.read(controller.rawTrailers));
    this.#end({
      kind: 'completed',
      status: this.#response.status,
      grpcStatus: grpcStatusIn(trailers) ?? this.#grpcStatus,
    });
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (isRefusedRequest(error) && this.#controller === undefined) {
      this.#refused = error;
    } else {
      this.#end(rejection(error) ?? this.#failed(failureCause(error, this.#response.status !== 0), error));
    }
  }

  onRequestUpgrade(
    controller: Dispatcher.DispatchController,
    status: number,
    fields: ResponseFields,
    socket: Duplex,
  ): void {
    this.#finish();
    try {
      this.#owner.upgraded(status, fields, socket, this.#spelling?.read(controller.rawHeaders));
    } catch (error) {
      this.#threw(error);
    }
  }

  /** The client reads slowly, and the backend is not to blame for that: no timeout applies until the client has caught up. */
  #pause(controller: Dispatcher.DispatchController): void {
    this.timeoutMs = Number.POSITIVE_INFINITY;
    controller.pause();
    if (this.#hasPaused) return;
    this.#hasPaused = true;
    // One listener for all pauses, because encoders such as compression() cannot remove a listener again.
    this.#exchange.res.on('drain', () => {
      if (this.#done) return;
      this.#progress();
      controller.resume();
    });
  }

  #progress(): void {
    const { isStream, status, upload } = this.#response;
    this.silentSince = 0;
    // An event stream may be silent. But while the backend does not read an upload, Node does not notice that the client has left.
    if (isStream && upload === undefined) this.timeoutMs = Number.POSITIVE_INFINITY;
    else this.timeoutMs = status === 0 ? this.#timeouts.responseTimeoutMs : this.#timeouts.idleTimeoutMs;
  }

  #failed(cause: FailureCause, error: Error): Failed {
    return failedOutcome(cause, error, {
      sent: this.#controller !== undefined,
      isResponding: this.#isResponding,
      headSent: this.#response.hasLeft,
      silentMs: this.#watchdog.silentMs(this),
    });
  }

  /** Whether the request is so new that the backend cannot have timed out waiting for it or for the rest of its body. */
  get #startedJustNow(): boolean {
    const ageMs = this.#response.upload === undefined ? this.#watchdog.silentMs(this) : Date.now() - this.#startedAt;
    return ageMs < IDLE_CLOSE_RACE_MS;
  }

  /** Ends the attempt by the gateway's own decision, and aborts the request in the transport. */
  #stop(outcome: Outcome, why: string): void {
    if (this.#done) return;
    try {
      this.#end(outcome);
    } finally {
      this.#controller?.abort(new Error(why));
    }
  }

  #threw(error: unknown): void {
    warnOfListener(this.#exchange.req, 'A function of the app', error);
    try {
      this.#finish();
      this.#controller?.abort(new Error('a function of the app threw'));
      this.#response.withdraw();
      this.#owner.threw(error, this.#response.isKept);
    } catch {
      // Most likely the same function threw again.
      cut(this.#exchange);
    }
  }

  #end(outcome: Outcome): void {
    if (this.#done) return;
    this.#finish();
    if (outcome.kind !== 'completed') this.#response.withdraw();
    this.#owner.ended(outcome);
  }

  #finish(): void {
    this.#done = true;
    this.#watchdog.unwatch(this);
    if (this.#exchange.working === this) this.#exchange.working = undefined;
  }
}

type Flush = 'flushHead' | 'flushEncoder';

const flush = (attempt: Attempt, what: Flush): void => attempt.flush(what);
