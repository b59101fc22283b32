import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Backend } from '../../backends/backend.ts';
import { selectionPolicy } from '../../backends/selection/load-balancing.ts';
import type { MirrorResult } from '../../core/events.ts';
import { type Exchange, exchangeOf } from '../../core/exchange.ts';
import type { Middleware, Next } from '../../core/http.ts';
import { withoutUndefined } from '../../core/options.ts';
import { declaredLength } from '../../core/unread-content.ts';
import { type HeaderChange, requestHeaderRules } from '../header-rules.ts';
import type { ProxyParts } from '../proxy-parts.ts';
import { keptBody, whyUnreadable } from '../request/read-body.ts';
import { type RequestHeadRules, requestHead } from '../request/request-head.ts';
import type { Connections } from '../transport/connections.ts';
import { type MirrorLimits, type MirrorOptions, mirrorDefaults } from './mirror-options.ts';
import { type CopyOwner, RequestCopy } from './request-copy.ts';

/** Marks a copy for its backend. */
const mark = requestHeaderRules({ set: { 'X-Mirrored': 'true' } });

/** A copy, and its body if that is known already. */
interface Begun {
  readonly copy: RequestCopy;
  readonly body: Buffer | undefined;
  readonly isToCome: boolean;
}

/**
 * Copies of requests to other services, which one service gets. They go to its available backends, and do not affect its own requests: no
 * circuit, no cap, no rotation.
 */
export class Copies implements CopyOwner {
  readonly #parts: ProxyParts;
  readonly #rules: RequestHeadRules;
  readonly #policy = selectionPolicy('weighted');
  /** Copies that wait for the rest of their bodies, the oldest first. */
  readonly #waiting = new Set<RequestCopy>();
  /** Copies in progress at the service. */
  readonly #inProgress = new Set<RequestCopy>();
  #isClosed = false;

  constructor(parts: ProxyParts) {
    this.#parts = parts;
    const { rules } = parts;
    const change: HeaderChange = (fields, exchange) => {
      mark(fields, exchange);
      rules.change?.(fields, exchange);
    };
    this.#rules = { ...rules, change };
  }

  /** Copies requests on their way to the next handler, which must be a proxy. */
  middleware(options: MirrorOptions): Middleware {
    const limits = { ...mirrorDefaults, ...withoutUndefined(options) };
    return (req: IncomingMessage, res: ServerResponse, next: Next): void => {
      const isChosen = limits.percent >= 100 || Math.random() * 100 < limits.percent;
      const exchange = isChosen ? exchangeOf(req, res) : undefined;
      // The head is made before the proxy reads the body; all else is done after it has forwarded the request.
      const begun = exchange && this.#begin(exchange, limits);
      next();
      if (begun !== undefined) this.#go(begun);
    };
  }

  begins(copy: RequestCopy, { maxInFlight }: MirrorLimits): Connections | 'no_backend' | 'too_many' {
    const { connections, pool } = this.#parts;
    this.#waiting.delete(copy);
    if (this.#isClosed || !pool.backends.includes(copy.backend)) return 'no_backend';
    if (this.#inProgress.size >= maxInFlight) return 'too_many';
    this.#inProgress.add(copy);
    return connections.to(copy.backend);
  }

  ended(copy: RequestCopy, result: MirrorResult, error?: Error): void {
    this.#waiting.delete(copy);
    this.#inProgress.delete(copy);
    this.#tell(copy.exchange, result, copy.backend, error);
  }

  close(): void {
    this.#isClosed = true;
    for (const copy of [...this.#waiting, ...this.#inProgress]) copy.abort(new Error('the service was closed'));
  }

  #begin(exchange: Exchange, limits: MirrorLimits): Begun | undefined {
    if (this.#isClosed || exchange.upgrade !== undefined) return undefined;
    try {
      const begun = this.#begun(exchange, limits);
      if (typeof begun === 'string') this.#tell(exchange, begun);
      else return begun;
    } catch (error) {
      this.#tell(exchange, 'failed', undefined, error as Error);
    }
    return undefined;
  }

  #begun(exchange: Exchange, limits: MirrorLimits): Begun | MirrorResult {
    const { req } = exchange;
    const { rules, body: readBody } = this.#parts;
    if (req.headers.via !== undefined && rules.via?.isIn(String(req.headers.via)) === true) return 'loop';
    if (this.#inProgress.size >= limits.maxInFlight) return 'too_many';
    const length = declaredLength(req);
    if (length > limits.maxBodyBytes && length < Infinity) return 'body_too_large';
    const wasRead = length > 0 && whyUnreadable(req) !== undefined;
    const kept = wasRead ? keptBody(req, readBody) : undefined;
    if (wasRead && kept === undefined) return 'body_incomplete';
    if (kept !== undefined && kept.length > limits.maxBodyBytes) return 'body_too_large';
    const backend = this.#backend(exchange);
    if (backend === undefined) return 'no_backend';
    const head = requestHead(exchange, backend.authority, this.#rules, 0, kept?.isDecoded === true);
    if (head === undefined) return 'failed';
    const copy = new RequestCopy(exchange, backend, head, limits, this);
    const isToCome = length > 0 && kept === undefined;
    if (isToCome) this.#wait(copy, limits);
    return { copy, body: kept?.reader(), isToCome };
  }

  /** Holds a copy until its body is complete. Slow clients take no place at the service meanwhile. */
  #wait(copy: RequestCopy, { maxInFlight }: MirrorLimits): void {
    const [oldest] = this.#waiting;
    if (this.#waiting.size >= maxInFlight) oldest?.drop();
    this.#waiting.add(copy);
  }

  /** A backend with a closed circuit, because trials are for the service's own requests. */
  #backend(exchange: Exchange): Backend | undefined {
    const { backends } = this.#parts.pool;
    const troubled = backends.filter(({ circuit }) => circuit.state !== 'closed');
    return this.#policy.select(backends, exchange, troubled);
  }

  #go({ copy, body, isToCome }: Begun): void {
    const { outcome, res } = copy.exchange;
    // No copy of a request that reaches no backend: the client has left, or the gateway has responded itself, such as with 503.
    if (outcome !== undefined || res.writableEnded) this.#waiting.delete(copy);
    else if (isToCome) copy.collect();
    else copy.send(body);
  }

  #tell(exchange: Exchange, result: MirrorResult, backend?: Backend, error?: Error): void {
    const { events, name: service } = this.#parts;
    if (events.listenerCount('mirrored') === 0) return;
    exchange.scope.runInAsyncScope(() =>
      events.emit('mirrored', { exchange, service, backend: backend?.origin, result, error }),
    );
  }
}
