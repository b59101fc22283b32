import type { SpanContext } from './tracing-api.ts';

/** The parts of a `traceparent`. */
export type TraceParent = Pick<SpanContext, 'traceId' | 'spanId' | 'traceFlags'>;

/** Version, trace id, parent id and flags; a version that is to come may have more behind another dash. */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const ZEROS = /^0+$/;

/** `sampled`, and `random` of level 2: all others are to be set to zero by who does not know them (W3C Trace Context §3.2.2.5). */
const KNOWN_FLAGS = 0x03;

/**
 * Reads a `traceparent` (W3C Trace Context §3.2); nothing when it is none. Several fields are none either: Node joins them
 * with commas, and no form has one at those places.
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
