import { helpOf } from './help.ts';
import type { Cause, Outcome } from './outcome.ts';

/** Stable, documented codes of the errors that this package throws or answers with. */
export type GatewayErrorCode =
  | 'ERR_EXPRESSWAY_OPTIONS'
  | 'ERR_EXPRESSWAY_TRUST_PROXY'
  | 'ERR_EXPRESSWAY_BODY_ALREADY_READ'
  | 'ERR_EXPRESSWAY_REQUEST_HEAD'
  | 'ERR_EXPRESSWAY_CALLBACK'
  | 'ERR_EXPRESSWAY_RUNTIME'
  | 'ERR_EXPRESSWAY_CLOSED'
  | 'ERR_EXPRESSWAY_CLOSE_TIMEOUT';

/** A programmer's error: thrown, never answered to traffic. Its message ends with where the package tells more. */
export class GatewayError extends Error {
  readonly code: GatewayErrorCode;

  constructor(code: GatewayErrorCode, message: string, options?: ErrorOptions) {
    super(`${message} (see ${helpOf(code)})`, options);
    this.name = 'GatewayError';
    this.code = code;
  }
}

/** What a client is told about one cause. */
export interface StatusRow {
  readonly status: number;
  readonly title: string;
  /** Error type of the `Proxy-Status` field, RFC 9209 §2.3. */
  readonly proxyStatus: string;
  /** Whether the connection ends with the answer: what follows on it may not be what it seems. */
  readonly closes: boolean;
}

const row = (status: number, title: string, proxyStatus: string): StatusRow =>
  Object.freeze({ status, title, proxyStatus, closes: false });

const closing = (status: number, title: string): StatusRow =>
  Object.freeze({ status, title, proxyStatus: 'http_request_error', closes: true });

const BAD_GATEWAY = 'The backend could not be reached';
const BAD_ANSWER = 'The backend gave no valid answer';
const TOO_LATE = 'The backend did not answer in time';

/** The status map: one row per cause. `client_abort` is logged as 499 and never sent. */
export const STATUS_MAP: Readonly<Record<Cause, StatusRow>> = Object.freeze({
  dns_error: row(502, BAD_GATEWAY, 'dns_error'),
  connection_refused: row(502, BAD_GATEWAY, 'connection_refused'),
  destination_ip_unroutable: row(502, BAD_GATEWAY, 'destination_ip_unroutable'),
  connection_terminated: row(502, BAD_ANSWER, 'connection_terminated'),
  tls_certificate_error: row(502, BAD_GATEWAY, 'tls_certificate_error'),
  tls_protocol_error: row(502, BAD_GATEWAY, 'tls_protocol_error'),
  http_protocol_error: row(502, BAD_ANSWER, 'http_protocol_error'),
  http_response_header_section_size: row(502, BAD_ANSWER, 'http_response_header_section_size'),
  http_response_incomplete: row(502, BAD_ANSWER, 'http_response_incomplete'),
  http_upgrade_failed: row(502, BAD_ANSWER, 'http_upgrade_failed'),
  connection_timeout: row(504, TOO_LATE, 'connection_timeout'),
  http_response_timeout: row(504, TOO_LATE, 'http_response_timeout'),
  connection_read_timeout: row(504, TOO_LATE, 'connection_read_timeout'),
  handler_timeout: row(504, TOO_LATE, 'http_response_timeout'),
  handler_error: row(500, 'Internal error', 'proxy_internal_error'),
  rate_limited: row(429, 'Too many requests', 'http_request_denied'),
  client_denied: row(403, 'Forbidden', 'http_request_denied'),
  limiter_unavailable: row(503, 'The rate limiter is unavailable', 'proxy_internal_error'),
  circuit_open: row(503, 'Service temporarily unavailable', 'destination_unavailable'),
  no_backend: row(503, 'Service temporarily unavailable', 'destination_unavailable'),
  overloaded: row(503, 'Service temporarily overloaded', 'connection_limit_reached'),
  gateway_resources: row(503, 'Service temporarily overloaded', 'proxy_internal_error'),
  client_overload: row(429, 'Too many requests at a time', 'http_request_denied'),
  client_timeout: closing(408, 'The request was not sent in time'),
  bad_request: closing(400, 'Bad request'),
  content_too_large: closing(413, 'Content too large'),
  target_too_long: closing(414, 'URI too long'),
  head_too_large: closing(431, 'Request header fields too large'),
  expectation_failed: closing(417, 'Expectation failed'),
  method_not_allowed: closing(405, 'Method not allowed'),
  // RFC 5842 §7.2.
  loop_detected: row(508, 'Loop detected', 'proxy_loop_detected'),
  not_implemented: closing(501, 'Not implemented'),
  version_not_supported: closing(505, 'HTTP version not supported'),
  content_already_read: row(500, 'Internal error', 'proxy_configuration_error'),
  upgrade_not_supported: row(501, 'Upgrade not supported', 'http_request_error'),
  client_abort: row(499, 'Client closed request', 'http_request_error'),
});

export function causeOf(outcome: Outcome): Cause | undefined {
  switch (outcome.kind) {
    case 'completed':
      return undefined;
    case 'aborted':
      return 'client_abort';
    default:
      return outcome.cause;
  }
}

/** Status that an outcome has for logs and metrics, and for the client where nothing was sent yet. */
export function statusOf(outcome: Outcome): number {
  if (outcome.kind === 'completed') return outcome.status;
  return STATUS_MAP[causeOf(outcome) as Cause].status;
}
