import type { IncomingMessage } from 'node:http';
import { clientVersion } from '../../core/connection.ts';
import { knownExchange } from '../../core/exchange.ts';
import type { LimiterMode } from '../../core/recorder.ts';
import { REDACTED } from '../../core/secret-names.ts';
import type { FinishedRequest } from '../request-record.ts';
import { decodedField, MAX_TARGET, MAX_TEXT, printable, type Redaction } from './redaction.ts';

/** Settings of one log. */
export interface LineRules {
  readonly redaction: Redaction;
  /** Request fields to show, in lower case. */
  readonly fields: readonly string[];
}

/** The decision of one limiter. */
interface LimitRecord {
  readonly limiter: string;
  readonly mode: LimiterMode;
  readonly allowed: boolean;
  readonly limit: number;
  readonly remaining: number | undefined;
  readonly resetMs: number | undefined;
}

/** The facts of one request, for all formats of the log. What does not apply is `undefined`, so JSON lines leave it out. */
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
  readonly grpcStatus: number | undefined;
  readonly source: FinishedRequest['source'];
  readonly cause: FinishedRequest['cause'];
  readonly detail: string | undefined;
  readonly service: string | undefined;
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

/** Rounds milliseconds to three decimals. */
const ms = (value: number): number => Math.round(value * 1000) / 1000;

/** A text that came with a request, or that the app may have made from one, in the form in which the log shows it. */
const shown = (value: string): string => printable(value, MAX_TEXT);

const maybeShown = (value: string | undefined): string | undefined => (value === undefined ? undefined : shown(value));

function header(req: IncomingMessage, name: string): string | undefined {
  const value = req.headers[name];
  return value === undefined ? undefined : shown(decodedField(String(value)));
}

/** A URL without secrets and control characters, and of bounded length. It keeps one character more, so that `printable()` marks the cut. */
const shownUrl = (url: string, req: IncomingMessage, { redaction }: LineRules, maxLength: number): string =>
  printable(redaction.url(decodedField(url).slice(0, maxLength + 1), knownExchange(req)?.secretParameters), maxLength);

/** Turns a finished request into a record. All formats are written from records. */
export function accessRecord(request: FinishedRequest, rules: LineRules): AccessRecord {
  const { req, limits, durationMs, backendMs } = request;
  const { referer } = req.headers;
  return {
    id: maybeShown(request.id),
    traceId: maybeShown(request.traceId),
    client: maybeShown(request.client),
    method: shown(request.method),
    target: shownUrl(req.originalUrl ?? req.url ?? '', req, rules, MAX_TARGET),
    protocol: `HTTP/${clientVersion(req)}`,
    host: header(req, 'host'),
    route: shown(request.route),
    consumer: maybeShown(request.consumer),
    status: request.status,
    grpcStatus: request.grpcStatus,
    source: request.source,
    cause: request.cause,
    detail: maybeShown(request.detail),
    service: maybeShown(request.service),
    backend: maybeShown(request.backend),
    attempts: request.attempts,
    upgrade: maybeShown(request.upgrade),
    bytesIn: request.bytesIn,
    bytesOut: request.bytesOut,
    durationMs: ms(durationMs),
    gatewayMs: ms(durationMs - backendMs),
    backendMs: ms(backendMs),
    referer: referer === undefined ? undefined : shownUrl(referer, req, rules, MAX_TEXT),
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

/** The request headers that the option names. */
function fieldsRecord(req: IncomingMessage, { fields, redaction }: LineRules): Record<string, string | undefined> {
  const field = (name: string): string | undefined =>
    redaction.isSecret(name) && req.headers[name] !== undefined ? REDACTED : header(req, name);
  return Object.fromEntries(fields.map((name) => [name, field(name)]));
}
