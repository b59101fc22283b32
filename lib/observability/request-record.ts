import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
// The global `performance` is a getter, which costs as much as reading the clock.
import { performance } from 'node:perf_hooks';
import { newBytes } from '../core/connection-bytes.ts';
import type { Exchange } from '../core/exchange.ts';
import { ABORTED, type Cause, causeOf, type Outcome, statusOf } from '../core/outcome.ts';
import type { AttemptHead, LimiterDecision, Recorder } from '../core/recorder.ts';
import { warnOfRejection, warnOfThrow } from '../core/warnings.ts';
import type { RequestTrace } from './tracing/request-trace.ts';

/** The route of requests for which neither the app nor a router gave a name. */
export const DEFAULT_ROUTE = 'default';

/** The facts of a request after its end; for an upgraded one, after the end of its tunnel. */
export interface FinishedRequest {
  readonly req: IncomingMessage & { readonly originalUrl?: string };
  readonly res: ServerResponse;
  /** The `X-Request-Id` of the response. */
  readonly id: string | undefined;
  /** Id of its trace, if requests are traced. */
  readonly traceId: string | undefined;
  readonly client: string | undefined;
  /** `Date.now()` when it came. */
  readonly startedAt: number;
  /** Name of the `serviceRouter()` route, or the result of the option `route`. */
  readonly route: string;
  /** Name of the consumer, where the request was authenticated. */
  readonly consumer: string | undefined;
  readonly method: string;
  /** 499 when the client left; 500, 502 or 504 when a response was cut after its head. */
  readonly status: number;
  /** The gRPC status of a backend's response, if it had one. */
  readonly grpcStatus?: number | undefined;
  /** Origin of the response. `route`: it is the one that `respond` or `redirect` of its route declares. */
  readonly source: 'gateway' | 'backend' | 'route';
  /** Why there was no complete response of a backend or of the app. */
  readonly cause: Cause | undefined;
  /** Why the gateway rejected the request, if the cause does not say it all. */
  readonly detail?: string | undefined;
  /** Name of the service that the request was for, or would have been for if it had not been rejected. */
  readonly service: string | undefined;
  /** The backend that was asked last. */
  readonly backend: string | undefined;
  readonly attempts: number;
  /** Bytes on the client's connection, including heads and framing. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationMs: number;
  /** The part of it that backends took, in all attempts together. */
  readonly backendMs: number;
  readonly limits: readonly LimiterDecision[];
  /** The protocol after an upgrade. */
  readonly upgrade: string | undefined;
}

/** Gets the records of finished requests. */
export interface RequestSink {
  started?(): void;
  /** Called with the time from picking a backend to the head of its response. */
  answered?(backend: string, headMs: number, service: string): void;
  attempt?(backend: string, durationMs: number, service: string, outcome: Outcome): void;
  limiterDecided?(decision: LimiterDecision): void;
  finished(request: FinishedRequest): void;
}

/** The result of `serviceRouter()`. */
export interface RouteFinder {
  /** Names of query parameters that the access log masks. */
  readonly secretParameters: ReadonlySet<string>;
  /** The route and the service of a request that ended before the router saw it. */
  routeOf(exchange: Exchange): { readonly route: string; readonly service: string | undefined } | undefined;
}

const NO_LIMITS: readonly LimiterDecision[] = [];

/** Keeps the record of one request, and gives it to the sinks once, when the response is closed. */
export class RequestRecord implements Recorder {
  id: string | undefined;
  readonly #exchange: Exchange;
  readonly #socket: Socket;
  readonly #route: string;
  readonly #sinks: readonly RequestSink[];
  readonly #routers: readonly RouteFinder[];
  readonly #trace: RequestTrace | undefined;
  readonly #startedAt = performance.now();
  /** Read at the start: the address of a client that has left is unknown. */
  readonly #client: string | undefined;
  #attemptSince = Number.NaN;
  #backendMs = 0;
  #limits: LimiterDecision[] | undefined;
  #ended = false;

  constructor(
    exchange: Exchange,
    route: string,
    sinks: readonly RequestSink[],
    routers: readonly RouteFinder[],
    trace: RequestTrace | undefined,
  ) {
    this.#exchange = exchange;
    this.#route = route;
    this.#sinks = sinks;
    this.#routers = routers;
    this.#trace = trace;
    this.#socket = exchange.req.socket;
    this.#client = exchange.clientAddress;
    for (const sink of sinks) {
      try {
        warnOfRejection(sink.started?.(), sink, ...OF_SINK);
      } catch (error) {
        warnOfSink(sink, error);
      }
    }
  }

  limiterDecided(decision: LimiterDecision): void {
    this.#limits ??= [];
    this.#limits.push(decision);
    this.#trace?.limiterDecided(decision);
    for (const sink of this.#sinks) {
      try {
        sink.limiterDecided?.(decision);
      } catch (error) {
        warnOfSink(sink, error);
      }
    }
  }

