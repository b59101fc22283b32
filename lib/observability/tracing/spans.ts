import { warn } from '../../core/warnings.ts';
import type { Context, Span, SpanOptions, Tracer } from './tracing-api.ts';

/**
 * Starts and ends spans. Samplers and processors are others' code, and run in the middle of a request: what they throw
 * becomes a process warning, the first time, and requests go on with a span less.
 */
export class Spans {
  readonly #tracer: Tracer;
  readonly #told = new Set<'start' | 'end'>();

  constructor(tracer: Tracer) {
    this.#tracer = tracer;
  }

  start(name: string, options: SpanOptions, context: Context): Span | undefined {
    try {
      return this.#tracer.startSpan(name, options, context);
    } catch (error) {
      this.#tell('start', error);
      return undefined;
    }
  }

  end(span: Span): void {
    try {
      span.end();
    } catch (error) {
      this.#tell('end', error);
    }
  }

  /** Once of each: what throws at one request may throw at all of them. */
  #tell(act: 'start' | 'end', error: unknown): void {
    if (this.#told.has(act)) return;
    this.#told.add(act);
    warn('WARN_EXPRESSWAY_TRACING', `The tracing SDK threw, a span is missing: ${error}`);
  }
}
