import type { Dispatcher } from 'undici';
import type { Backend } from '../../backends/backend.ts';
import { deadline } from '../../core/delay.ts';
import type { MirrorResult } from '../../core/events.ts';
import type { Exchange } from '../../core/exchange.ts';
import { isEventStream } from '../../core/http.ts';
import { KeptBytes } from '../request/kept-bytes.ts';
import { type RequestHead, unsendable } from '../request/request-head.ts';
import type { ResponseFields } from '../response/response-head.ts';
import { authenticatesConnection } from '../transport/bound-connections.ts';
import type { Connections, RequestConnection } from '../transport/connections.ts';
import { isRefusedRequest } from '../transport/failure.ts';
import type { MirrorLimits } from './mirror-options.ts';

/** Bytes of a response body that are read, so that the connection can be used again. */
const MAX_RESPONSE_BYTES = 1_048_576;

export interface CopyOwner {
  /** Returns the connections for the copy, or the reason why it is not sent. */
  begins(copy: RequestCopy, limits: MirrorLimits): Connections | 'no_backend' | 'too_many';
  /** Called once. */
  ended(copy: RequestCopy, result: MirrorResult, error?: Error): void;
}

/** A copy of one request: waits for the body, sends it, and drops the response. It never pauses the request that it copies. */
export class RequestCopy implements Dispatcher.DispatchHandler {
  readonly exchange: Exchange;
  readonly backend: Backend;
  readonly #head: RequestHead;
  readonly #limits: MirrorLimits;
  readonly #owner: CopyOwner;
  #kept = new KeptBytes();
  #controller: Dispatcher.DispatchController | undefined;
  #connection: RequestConnection | undefined;
  #stopTimer: (() => void) | undefined;
  #responseBytes = 0;
  #isAnswered = false;
  #isOver = false;

  constructor(exchange: Exchange, backend: Backend, head: RequestHead, limits: MirrorLimits, owner: CopyOwner) {
    this.exchange = exchange;
    this.backend = backend;
    this.#head = head;
    this.#limits = limits;
    this.#owner = owner;
  }

  /** Collects the body while the proxy reads it. Call it after the proxy has added its listeners, so that this one does not start the flow. */
  collect(): void {
    const { req } = this.exchange;
    req.on('data', this.#onData);
    req.on('end', this.#onEnd);
    req.on('close', this.#onClose);
  }

  readonly #onData = (chunk: Buffer | string): void => {
    // A middleware has called `req.setEncoding()`: these are no longer the client's bytes.
    if (typeof chunk === 'string') this.#end('body_incomplete');
    else if (this.#kept.length + chunk.length > this.#limits.maxBodyBytes) this.#end('body_too_large');
    else this.#kept.push(chunk);
  };

  readonly #onEnd = (): void => {
    this.#detach();
    const body = Buffer.concat(this.#kept.chunks());
    this.#kept = new KeptBytes();
    this.send(body);
  };

  readonly #onClose = (): void => this.#end('body_incomplete');

  /** @param body The whole body; `undefined` for a request without one. */
  send(body: Buffer | undefined): void {
    const { path, fields } = this.#head;
    const { timeoutMs } = this.#limits;
    try {
      const connections = this.#owner.begins(this, this.#limits);
      if (typeof connections === 'string') {
        this.#end(connections);
        return;
      }
      this.#stopTimer = deadline(timeoutMs, () => this.abort(new Error(`no response within ${timeoutMs} ms`)));
      const method = this.exchange.req.method as Dispatcher.HttpMethod;
      this.#connection = connections.dispatch({ path, method, headers: fields, body: body ?? null }, this);
      // A connection on which a client authenticated must not carry another client's requests.
      if (authenticatesConnection(fields)) this.#connection?.retire();
    } catch (error) {
      this.#end('failed', error as Error);
    }
  }

  /** Drops a copy that waits for its body, to make room for another one. */
  drop(): void {
    this.#end('too_many');
  }

  /** Aborts the copy. */
  abort(error: Error): void {
    this.#end(this.#isAnswered ? 'sent' : 'failed', error);
    this.#controller?.abort(error);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isOver) controller.abort(new Error('the copy ended while it waited for a connection'));
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, fields: ResponseFields): void {
    if (status < 200) return;
    this.#isAnswered = true;
    if (isEventStream(fields['content-type'])) this.abort(new Error('the response has no end'));
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#responseBytes += chunk.length;
    if (this.#responseBytes > MAX_RESPONSE_BYTES) this.abort(new Error('the response is large, and not wanted'));
  }

  onResponseEnd(): void {
    this.#end('sent');
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    const isRefused = this.#controller === undefined && isRefusedRequest(error);
    this.#end(this.#isAnswered ? 'sent' : 'failed', isRefused ? unsendable(this.#head, error) : error);
  }

  #detach(): void {
    const { req } = this.exchange;
    req.off('data', this.#onData);
    req.off('end', this.#onEnd);
    req.off('close', this.#onClose);
  }

  #end(result: MirrorResult, error?: Error): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stopTimer?.();
    this.#detach();
    this.#kept = new KeptBytes();
    this.#owner.ended(this, result, result === 'sent' ? undefined : error);
  }
}
