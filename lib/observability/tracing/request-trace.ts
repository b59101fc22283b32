import type { Exchange, ExchangeObserver } from '../../core/exchange.ts';
import { causeOf, type Outcome, statusOf } from '../../core/outcome.ts';
import type { AttemptHead, LimiterDecision } from '../../core/recorder.ts';
import { type AttributeRules, clientAttributes, endAttributes, spanName } from './span-attributes.ts';
import type { Spans } from './spans.ts';
import { replaceTraceFields } from './trace-context.ts';
import type { Attributes, Context, Span, TracingApi } from './tracing-api.ts';

/** What all traces of one gateway have in common. */
export interface TraceParts {
  readonly api: TracingApi;
  readonly rules: AttributeRules;
  readonly spans: Spans;
}

/** The spans of one request: its own, and one for each attempt. What is not sampled costs little more than its ids. */
export class RequestTrace implements ExchangeObserver {
  readonly #parts: TraceParts;
  readonly #exchange: Exchange;
  readonly #span: Span;
  readonly #context: Context;
  #attempt: Span | undefined;
  #attempts = 0;
  #ended = false;

  /** @param context One in which the span is the active one. */
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

  /** Runs what comes next with this request's span as the active one, so that spans made there are its children. */
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
    // The app's own error is none of the SDK's.
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

  attemptStarted(backend: string, head: AttemptHead): void {
    const { api, rules, spans } = this.#parts;
    const attributes = () => clientAttributes(this.#exchange, backend, head, this.#attempts, rules);
    const isSampled = spans.isRecording(this.#span);
    const span = spans.start(
      spanName(this.#exchange.req.method, undefined, rules),
      isSampled ? { kind: api.SpanKind.CLIENT, attributes: attributes() } : { kind: api.SpanKind.CLIENT },
      this.#context,
    );
    if (span !== undefined) {
      const context = spans.contextOf(span);
      if (context !== undefined) replaceTraceFields(head.fields, context, spans.stateOf(context));
      // A sampler may choose an attempt of a request that it did not choose.
      if (!isSampled && spans.isRecording(span)) spans.setAttributes(span, attributes());
    }
    this.#attempts += 1;
    this.#attempt = span;
  }

  attemptEnded(outcome: Outcome): void {
    const span = this.#attempt;
    if (span === undefined) return;
    this.#attempt = undefined;
    const { spans } = this.#parts;
    if (spans.isRecording(span)) {
      const attributes = endAttributes(outcome, this.#exchange);
      // To a client 4xx is an error as well; that ours has left is none, and nor is a refusal of our own.
      if (outcome.kind === 'failed') this.#fail(span, attributes, outcome.cause, outcome.error.message);
      else if (outcome.kind === 'completed' && outcome.status >= 400) {
        this.#fail(span, attributes, String(outcome.status));
      }
      spans.setAttributes(span, attributes);
    }
    spans.end(span);
  }

  /** A protocol was switched to. A tunnel may last for days: its spans end here. */
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
      const { backend, consumer, proxy, route } = this.#exchange;
      const attributes = endAttributes(outcome, this.#exchange);
      if (route !== undefined) attributes['http.route'] = route;
      if (consumer !== undefined) attributes['enduser.id'] = consumer.name;
      if (proxy !== undefined) attributes['expressway.proxy'] = proxy;
      if (backend !== undefined) attributes['expressway.backend'] = backend;
      if (requestId !== undefined) attributes['expressway.request_id'] = requestId;
      attributes['expressway.attempts'] = this.#attempts;
      // To a server 4xx is none of its errors, and so is 499 for a client that left.
      const status = statusOf(outcome);
      if (status >= 500) this.#fail(span, attributes, causeOf(outcome) ?? String(status));
      spans.setAttributes(span, attributes);
    }
    spans.end(span);
  }

  #fail(span: Span, attributes: Attributes, type: string, message?: string): void {
    attributes['error.type'] = type;
    const { api, spans } = this.#parts;
    const code = api.SpanStatusCode.ERROR;
    spans.setStatus(span, message === undefined ? { code } : { code, message });
  }
}
