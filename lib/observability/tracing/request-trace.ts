import type { Exchange, ExchangeObserver } from '../../core/exchange.ts';
import { isGrpcFailure } from '../../core/grpc.ts';
import { causeOf, type Outcome, statusOf } from '../../core/outcome.ts';
import type { AttemptHead, LimiterDecision } from '../../core/recorder.ts';
import { type AttributeRules, clientAttributes, endAttributes, grpcStatusOf, spanName } from './span-attributes.ts';
import type { Spans } from './spans.ts';
import { replaceTraceFields } from './trace-context.ts';
import type { Attributes, Context, Span, TracingApi } from './tracing-api.ts';

const grpcError = (outcome: Outcome): string => `grpc-status ${grpcStatusOf(outcome)}`;

/** Shared by all traces of one gateway. */
export interface TraceParts {
  readonly api: TracingApi;
  readonly rules: AttributeRules;
  readonly spans: Spans;
}

/** The spans of one request: its own, and one for each attempt. A span that is not sampled costs little more than its ids. */
export class RequestTrace implements ExchangeObserver {
  readonly #parts: TraceParts;
  readonly #exchange: Exchange;
  readonly #span: Span;
  readonly #context: Context;
  #attempt: Span | undefined;
  #attempts = 0;
  #isAnswered = false;
  #ended = false;

  /** @param context A context in which the span is active. */
  constructor(parts: TraceParts, exchange: Exchange, span: Span, context: Context) {
    this.#parts = parts;
    this.#exchange = exchange;
    this.#span = span;
    this.#context = context;
    if (exchange.upgrade !== undefined) exchange.observe(this);
  }

  get traceId(): string | undefined {
    return this.#parts.spans.contextOf(this.#span)?.traceId;
  }

  /** Runs a function with this request's span active, so that spans created there are its children. */
  run(next: () => void): void {
    const { api, spans } = this.#parts;
    let hasRun = false;
    let failure: { readonly error: unknown } | undefined;
    try {
      api.context.with(this.#context, () => {
        hasRun = true;
        try {
          next();
        } catch (error) {
          failure = { error };
        }
      });
    } catch (error) {
      spans.warnOnce('with', error);
    }
    // An error of the app must not be taken for one of the SDK.
    if (failure !== undefined) throw failure.error;
    if (!hasRun) next();
  }

  limiterDecided({ limiter, mode, allowed, shadow, limit, remaining }: LimiterDecision): void {
    if (!this.#parts.spans.isRecording(this.#span)) return;
    const decision = allowed ? 'allowed' : shadow ? 'shadowed' : 'limited';
    const attributes: Attributes = {
      'expressway.limiter.name': limiter,
      'expressway.limiter.mode': mode,
      'expressway.limiter.decision': decision,
      'expressway.limiter.limit': limit,
    };
    if (remaining !== undefined) attributes['expressway.limiter.remaining'] = remaining;
    this.#parts.spans.addEvent(this.#span, 'expressway.limiter', attributes);
  }

  attemptStarted(backend: string, head: AttemptHead, httpVersion: '1.1' | '2'): void {
    const { api, rules, spans } = this.#parts;
    const attributes = () => ({
      ...clientAttributes(this.#exchange, backend, head, this.#attempts, rules),
      'network.protocol.version': httpVersion,
    });
    const isSampled = spans.isRecording(this.#span);
    const span = spans.start(
      spanName(this.#exchange.req.method, undefined, rules),
      isSampled ? { kind: api.SpanKind.CLIENT, attributes: attributes() } : { kind: api.SpanKind.CLIENT },
      this.#context,
    );
    if (span !== undefined) {
      const context = spans.contextOf(span);
      if (context !== undefined) replaceTraceFields(head.fields, context, spans.stateOf(context));
      // A sampler may sample an attempt of a request that it did not sample.
      if (!isSampled && spans.isRecording(span)) spans.setAttributes(span, attributes());
    }
    this.#attempts += 1;
    this.#isAnswered = false;
    this.#attempt = span;
  }

  /** The head of the backend's response has come. */
  attemptAnswered(): void {
    this.#isAnswered = true;
  }

  attemptEnded(outcome: Outcome): void {
    const span = this.#attempt;
    if (span === undefined) return;
    this.#attempt = undefined;
    const { spans } = this.#parts;
    if (spans.isRecording(span)) {
      // The gateway may have responded itself, such as for a body that is too long: that is no status of the backend.
      const attributes = endAttributes(outcome, this.#isAnswered ? this.#sentStatus : undefined);
      // For a CLIENT span, 4xx is an error, and so is any gRPC status but 0. A client that left and a rejection by the gateway are no errors.
      if (outcome.kind === 'failed') this.#fail(span, attributes, outcome.cause, outcome.error.message);
      else if (outcome.kind === 'completed' && outcome.status >= 400) {
        this.#fail(span, attributes, String(outcome.status));
      } else if (grpcStatusOf(outcome)) this.#fail(span, attributes, grpcError(outcome));
      spans.setAttributes(span, attributes);
    }
    spans.end(span);
  }

  /** After an upgrade: the spans end here, because a tunnel may last for days. */
  settled(outcome: Outcome): void {
    if (outcome.kind !== 'completed' || outcome.status !== 101) return;
    this.attemptEnded(outcome);
    this.ended(outcome);
  }

  /** @param requestId The `X-Request-Id` of the response. */
  ended(outcome: Outcome, requestId?: string): void {
    if (this.#ended) return;
    this.#ended = true;
    const span = this.#span;
    const { spans } = this.#parts;
    if (spans.isRecording(span)) {
      const { backend, consumer, service, route } = this.#exchange;
      const attributes = endAttributes(outcome, this.#sentStatus);
      if (route !== undefined) {
        attributes['http.route'] = route;
        // A router finds its route only after the span has begun.
        spans.updateName(span, spanName(this.#exchange.req.method, route, this.#parts.rules));
      }
      if (consumer !== undefined) attributes['enduser.id'] = consumer.name;
      if (service !== undefined) attributes['expressway.service'] = service;
      if (backend !== undefined) attributes['expressway.backend'] = backend;
      if (requestId !== undefined) attributes['expressway.request_id'] = requestId;
      attributes['expressway.attempts'] = this.#attempts;
      // For a SERVER span, 4xx is no error, and neither is 499 for a client that left.
      const status = statusOf(outcome);
      if (status >= 500) this.#fail(span, attributes, causeOf(outcome) ?? String(status));
      else if (isGrpcFailure(grpcStatusOf(outcome))) this.#fail(span, attributes, grpcError(outcome));
      spans.setAttributes(span, attributes);
    }
    spans.end(span);
  }

  get #sentStatus(): number | undefined {
    const { res } = this.#exchange;
    return res.headersSent ? res.statusCode : undefined;
  }

  #fail(span: Span, attributes: Attributes, type: string, message?: string): void {
    attributes['error.type'] = type;
    const { api, spans } = this.#parts;
    const code = api.SpanStatusCode.ERROR;
    spans.setStatus(span, message === undefined ? { code } : { code, message });
  }
}