  attemptStarted(backend: string, head: AttemptHead, httpVersion: '1.1' | '2'): void {
    this.#attemptSince = performance.now();
    this.#trace?.attemptStarted(backend, head, httpVersion);
  }

  attemptAnswered(backend: string): void {
    const tookMs = performance.now() - this.#attemptSince;
    if (Number.isNaN(tookMs)) return;
    this.#trace?.attemptAnswered();
    const { service = '' } = this.#exchange;
    for (const sink of this.#sinks) {
      try {
        sink.answered?.(backend, tookMs, service);
      } catch (error) {
        warnOfSink(sink, error);
      }
    }
  }

  attemptEnded(backend: string, outcome: Outcome): void {
    const tookMs = performance.now() - this.#attemptSince;
    // A failed attempt may be reported twice if there was no other backend.
    if (Number.isNaN(tookMs)) return;
    this.#attemptSince = Number.NaN;
    this.#backendMs += tookMs;
    this.#trace?.attemptEnded(outcome);
    const { service = '' } = this.#exchange;
    for (const sink of this.#sinks) {
      try {
        sink.attempt?.(backend, tookMs, service, outcome);
      } catch (error) {
        warnOfSink(sink, error);
      }
    }
  }

  /** Milliseconds so far: of the request, and of the backends in it. */
  times(): { readonly totalMs: number; readonly backendMs: number } {
    const now = performance.now();
    const running = Number.isNaN(this.#attemptSince) ? 0 : now - this.#attemptSince;
    return { totalMs: now - this.#startedAt, backendMs: this.#backendMs + running };
  }

  /** The response is closed. */
  ended(): void {
    if (this.#ended) return;
    this.#ended = true;
    const outcome = this.#exchange.outcome ?? ABORTED;
    // Only then: a handler of the app may have completed a request that a route would take, too.
    if (outcome.kind !== 'completed') this.#findRoute();
    const { req, res, startedAt, route, consumer, service, backend, attempts, upgrade } = this.#exchange;
    // The gateway may have responded during an attempt, such as for a request body that was too long or did not come.
    if (backend !== undefined) this.attemptEnded(backend, outcome);
    this.#trace?.ended(outcome, this.id);
    const { totalMs, backendMs } = this.times();
    const { read, written } = newBytes(this.#socket);
    const finished: FinishedRequest = {
      req,
      res,
      id: this.id,
      traceId: this.#trace?.traceId,
      client: this.#client,
      startedAt,
      route: route ?? this.#route,
      consumer: consumer?.name,
      method: req.method ?? '',
      status: statusOf(outcome),
      grpcStatus: outcome.kind === 'completed' ? outcome.grpcStatus : undefined,
      source: outcome.kind !== 'completed' ? 'gateway' : sourceOf(this.#exchange),
      cause: causeOf(outcome),
      detail: outcome.kind === 'rejected' ? outcome.detail : undefined,
      service,
      backend,
      attempts,
      bytesIn: read,
      bytesOut: written,
      durationMs: totalMs,
      backendMs,
      limits: this.#limits ?? NO_LIMITS,
      upgrade: outcome.kind === 'completed' && outcome.status === 101 ? upgrade?.protocol : undefined,
    };
    for (const sink of this.#sinks) {
      try {
        warnOfRejection(sink.finished(finished), sink, ...OF_SINK);
      } catch (error) {
        warnOfSink(sink, error);
      }
    }
  }

  /** What a limit or a check rejects before the router counts for the route that it was for. */
  #findRoute(): void {
    const exchange = this.#exchange;
    // With a service, another proxy of the app had the request.
    if (exchange.route !== undefined || exchange.service !== undefined) return;
    // The request may have been meant for any of them.
    const secrets = this.#routers.flatMap(({ secretParameters }) => [...secretParameters]);
    if (secrets.length > 0) exchange.secretParameters = new Set(secrets);
    for (const router of this.#routers) {
      const found = router.routeOf(exchange);
      if (found === undefined) continue;
      exchange.route = found.route;
      exchange.service = found.service;
      return;
    }
  }
}

const sourceOf = ({ backend, isAppError, isDeclared }: Exchange): FinishedRequest['source'] =>
  isAppError ? 'gateway' : backend !== undefined ? 'backend' : isDeclared ? 'route' : 'gateway';

const OF_SINK = ['WARN_EXPRESSWAY_LISTENER', 'A metrics, log or status sink threw'] as const;

/** An error of a sink, such as from the app's logger, costs this one entry, and affects neither the request nor other sinks. */
const warnOfSink = (sink: RequestSink, error: unknown): void => warnOfThrow(sink, ...OF_SINK, error);
