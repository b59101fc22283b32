import { thrown, warn } from '../../core/warnings.ts';
import type { Attributes, Context, Span, SpanContext, SpanOptions, Tracer } from './tracing-api.ts';

/** A call to the SDK. */
type Act = 'start' | 'context' | 'isRecording' | 'setAttributes' | 'addEvent' | 'setStatus' | 'end' | 'with';

/**
 * All that is asked of spans. Samplers, processors and tracers are others' code, and run in the middle of a request: what
 * they throw becomes a process warning, the first time, and requests go on with a span less, or less in it.
 */
export class Spans {
  readonly #tracer: Tracer;
  readonly #told = new Set<Act>();

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  start(name: string, options: SpanOptions, context: Context): Span | undefined {
    try {
      return this.#tracer.startSpan(name, options, context);
    } catch (error) {
      this.tell('start', error);
      return undefined;
    }
  }

  contextOf(span: Span): SpanContext | undefined {
    try {
      return span.spanContext();
    } catch (error) {
      this.tell('context', error);
      return undefined;
    }
  }

  /** What goes out as `tracestate`. */
  stateOf({ traceState }: SpanContext): string | undefined {
    try {
      return traceState?.serialize();
    } catch (error) {
      this.tell('context', error);
      return undefined;
    }
  }

  isRecording(span: Span): boolean {
    try {
      return span.isRecording();
    } catch (error) {
      this.tell('isRecording', error);
      return false;
    }
  }

  setAttributes(span: Span, attributes: Attributes): void {
    try {
      span.setAttributes(attributes);
    } catch (error) {
      this.tell('setAttributes', error);
    }
  }

  addEvent(span: Span, name: string, attributes: Attributes): void {
    try {
      span.addEvent(name, attributes);
    } catch (error) {
      this.tell('addEvent', error);
    }
  }

  setStatus(span: Span, status: { code: number; message?: string }): void {
    try {
      span.setStatus(status);
    } catch (error) {
      this.tell('setStatus', error);
    }
  }

  end(span: Span): void {
    try {
      span.end();
    } catch (error) {
      this.tell('end', error);
    }
  }

  /** Once of each: what throws at one request may throw at all of them. */
  tell(act: Act, error: unknown): void {
    if (this.#told.has(act)) return;
    this.#told.add(act);
    warn('WARN_EXPRESSWAY_TRACING', `The tracing SDK threw, a span is missing or lacks something: ${thrown(error)}`);
  }
}
