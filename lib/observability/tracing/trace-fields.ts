import type { IncomingHttpHeaders } from 'node:http';
import { formatTraceParent, parseTraceParent } from './trace-context.ts';
import type { SpanContext, TracingApi } from './tracing-api.ts';

const PARENT = 'traceparent';
const STATE = 'tracestate';

/** What a request says of the trace that it belongs to; of a bad `traceparent`, `tracestate` is worth nothing either (§3.3). */
export function readTraceFields(headers: IncomingHttpHeaders, api: TracingApi): SpanContext | undefined {
  const given = headers[PARENT];
  const parent = typeof given === 'string' ? parseTraceParent(given) : undefined;
  if (parent === undefined) return undefined;
  const state = headers[STATE];
  if (typeof state !== 'string') return { ...parent, isRemote: true };
  return { ...parent, isRemote: true, traceState: api.createTraceState(state) };
}

/**
 * Puts a span in the place of what the client sent, for whatever reads the request's fields after this.
 *
 * @param state Of the span, as text.
 */
export function writeTraceFields(headers: IncomingHttpHeaders, span: SpanContext, state: string | undefined): void {
  headers[PARENT] = formatTraceParent(span);
  if (state) headers[STATE] = state;
  else delete headers[STATE];
}

/** The same in the head of a request to a backend: names and values in turn. */
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
  // A client may have named it in `Connection`: it is our own field now, and goes out all the same.
  fields.push(name, value);
}
