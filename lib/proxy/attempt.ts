import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Abortable, Exchange } from '../core/exchange.ts';
import { ABORTED, type FailureCause, type Outcome } from '../core/outcome.ts';
import { failureCause, isRefusedRequest } from './failure.ts';
import { RequestContent } from './request-content.ts';
import type { RequestHead } from './request-head.ts';
import { applyResponseHead, isEventStream, type ResponseFields, removeResponseHead } from './response-head.ts';
import type { Watchdog, Watched } from './watchdog.ts';

/** Bytes up to which copying an answer is cheaper than a second buffer on its way to the client. */
const SMALL_ANSWER = 4_096;

export interface AttemptTimeouts {
  /** Milliseconds from the end of the request to the head of its answer. */
  readonly responseTimeoutMs: number;
  /** Milliseconds without a byte in either direction. Event streams and upgrades are exempt. */
  readonly idleTimeoutMs: number;
}

/** Hears what becomes of an attempt. */
export interface AttemptOwner {
  /** The head of the final answer is here, and about to go to the client. */
  answered(status: number, fields: ResponseFields): void;
  /** The backend switched protocols; the attempt is over, the connection is the owner's. */
  upgraded(status: number, fields: ResponseFields, socket: Duplex): void;
  /** Called once, unless upgraded. */
  ended(outcome: Outcome): void;
}

/**
 * One request to one backend: writes the request, streams the answer to the client, and says how it went.
 * Never throws and never rejects. It answers the client only with what the backend sent.
 */
export class Attempt implements Dispatcher.DispatchHandler, Abortable, Watched {
  timeoutMs = Number.POSITIVE_INFINITY;
  silentSince = 0;
  readonly #exchange: Exchange;
  readonly #owner: AttemptOwner;
  readonly #watchdog: Watchdog;
  readonly #timeouts: AttemptTimeouts;
  readonly #res: ServerResponse;
  #controller: Dispatcher.DispatchController | undefined;
  #content: RequestContent | undefined;
  #status = 0;
  /** Bytes that the answer's length field still promises; NaN when it has none. */
  #remaining = Number.NaN;
  #isStream = false;
  #paused = false;
  #done = false;

  constructor(exchange: Exchange, owner: AttemptOwner, watchdog: Watchdog, timeouts: AttemptTimeouts) {
    this.#exchange = exchange;
    this.#owner = owner;
    this.#watchdog = watchdog;
    this.#timeouts = timeouts;
    this.#res = exchange.res;
  }

  /** @param withContent Whether the client's content goes along; `upgrade` names the protocol asked for. */
  start(dispatcher: Dispatcher, head: RequestHead, withContent: boolean, upgrade?: string): void {
    const { req } = this.#exchange;
    this.#exchange.working = this;
    if (withContent) this.#content = new RequestContent(req);
    this.#watchdog.watch(this);
    dispatcher.dispatch(
      {
        path: head.path,
        method: req.method as Dispatcher.HttpMethod,
        headers: head.fields,
        body: this.#content ?? null,
        upgrade: upgrade ?? null,
      },
      this,
    );
  }

  /** The client is gone, or was answered by somebody else. */
  abort(): void {
    const known = this.#exchange.outcome;
    this.#stop(known?.kind === 'failed' ? known : ABORTED, 'the client closed the connection');
  }

  expired(silentMs: number): void {
    if (this.#status !== 0) {
      this.#timedOut('connection_read_timeout', 'the backend stopped sending');
    } else if (this.#content?.starved !== true) {
      this.#timedOut('http_response_timeout', 'the backend sent no response head in time');
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
    this.#progress(this.#timeouts.responseTimeoutMs);
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    fields: ResponseFields,
    statusMessage?: string,
  ): void {
    if (status < 200) return;
    const res = this.#res;
    try {
      applyResponseHead(res, status, statusMessage, fields);
    } catch (error) {
      removeResponseHead(res, fields);
      throw error;
    }
    this.#status = status;
    const length = fields['content-length'];
    if (typeof length === 'string') this.#remaining = Number(length);
    this.#isStream = isEventStream(fields);
    this.#owner.answered(status, fields);
    this.#progress(this.#timeouts.idleTimeoutMs);
    // A head without content in the same packet must not wait for it: long polls and streams show theirs at once.
    if (this.#isStream) res.flushHeaders();
    else process.nextTick(flushHead, res);
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#remaining -= chunk.length;
    if (this.#remaining === 0) {
      // As a string, a small answer goes out with its head in one write instead of a vectored one of two.
      if (chunk.length <= SMALL_ANSWER && !this.#res.headersSent) this.#res.end(chunk.toString('latin1'), 'latin1');
      else this.#res.end(chunk);
    } else if (!this.#res.write(chunk)) {
      // The client reads slowly: that is not for the backend to answer for.
      this.timeoutMs = Number.POSITIVE_INFINITY;
      controller.pause();
      this.#paused = true;
      this.#res.once('drain', this.#onDrain);
      return;
    }
    this.#progress(this.#timeouts.idleTimeoutMs);
  }

  onResponseEnd(): void {
    if (!this.#res.writableEnded) this.#res.end();
    this.#end({ kind: 'completed', status: this.#status });
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    if (isRefusedRequest(error) && this.#controller === undefined) {
      this.#end({ kind: 'rejected', cause: 'bad_request', detail: error.message });
    } else {
      this.#end(this.#failed(failureCause(error, this.#status !== 0), error));
    }
  }

  onRequestUpgrade(
    _controller: Dispatcher.DispatchController,
    status: number,
    fields: ResponseFields,
    socket: Duplex,
  ): void {
    if (this.#done) {
      socket.destroy();
      return;
    }
    this.#finish();
    this.#owner.upgraded(status, fields, socket);
  }

  readonly #onDrain = (): void => {
    this.#paused = false;
    this.#progress(this.#timeouts.idleTimeoutMs);
    this.#controller?.resume();
  };

  #progress(timeoutMs: number): void {
    this.silentSince = 0;
    this.timeoutMs = this.#isStream ? Number.POSITIVE_INFINITY : timeoutMs;
  }

  #timedOut(cause: FailureCause, message: string): void {
    this.#stop(this.#failed(cause, Object.assign(new Error(message), { code: 'ETIMEDOUT' })), message);
  }

  #failed(cause: FailureCause, error: Error): Outcome {
    return { kind: 'failed', cause, error, sent: this.#controller !== undefined, headSent: this.#res.headersSent };
  }

  /** Ends by our own decision: the transport must let go of the connection as well. */
  #stop(outcome: Outcome, why: string): void {
    if (this.#done) return;
    this.#end(outcome);
    this.#controller?.abort(new Error(why));
  }

  #end(outcome: Outcome): void {
    if (this.#done) return;
    this.#finish();
    this.#owner.ended(outcome);
  }

  #finish(): void {
    this.#done = true;
    this.#watchdog.unwatch(this);
    this.#exchange.working = undefined;
    if (this.#paused) this.#res.off('drain', this.#onDrain);
  }
}

function flushHead(res: ServerResponse): void {
  if (!res.headersSent && !res.writableEnded) res.flushHeaders();
}
