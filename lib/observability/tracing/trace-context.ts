import type { IncomingHttpHeaders } from 'node:http';
import type { SpanContext, TracingApi } from './tracing-api.ts';

/** The parts of a `traceparent`. */
export type TraceParent = Pick<SpanContext, 'traceId' | 'spanId' | 'traceFlags'>;

/** Version, trace id, parent id and flags. A future version may add more after another dash. */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const ZEROS = /^0+$/;

/** `sampled`, and `random` of level 2. Unknown flags must be set to 0 (W3C Trace Context §3.2.2.5). */
const KNOWN_FLAGS = 0x03;

/**
 * Parses a `traceparent` (W3C Trace Context §3.2); `undefined` for an invalid one. Repeated headers are invalid: Node joins them with commas,
 * which do not match.
 */
export function parseTraceParent(text: string): TraceParent | undefined {
  const [, version, traceId = '', spanId = '', flags = '', more] = TRACEPARENT.exec(text) ?? [];
  if (version === undefined || version === 'ff' || (version === '00' && more !== undefined)) return undefined;
  if (ZEROS.test(traceId) || ZEROS.test(spanId)) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & KNOWN_FLAGS };
}

/** Writes version 00, the highest there is. */
export function formatTraceParent({ traceId, spanId, traceFlags }: TraceParent): string {
  return `00-${traceId}-${spanId}-${(traceFlags & 0xff).toString(16).padStart(2, '0')}`;
}

const PARENT = 'traceparent';
const STATE = 'tracestate';

/** The trace that a request belongs to. With an invalid `traceparent`, `tracestate` is ignored, too (§3.3). */
export function readTraceFields(headers: IncomingHttpHeaders, api: TracingApi): SpanContext | undefined {
  const given = headers[PARENT];
  const parent = typeof given === 'string' ? parseTraceParent(given) : undefined;
  if (parent === undefined) return undefined;
  const state = headers[STATE];
  if (typeof state !== 'string') return { ...parent, isRemote: true };
  return { ...parent, isRemote: true, traceState: api.createTraceState(state) };
}

/**
 * Replaces the client's trace headers with those of a span, for all code that reads the request headers later.
 *
 * @param state The `tracestate` of the span.
 */
export function writeTraceFields(headers: IncomingHttpHeaders, span: SpanContext, state: string | undefined): void {
  headers[PARENT] = formatTraceParent(span);
  if (state) headers[STATE] = state;
  else delete headers[STATE];
}

/** The same in the head of a request to a backend, where names and values alternate. */
export function replaceTraceFields(fields: string[], span: SpanContext, state: string | undefined): void {
  replace(fields, PARENT, formatTraceParent(span));
  if (state) replace(fields, STATE, state);
}

function replace(fields: string[], name: string, value: string): void {
  for (let at = 0; at < fields.length; at += 2) {
    const given = fields[at] as string;
    if (given.length !== name.length || given.toLowerCase() !== name) continue;
    fields[at + 1] = value;
    return;
  }
  // Even if the client named it in `Connection`: it is our own header now.
  fields.push(name, value);
}
