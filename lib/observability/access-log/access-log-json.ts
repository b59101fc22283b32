import type { LimiterDecision } from '../../core/recorder.ts';
import type { FinishedRequest } from '../request-record.ts';
import {
  fieldsRecord,
  type LineRules,
  MAX_TARGET,
  MAX_TEXT,
  ms,
  redactedReferer,
  redactedTarget,
} from './access-log-line.ts';
import { printable } from './redaction.ts';

/** Whether JSON or `printable()` would write some character of a text in another way. */
const IS_NOT_PLAIN = /[^\x20\x21\x23-\x5b\x5d-\x7e]/;

/** Whatever may have come from a client is bounded, and without control characters. */
const quoted = (text: string, maxLength = MAX_TEXT): string =>
  text.length > maxLength || IS_NOT_PLAIN.test(text) ? JSON.stringify(printable(text, maxLength)) : `"${text}"`;

/**
 * The members of `accessRecord()` as JSON, each with a comma before it: for each request of a gateway, and so without the
 * object, and without a look at each value for what it might be.
 */
export function accessMembers(request: FinishedRequest, rules: LineRules): string {
  const { req, id, traceId, client, cause, detail, proxy, backend, upgrade, limits, durationMs, backendMs } = request;
  const { host, 'user-agent': userAgent } = req.headers;
  const referer = redactedReferer(request, rules);
  let json = '';
  if (id !== undefined) json += `,"id":${quoted(id)}`;
  if (traceId !== undefined) json += `,"traceId":${quoted(traceId)}`;
  if (client !== undefined) json += `,"client":${quoted(client)}`;
  json += `,"method":${quoted(request.method)},"target":${quoted(redactedTarget(request, rules), MAX_TARGET)}`;
  json += `,"protocol":"HTTP/${req.httpVersion}"`;
  if (host !== undefined) json += `,"host":${quoted(host)}`;
  json += `,"route":${quoted(request.route)},"status":${request.status},"source":"${request.source}"`;
  if (cause !== undefined) json += `,"cause":"${cause}"`;
  if (detail !== undefined) json += `,"detail":${quoted(detail)}`;
  if (proxy !== undefined) json += `,"proxy":${quoted(proxy)}`;
  if (backend !== undefined) json += `,"backend":${quoted(backend)}`;
  json += `,"attempts":${request.attempts}`;
  if (upgrade !== undefined) json += `,"upgrade":${quoted(upgrade)}`;
  json += `,"bytesIn":${request.bytesIn},"bytesOut":${request.bytesOut}`;
  json += `,"durationMs":${ms(durationMs)},"gatewayMs":${ms(durationMs - backendMs)},"backendMs":${ms(backendMs)}`;
  if (referer !== undefined) json += `,"referer":${quoted(referer)}`;
  if (userAgent !== undefined) json += `,"userAgent":${quoted(userAgent)}`;
  if (limits.length > 0) json += `,"limits":[${limits.map(limitJson).join()}]`;
  if (rules.fields.length > 0) json += `,"fields":${JSON.stringify(fieldsRecord(req, rules))}`;
  return json;
}

function limitJson({ limiter, mode, allowed, limit, remaining, resetMs }: LimiterDecision): string {
  const left = remaining === undefined ? '' : `,"remaining":${remaining}`;
  const reset = resetMs === undefined ? '' : `,"resetMs":${Math.ceil(resetMs)}`;
  return `{"limiter":${quoted(limiter)},"mode":"${mode}","allowed":${allowed},"limit":${limit}${left}${reset}}`;
}
