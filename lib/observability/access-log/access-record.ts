import type { IncomingMessage } from 'node:http';
import { clientVersion } from '../../core/connection.ts';
import type { LimiterMode } from '../../core/recorder.ts';
import type { FinishedRequest } from '../request-record.ts';
import { MAX_TARGET, MAX_TEXT, printable, REDACTED, type Redaction } from './redaction.ts';

/** What the lines of one log have in common. */
export interface LineRules {
  readonly redaction: Redaction;
  /** Request fields to show, in lower case. */
  readonly fields: readonly string[];
}

/** What one limiter decided. */
interface LimitRecord {
  readonly limiter: string;
  readonly mode: LimiterMode;
  readonly allowed: boolean;
  readonly limit: number;
  readonly remaining: number | undefined;
  readonly resetMs: number | undefined;
}

/** The facts of one request, as every format of the log shows them. What does not apply is `undefined`, and so in no JSON. */
export interface AccessRecord {
  readonly id: string | undefined;
  readonly traceId: string | undefined;
  readonly client: string | undefined;
  readonly method: string;
  readonly target: string;
  readonly protocol: string;
  readonly host: string | undefined;
  readonly route: string;
  readonly consumer: string | undefined;
  readonly status: number;
  readonly source: FinishedRequest['source'];
  readonly cause: FinishedRequest['cause'];
  readonly detail: string | undefined;
  readonly proxy: string | undefined;
  readonly backend: string | undefined;
  readonly attempts: number;
  readonly upgrade: string | undefined;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationMs: number;
  readonly gatewayMs: number;
  readonly backendMs: number;
  readonly referer: string | undefined;
  readonly userAgent: string | undefined;
  readonly limits: readonly LimitRecord[] | undefined;
  readonly fields: Readonly<Record<string, string | undefined>> | undefined;
}

/** Microseconds are as much as anybody can use. */
const ms = (value: number): number => Math.round(value * 1000) / 1000;

/** As any text is shown that came with a request, or may have come from a header through what the app made of it. */
const shown = (value: string): string => printable(value, MAX_TEXT);

const maybeShown = (value: string | undefined): string | undefined => (value === undefined ? undefined : shown(value));

function header(req: IncomingMessage, name: string): string | undefined {
  const value = req.headers[name];
  return value === undefined ? undefined : shown(String(value));
}

/** Without secrets, bounded and without control characters. One character more is looked at: `printable()` says so then. */
const shownUrl = (url: string, { redaction }: LineRules, maxLength: number): string =>
  printable(redaction.url(url.slice(0, maxLength + 1)), maxLength);

/** The one place where a finished request becomes a record: all formats are written from it. */
export function accessRecord(request: FinishedRequest, rules: LineRules): AccessRecord {
  const { req, limits, durationMs, backendMs } = request;
  const { referer } = req.headers;
  return {
    id: maybeShown(request.id),
    traceId: maybeShown(request.traceId),
    client: maybeShown(request.client),
    method: shown(request.method),
    target: shownUrl(req.originalUrl ?? req.url ?? '', rules, MAX_TARGET),
    protocol: `HTTP/${clientVersion(req)}`,
    host: header(req, 'host'),
    route: shown(request.route),
    consumer: maybeShown(request.consumer),
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
    referer: referer === undefined ? undefined : shownUrl(referer, rules, MAX_TEXT),
    userAgent: header(req, 'user-agent'),
    limits: limits.length === 0 ? undefined : limits.map(limitRecord),
    fields: rules.fields.length === 0 ? undefined : fieldsRecord(req, rules),
  };
}

const limitRecord = ({
  limiter,
  mode,
  allowed,
  limit,
  remaining,
  resetMs,
}: FinishedRequest['limits'][number]): LimitRecord => ({
  limiter: shown(limiter),
  mode,
  allowed,
  limit,
  remaining,
  resetMs: resetMs === undefined ? undefined : Math.ceil(resetMs),
});

/** The request fields that the log was asked for. */
function fieldsRecord(req: IncomingMessage, { fields, redaction }: LineRules): Record<string, string | undefined> {
  const field = (name: string): string | undefined =>
    redaction.isSecret(name) && req.headers[name] !== undefined ? REDACTED : header(req, name);
  return Object.fromEntries(fields.map((name) => [name, field(name)]));
}
