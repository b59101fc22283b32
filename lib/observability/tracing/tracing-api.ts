// The part of `@opentelemetry/api` that is used, in types of our own: an app without that package can compile too.

export type AttributeValue = string | number | boolean;
export type Attributes = Record<string, AttributeValue>;

export interface Context {
  getValue(key: symbol): unknown;
  setValue(key: symbol, value: unknown): Context;
  deleteValue(key: symbol): Context;
}

export interface TraceState {
  get(key: string): string | undefined;
  set(key: string, value: string): TraceState;
  unset(key: string): TraceState;
  serialize(): string;
}

export interface SpanContext {
  traceId: string;
  spanId: string;
  traceFlags: number;
  isRemote?: boolean;
  traceState?: TraceState;
}

export interface Span {
  spanContext(): SpanContext;
  isRecording(): boolean;
  setAttributes(attributes: Attributes): unknown;
  updateName(name: string): unknown;
  addEvent(name: string, attributes: Attributes): unknown;
  setStatus(status: { code: number; message?: string }): unknown;
  end(): void;
}

export interface SpanOptions {
  kind?: number;
  attributes?: Attributes;
  links?: { context: SpanContext }[];
}

export interface Tracer {
  startSpan(name: string, options: SpanOptions, context: Context): Span;
}

/** The part of `import * as api from '@opentelemetry/api'` that we use. */
export interface TracingApi {
  readonly ROOT_CONTEXT: Context;
  readonly SpanKind: { readonly INTERNAL: number; readonly SERVER: number; readonly CLIENT: number };
  readonly SpanStatusCode: { readonly ERROR: number };
  readonly trace: {
    getTracer(name: string): Tracer;
    getTracerProvider(): object;
    setSpan(context: Context, span: Span): Context;
    setSpanContext(context: Context, spanContext: SpanContext): Context;
    getSpan(context: Context): Span | undefined;
    deleteSpan(context: Context): Context;
  };
  readonly context: { active(): Context; with(context: Context, run: () => void): void };
  createTraceState(members: string): TraceState;
  isSpanContextValid(context: SpanContext): boolean;
}
