import { AsyncResource } from 'node:async_hooks';
import type { Exchange } from '../core/exchange.ts';
import type { Next } from '../core/http.ts';
import { type Failed, handlerError, type Rejected } from '../core/outcome.ts';
import { cut, rejectWith } from '../core/reject.ts';
import { thrownBy } from '../core/thrown-by.ts';
import { declaredLength } from '../core/unread-content.ts';
import { Failover, type FailoverOwner } from './failover.ts';
import { ForwardedBody } from './forwarded-body.ts';
import type { ProxyParts } from './proxy-parts.ts';
import { RequestCaps } from './request-caps.ts';
import { containListeners, warnOfListener } from './response/contain-throws.ts';
import { countHop, refusedHere, respondToOptions } from './response/own-response.ts';
import { Retries } from './retry/retries.ts';
import { warnOfUpgrade } from './tunnel/upgrade-protocols.ts';

const NO_UPGRADE = 'The backends speak HTTP/2, and this proxy forwards upgrades over HTTP/1.1 only.';

/** One request in a proxy: makes the checks before the first attempt, and the cleanup after the last one. */
export class ProxiedRequest implements FailoverOwner {
  readonly #parts: ProxyParts;
  readonly #exchange: Exchange;
  readonly #next: Next | undefined;
  readonly #retries: Retries;
  /** `undefined` if no cap applies. */
  #caps: RequestCaps | undefined;
  /** `undefined` for a request without a body. */
  #body: ForwardedBody | undefined;
  #isOver = false;

  /**
   * @param next Gets the errors of the app: of a function that threw, or of a middleware that set a header which cannot be sent.
   *   `undefined` on a server without Express.
   */
  constructor(parts: ProxyParts, exchange: Exchange, next: Next | undefined) {
    this.#parts = parts;
    this.#exchange = exchange;
    this.#next = next;
    this.#retries = new Retries(parts.retry, parts.budget, exchange.req.method, exchange.startedAt);
  }

  start(): void {
    this.#exchange.service = this.#parts.name;
    this.#exchange.scope = new AsyncResource('ExpresswayExchange');
    containListeners(this.#exchange);
    try {
      if (this.#respondHere()) return;
      const rejected = this.#enterCaps() ?? this.#takeBody();
      if (rejected === undefined) new Failover(this.#parts, this.#exchange, this.#retries, this.#body, this).start();
      else this.reject(rejected);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Responds to a request that needs no backend. @returns whether it did, or the request is over. */
  #respondHere(): boolean {
    const exchange = this.#exchange;
    const { req, res } = exchange;
    // The client left, or got a response, during an earlier middleware.
    if (exchange.outcome !== undefined) {
      this.over();
      return true;
    }
    const rejected = refusedHere(exchange, this.#parts.ambiguousPaths, this.#parts.rules.via);
    if (rejected !== undefined) {
      this.reject(rejected);
      return true;
    }
    if (req.method === 'OPTIONS' && countHop(req)) {
      respondToOptions(res);
      this.over();
      return true;
    }
    if (exchange.upgrade !== undefined && this.#parts.connections.isHttp2) {
      this.reject({ kind: 'rejected', cause: 'upgrade_not_supported', detail: NO_UPGRADE });
      return true;
    }
    if (req.headers.upgrade !== undefined) warnOfUpgrade(req, req.headers.upgrade);
    return false;
  }

  #enterCaps(): Rejected | undefined {
    const { caps, tunnels } = this.#parts;
    if (caps === undefined && this.#exchange.upgrade === undefined) return undefined;
    this.#caps = new RequestCaps(caps, tunnels, this.#exchange);
    return this.#caps.enter();
  }

  #takeBody(): Rejected | undefined {
    const length = declaredLength(this.#exchange.req);
    if (length === 0) return undefined;
    const { connections, retry } = this.#parts;
    // Over HTTP/2, a backend may refuse a request without having processed it, so that it can be sent again.
    const keepBytes = connections.isHttp2 ? retry.bufferBytes : this.#retries.keepBytes;
    this.#body = new ForwardedBody(this.#exchange, this.#parts, length, keepBytes);
    return this.#body.unsendable;
  }

  reject(outcome: Failed | Rejected): void {
    const exchange = this.#exchange;
    const { events, name: service } = this.#parts;
    try {
      rejectWith(exchange, outcome, events, 'rejected', { exchange, service, outcome });
    } finally {
      this.over();
    }
  }

  fail(error: unknown): void {
    this.over();
    const { req, res } = this.#exchange;
    if (res.headersSent || this.#next === undefined) {
      this.reject(handlerError(error, res.headersSent));
      return;
    }
    this.#exchange.isAppError = true;
    try {
      this.#next(thrownBy('A function of the app', error));
    } catch (again) {
      // The error handlers of the app threw as well, for example in a wrapped method of the response.
      warnOfListener(req, 'A function of the app', again);
      cut(this.#exchange);
    }
  }

  over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#retries.end();
    this.#caps?.leave();
    this.#body?.content?.drain();
  }
}
