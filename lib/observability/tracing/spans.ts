import { warn } from '../../core/warnings.ts';
import type { Context, Span, SpanOptions, Tracer } from './tracing-api.ts';

/**
 * Starts and ends spans. Samplers and processors are others' code, and run in the middle of a request: what they throw
 * becomes a process warning, and the request goes on with a span less.
 */
export class Spans {
  readonly #tracer: Tracer;

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  start(name: string, options: SpanOptions, context: Context): Span | undefined {
    try {
      return this.#tracer.startSpan(name, options, context);
    } catch (error) {
      warn('WARN_EXPRESSWAY_TRACING', `The tracing SDK threw, a span is missing: ${error}`);
      return undefined;
    }
  }

  end(span: Span): void {
    try {
      span.end();
    } catch (error) {
      warn('WARN_EXPRESSWAY_TRACING', `The tracing SDK threw, a span is missing: ${error}`);
    }
  }
}
