import type { Exchange } from '../../core/exchange.ts';
import { boolean, type Checks, nonEmptyStrings, oneOf, resolveOptions } from '../../core/options.ts';
import { Redaction } from '../access-log/redaction.ts';
import { RequestTrace, type TraceParts } from './request-trace.ts';
import { type AttributeRules, serverAttributes, spanName } from './span-attributes.ts';
import { Spans } from './spans.ts';
import { readTraceFields, writeTraceFields } from './trace-context.ts';
import type { Context, Span, SpanContext, TracingApi } from './tracing-api.ts';

/** Peers that may continue their trace by `traceparent`, and so decide about sampling. */
export type TrustIncoming = 'trusted-peers' | 'all' | 'none';

/** Options of {@link tracing}. */
export interface TracingOptions {
  /** `import * as api from '@opentelemetry/api'`. Nothing of that package is loaded here. */
  api: TracingApi;
  /**
   * Peers whose traces are continued: those that the app's `trust proxy` names, all, or none. Any other valid `traceparent` becomes a link of
   * a new trace, because a client that is not trusted must not force sampling, or choose the trace.
   * Default `trusted-peers`.
   */
  trustIncoming?: TrustIncoming;
  /** Whether spans show the query. Secrets are masked in it by their usual names. Default false. */
  query?: boolean;
  /**
   * Parameters to mask in paths and queries, beside those that are secret by their usual names. Spelling does not matter: `userEmail`
   * is `user_email` and `user[email]` as well. `*` stands for any characters: `*email*`. Default: none.
   */
  redact?: readonly string[];
  /**
   * Methods with a name of their own; all others are `_OTHER`. Default: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE and
   * CONNECT.
   */
  methods?: readonly string[];
}

/** Defaults of {@link TracingOptions}. */
export const tracingDefaults = Object.freeze({
  trustIncoming: 'trusted-peers' as TrustIncoming,
  query: false,
  redact: [] as readonly string[],
  methods: Object.freeze([
    'GET',
    'HEAD',
    'POST',
    'PUT',
    'PATCH',
    'DELETE',
    'OPTIONS',
    'TRACE',
    'CONNECT',
  ]) as readonly string[],
});

const isApi = (value: unknown): boolean => {
  const { trace, context } = (value ?? {}) as Partial<TracingApi>;
  return typeof trace?.getTracer === 'function' && typeof context?.active === 'function';
};

const checks: Checks<TracingOptions> = {
  api: (value) => (isApi(value) ? undefined : "must be the whole module: import * as api from '@opentelemetry/api'"),
  trustIncoming: oneOf('trusted-peers', 'all', 'none'),
  query: boolean,
  redact: nonEmptyStrings,
  methods: nonEmptyStrings,
};

const TRACER = 'expressway';

/** The provider of the API itself gives the tracer of the SDK, or `undefined` without an SDK. */
interface ApiProvider {
  getDelegateTracer?(name: string): object | undefined;
}

/** The flag of a sampled span (W3C Trace Context §3.2.2.5.1). */
const SAMPLED = 1;

/** Opens the traces of requests, for `observability()`. */
export interface Tracing {
  /** `undefined` without an SDK. The request is then left as it came. */
  begin(exchange: Exchange, route: string | undefined): RequestTrace | undefined;
}

/**
 * Traces requests through `@opentelemetry/api`, with the SDK that the process has registered. Without an SDK it does nothing.
 * Give it to `observability()`.
 *
 * ```ts
 * import * as api from '@opentelemetry/api';
 *
 * app.use(observability({ tracing: tracing({ api }) }));
 * ```
 *
 * Each request has a span of kind SERVER, which is active in all middlewares after it. If the app or an instrumentation has made a span active
 * before, the request has a child of that span, of kind INTERNAL. Each attempt has a CLIENT span, whose id replaces the client's in the
 * `traceparent` for the backend (W3C Trace Context). `docs/tracing.md` has the attributes.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function tracing(given: TracingOptions): Tracing {
  const options = resolveOptions('tracing', given, tracingDefaults, checks);
  const { api, trustIncoming, query } = options;
  const rules: AttributeRules = { methods: new Set(options.methods), redaction: new Redaction(options.redact), query };
  // The tracer looks for the registered SDK at its first span, so the SDK may be registered later.
  const spans = new Spans(api.trace.getTracer(TRACER));
  const parts: TraceParts = { api, rules, spans };
  let hasSdk = false;

  /** Saves all the work for a span that leads nowhere. */
  function isTraced(): boolean {
    if (hasSdk) return true;
    const provider: ApiProvider = api.trace.getTracerProvider();
    hasSdk = provider.getDelegateTracer === undefined || provider.getDelegateTracer(TRACER) !== undefined;
    return hasSdk;
  }

  /** The context that the app, or an instrumentation, has made active before: baggage and other values, and perhaps a span. */
  function active(): Context {
    try {
      return api.context.active();
    } catch (error) {
      spans.warnOnce('context', error);
      return api.ROOT_CONTEXT;
    }
  }

  /** The active span, unless it has ended. One that has ended belongs to the start of the server, not to this request. */
  function openSpanIn(context: Context): SpanContext | undefined {
    try {
      const span = api.trace.getSpan(context);
      const found = span?.spanContext();
      if (span === undefined || found === undefined || !api.isSpanContextValid(found)) return undefined;
      const isSampled = (found.traceFlags & SAMPLED) !== 0;
      return span.isRecording() || !isSampled || found.isRemote === true ? found : undefined;
    } catch (error) {
      spans.warnOnce('context', error);
      return undefined;
    }
  }

  function contextWith(context: Context, parent: SpanContext | undefined): Context | undefined {
    try {
      return parent === undefined ? api.trace.deleteSpan(context) : api.trace.setSpanContext(context, parent);
    } catch (error) {
      spans.warnOnce('context', error);
      return undefined;
    }
  }

  function contextOf(span: Span, outer: Context): Context | undefined {
    try {
      return api.trace.setSpan(outer, span);
    } catch (error) {
      spans.warnOnce('context', error);
      return undefined;
    }
  }

  return {
    begin(exchange, route) {
      if (!isTraced()) return undefined;
      const { headers, method } = exchange.req;
      const incoming = readTraceFields(headers, api);
      const around = active();
      const joined = openSpanIn(around);
      const isContinued = trustIncoming === 'all' || (trustIncoming === 'trusted-peers' && exchange.peerTrusted);
      const parent = joined ?? (isContinued ? incoming : undefined);
      const outer = joined === undefined ? contextWith(around, parent) : around;
      if (outer === undefined) return undefined;
      const span = spans.start(
        spanName(method, route, rules),
        {
          // Then the span that was active before is the SERVER span.
          kind: joined === undefined || joined.isRemote === true ? api.SpanKind.SERVER : api.SpanKind.INTERNAL,
          attributes: serverAttributes(exchange, route, rules),
          links: incoming === undefined || parent !== undefined ? [] : [{ context: incoming }],
        },
        outer,
      );
      const context = span && spans.contextOf(span);
      // Without an SDK a span has no id, or its parent's.
      if (span === undefined || context === undefined || !api.isSpanContextValid(context)) return undefined;
      if (context.spanId === parent?.spanId) return undefined;
      const inner = contextOf(span, outer);
      if (inner === undefined) return undefined;
      writeTraceFields(headers, context, spans.stateOf(context));
      return new RequestTrace(parts, exchange, span, inner);
    },
  };
}
