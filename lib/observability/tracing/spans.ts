import { thrown, warn } from '../../core/warnings.ts';
import type { Attributes, Context, Span, SpanContext, SpanOptions, Tracer } from './tracing-api.ts';

/** A call to the SDK. */
type SdkCall =
  | 'start'
  | 'context'
  | 'isRecording'
  | 'setAttributes'
  | 'updateName'
  | 'addEvent'
  | 'setStatus'
  | 'end'
  | 'with';

/**
 * All calls to the SDK. Samplers, processors and tracers are foreign code that runs during a request. The first error becomes a process
 * warning. The request goes on, and its span is missing or incomplete.
 */
export class Spans {
  readonly #tracer: Tracer;
  readonly #warned = new Set<SdkCall>();

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  start(name: string, options: SpanOptions, context: Context): Span | undefined {
    try {
      return this.#tracer.startSpan(name, options, context);
    } catch (error) {
      this.warnOnce('start', error);
      return undefined;
    }
  }

  contextOf(span: Span): SpanContext | undefined {
    try {
      return span.spanContext();
    } catch (error) {
      this.warnOnce('context', error);
      return undefined;
    }
  }

  /** The value of `tracestate`. */
  stateOf({ traceState }: SpanContext): string | undefined {
    try {
      return traceState?.serialize();
    } catch (error) {
      this.warnOnce('context', error);
      return undefined;
    }
  }

  isRecording(span: Span): boolean {
    try {
      return span.isRecording();
    } catch (error) {
      this.warnOnce('isRecording', error);
      return false;
    }
  }

  setAttributes(span: Span, attributes: Attributes): void {
    try {
      span.setAttributes(attributes);
    } catch (error) {
      this.warnOnce('setAttributes', error);
    }
  }

  updateName(span: Span, name: string): void {
    try {
      span.updateName(name);
    } catch (error) {
      this.warnOnce('updateName', error);
    }
  }

  addEvent(span: Span, name: string, attributes: Attributes): void {
    try {
      span.addEvent(name, attributes);
    } catch (error) {
      this.warnOnce('addEvent', error);
    }
  }

  setStatus(span: Span, status: { code: number; message?: string }): void {
    try {
      span.setStatus(status);
    } catch (error) {
      this.warnOnce('setStatus', error);
    }
  }

  end(span: Span): void {
    try {
      span.end();
    } catch (error) {
      this.warnOnce('end', error);
    }
  }

  /** Warns once for each function, because it may throw for every request. */
  warnOnce(call: SdkCall, error: unknown): void {
    if (this.#warned.has(call)) return;
    this.#warned.add(call);
    warn('WARN_EXPRESSWAY_TRACING', `The tracing SDK threw, a span is missing or lacks something: ${thrown(error)}`);
  }
}
