import type { IncomingMessage } from 'node:http';
import type { FinishedRequest } from '../request-record.ts';
import { printable, printableWord, REDACTED, type Redaction } from './redaction.ts';
import type { Refusal } from './refused-clients.ts';

/** Characters of a request target that are shown, and of any other text of the client's. */
export const MAX_TARGET = 2_048;
export const MAX_TEXT = 512;

/** What the lines of one log have in common. */
export interface LineRules {
  readonly redaction: Redaction;
  /** Request fields to show, in lower case. */
  readonly fields: readonly string[];
}

/** Microseconds are as much as anybody can use. */
export const ms = (value: number): number => Math.round(value * 1000) / 1000;

/** As any text is shown that came with a request, or may have come from a header through what the app made of it. */
export const shown = (value: string): string => printable(value, MAX_TEXT);

const maybeShown = (value: string | undefined): string | undefined => (value === undefined ? undefined : shown(value));

function text(req: IncomingMessage, name: string): string | undefined {
  const value = req.headers[name];
  return value === undefined ? undefined : shown(String(value));
}

/** Longer than it is shown, if it was cut: `printable()` says so then. */
export function redactedTarget({ req }: FinishedRequest, { redaction }: LineRules): string {
  return redaction.url((req.originalUrl ?? req.url ?? '').slice(0, MAX_TARGET + 1));
}

/** The same of the referring page, if there is one. */
export function redactedReferer({ req }: FinishedRequest, { redaction }: LineRules): string | undefined {
  return req.headers.referer === undefined ? undefined : redaction.url(req.headers.referer.slice(0, MAX_TEXT + 1));
}

function target(request: FinishedRequest, rules: LineRules): string {
  return printable(redactedTarget(request, rules), MAX_TARGET);
}

function referer(request: FinishedRequest, rules: LineRules): string | undefined {
  const redacted = redactedReferer(request, rules);
  return redacted === undefined ? undefined : printable(redacted, MAX_TEXT);
}

/** The facts of one request as an object; those that do not apply are `undefined`, and so in no JSON. */
export function accessRecord(request: FinishedRequest, rules: LineRules): Record<string, unknown> {
  const { req, limits, durationMs, backendMs } = request;
  const record: Record<string, unknown> = {
    id: maybeShown(request.id),
    traceId: maybeShown(request.traceId),
    client: maybeShown(request.client),
    method: shown(request.method),
    target: target(request, rules),
    protocol: `HTTP/${req.httpVersion}`,
    host: text(req, 'host'),
    route: shown(request.route),
    status: request.status,
    source: request.source,
    cause: request.cause,
    detail: maybeShown(request.detail),
    proxy: maybeShown(request.proxy),
    backend: maybeShown(request.backend),
    attempts: request.attempts,
    upgrade: maybeShown(request.upgrade),
    bytesIn: request.bytesIn,
    bytesOut: request.bytesOut,
    durationMs: ms(durationMs),
    gatewayMs: ms(durationMs - backendMs),
    backendMs: ms(backendMs),
    referer: referer(request, rules),
    userAgent: text(req, 'user-agent'),
  };
  if (limits.length > 0) {
    record.limits = limits.map(({ limiter, mode, allowed, limit, remaining, resetMs }) => ({
      limiter: shown(limiter),
      mode,
      allowed,
      limit,
      remaining,
      resetMs: resetMs === undefined ? undefined : Math.ceil(resetMs),
    }));
  }
  if (rules.fields.length > 0) record.fields = fieldsRecord(req, rules);
  return record;
}

/** The request fields that the log was asked for. */
export function fieldsRecord(req: IncomingMessage, rules: LineRules): Record<string, string | undefined> {
  const { fields, redaction } = rules;
  const field = (name: string): string | undefined =>
    redaction.isSecret(name) && req.headers[name] !== undefined ? REDACTED : text(req, name);
  return Object.fromEntries(fields.map((name) => [name, field(name)]));
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `24/Nov/2026:12:33:10 +0000` */
function commonTime(time: number): string {
  const iso = new Date(time).toISOString();
  return `${iso.slice(8, 10)}/${MONTHS[Number(iso.slice(5, 7)) - 1]}/${iso.slice(0, 4)}:${iso.slice(11, 19)} +0000`;
}

const quoted = (value: string | undefined): string =>
  value === undefined ? '"-"' : `"${value.replace(/\\(?!u[0-9a-f]{4})|"/g, '\\$&')}"`;

/** The client stands in a column of its own, without quotes. */
const clientColumn = (client: string | undefined): string =>
  client === undefined || client === '' ? '-' : printableWord(client, MAX_TEXT);

/** The Common Log Format of NCSA httpd; its size counts heads too, as far as this log knows. */
export function commonLine(request: FinishedRequest, rules: LineRules): string {
  const { req, client, status, bytesOut, startedAt } = request;
  const line = `${shown(request.method)} ${target(request, rules)} HTTP/${req.httpVersion}`;
  return `${clientColumn(client)} - - [${commonTime(startedAt)}] ${quoted(line)} ${status} ${bytesOut || '-'}`;
}

/** The same with referer and user agent. */
export function combinedLine(request: FinishedRequest, rules: LineRules): string {
  return `${commonLine(request, rules)} ${quoted(referer(request, rules))} ${quoted(text(request.req, 'user-agent'))}`;
}

/** The same of a client whose request is not known. */
export function refusalLine({ client, time, status }: Refusal, format: 'common' | 'combined'): string {
  const line = `${clientColumn(client)} - - [${commonTime(time)}] "-" ${status} -`;
  return format === 'common' ? line : `${line} "-" "-"`;
}
