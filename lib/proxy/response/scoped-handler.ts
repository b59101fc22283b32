import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Exchange } from '../../core/exchange.ts';
import { thrownBy } from '../../core/thrown-by.ts';
import { failureCause } from '../transport/failure.ts';
import type { ResponseFields } from './response-head.ts';

/** The calls that are passed on to an attempt. */
type Calls = Pick<ScopedHandler, keyof ScopedHandler> & {
  /** Called with the error that code of the app threw. */
  threw(error: unknown): void;
};

/**
 * Stands between undici and an attempt. undici calls handlers in the async context of the request that opened the connection, which
 * may be another client's. Here the calls that reach code of the app get the context of their own request. If that code throws, the
 * backend is not to blame, and the process must go on.
 */
export class ScopedHandler implements Dispatcher.DispatchHandler {
  readonly #attempt: Calls;
  readonly #exchange: Exchange;

  constructor(attempt: Calls, exchange: Exchange) {
    this.#attempt = attempt;
    this.#exchange = exchange;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#attempt.onRequestStart(controller);
  }

  onBodySent(): void {
    this.#attempt.onBodySent();
  }

  onRequestSent(): void {
    this.#attempt.onRequestSent();
  }

  onResponseStarted(): void {
    this.#attempt.onResponseStarted();
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    fields: ResponseFields,
    statusMessage?: string,
  ): void {
    const attempt = this.#attempt;
    try {
      this.#exchange.scope.runInAsyncScope(attempt.onResponseStart, attempt, controller, status, fields, statusMessage);
    } catch (error) {
      this.#threw(error);
    }
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    try {
      this.#exchange.scope.runInAsyncScope(this.#attempt.onResponseData, this.#attempt, controller, chunk);
    } catch (error) {
      this.#attempt.threw(error);
    }
  }

  onResponseEnd(controller: Dispatcher.DispatchController, trailers: ResponseFields): void {
    try {
      this.#exchange.scope.runInAsyncScope(this.#attempt.onResponseEnd, this.#attempt, controller, trailers);
    } catch (error) {
      this.#threw(error);
    }
  }

  onResponseError(controller: Dispatcher.DispatchController | null, error: Error): void {
    try {
      this.#exchange.scope.runInAsyncScope(this.#attempt.onResponseError, this.#attempt, controller, error);
    } catch (thrown) {
      this.#attempt.threw(thrown);
    }
  }

  onRequestUpgrade(
    controller: Dispatcher.DispatchController,
    status: number,
    fields: ResponseFields,
    socket: Duplex,
  ): void {
    const attempt = this.#attempt;
    this.#exchange.scope.runInAsyncScope(attempt.onRequestUpgrade, attempt, controller, status, fields, socket);
  }

  /** The backend is to blame for a head or trailers that cannot be passed on: undici ends the attempt with this error. */
  #threw(error: unknown): void {
    const thrown = thrownBy('A function of the app', error);
    if (failureCause(thrown as Error, false) === 'http_protocol_error') throw thrown;
    this.#attempt.threw(thrown);
  }
}
