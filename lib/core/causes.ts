/** The party to blame when a client got no complete response of a backend. */
export type Blame = 'client' | 'gateway' | 'backend';

/** All that belongs to one cause. */
export interface CauseEntry {
  /** Status of the response. `client_abort` is logged as 499 and never sent. */
  readonly status: number;
  /** Title for people: `title` of the problem document (RFC 9457), and the reason phrase where the gateway writes it. */
  readonly title: string;
  /** Error type of the `Proxy-Status` field (RFC 9209 §2.3). */
  readonly proxyStatus: string;
  /**
   * The party to blame. When the gateway sends 503 because no backend is available, the backends are to blame. When a request exceeds a limit
   * per client, the client is to blame; for other limits, the gateway.
   */
  readonly blame: Blame;
  /** Whether the connection closes after the response, because its next bytes may not be the next request. */
  readonly closes: boolean;
}

const entry = (status: number, title: string, blame: Blame, proxyStatus: string): CauseEntry =>
  Object.freeze({ status, title, proxyStatus, blame, closes: false });

/** A request that servers may read differently, so the connection must not be used again. */
const malformed = (status: number, title: string): CauseEntry =>
  Object.freeze({ status, title, proxyStatus: 'http_request_error', blame: 'client', closes: true });

const UNREACHABLE = 'The backend could not be reached';
const INVALID = 'The backend sent no valid response';
const TOO_LATE = 'The backend did not respond in time';

/** The backend, or the handler behind a circuit breaker, failed. Names of RFC 9209 §2.3, where it has one. */
const FAILURE_CAUSES = {
  dns_error: entry(502, UNREACHABLE, 'backend', 'dns_error'),
  connection_refused: entry(502, UNREACHABLE, 'backend', 'connection_refused'),
  destination_ip_unroutable: entry(502, UNREACHABLE, 'backend', 'destination_ip_unroutable'),
  connection_terminated: entry(502, INVALID, 'backend', 'connection_terminated'),
  tls_certificate_error: entry(502, UNREACHABLE, 'backend', 'tls_certificate_error'),
  tls_protocol_error: entry(502, UNREACHABLE, 'backend', 'tls_protocol_error'),
  http_protocol_error: entry(502, INVALID, 'backend', 'http_protocol_error'),
  http_response_header_section_size: entry(502, INVALID, 'backend', 'http_response_header_section_size'),
  http_response_incomplete: entry(502, INVALID, 'backend', 'http_response_incomplete'),
  http_upgrade_failed: entry(502, INVALID, 'backend', 'http_upgrade_failed'),
  connection_timeout: entry(504, TOO_LATE, 'backend', 'connection_timeout'),
  http_response_timeout: entry(504, TOO_LATE, 'backend', 'http_response_timeout'),
  connection_read_timeout: entry(504, TOO_LATE, 'backend', 'connection_read_timeout'),
  handler_timeout: entry(504, TOO_LATE, 'backend', 'http_response_timeout'),
  drain_timeout: entry(503, 'The backend was removed', 'gateway', 'connection_terminated'),
  handler_error: entry(500, 'Internal error', 'gateway', 'proxy_internal_error'),
} as const satisfies Record<string, CauseEntry>;

/** The gateway itself refused the request. */
const REJECTION_CAUSES = {
  rate_limited: entry(429, 'Too many requests', 'client', 'http_request_denied'),
  client_denied: entry(403, 'Forbidden', 'client', 'http_request_denied'),
  unauthenticated: entry(401, 'Unauthorized', 'client', 'http_request_denied'),
  // RFC 9110 §15.5.20.
  misdirected_request: entry(421, 'Misdirected request', 'client', 'http_request_error'),
  no_route: entry(404, 'Not found', 'client', 'destination_not_found'),
  authentication_unavailable: entry(503, 'Authentication is unavailable', 'gateway', 'proxy_internal_error'),
  limiter_unavailable: entry(503, 'The rate limiter is unavailable', 'gateway', 'proxy_internal_error'),
  circuit_open: entry(503, 'Service temporarily unavailable', 'backend', 'destination_unavailable'),
  no_backend: entry(503, 'Service temporarily unavailable', 'backend', 'destination_unavailable'),
  overloaded: entry(503, 'Service temporarily overloaded', 'gateway', 'connection_limit_reached'),
  connection_limit: entry(503, 'Too many connections', 'gateway', 'connection_limit_reached'),
  client_connection_limit: entry(429, 'Too many connections', 'client', 'connection_limit_reached'),
  concurrency_limit: entry(503, 'Service temporarily overloaded', 'backend', 'connection_limit_reached'),
  load_shed: entry(503, 'Service temporarily overloaded', 'gateway', 'connection_limit_reached'),
  gateway_resources: entry(503, 'Service temporarily overloaded', 'gateway', 'proxy_internal_error'),
  gateway_shutdown: entry(503, 'The gateway was shut down', 'gateway', 'proxy_internal_error'),
  client_overload: entry(429, 'Too many requests at a time', 'client', 'http_request_denied'),
  client_timeout: malformed(408, 'The request was not sent in time'),
  bad_request: malformed(400, 'Bad request'),
  content_too_large: malformed(413, 'Content too large'),
  target_too_long: malformed(414, 'URI too long'),
  head_too_large: malformed(431, 'Request header fields too large'),
  expectation_failed: malformed(417, 'Expectation failed'),
  method_not_allowed: malformed(405, 'Method not allowed'),
  // RFC 5842 §7.2.
  loop_detected: entry(508, 'Loop detected', 'gateway', 'proxy_loop_detected'),
  not_implemented: malformed(501, 'Not implemented'),
  version_not_supported: malformed(505, 'HTTP version not supported'),
  content_already_read: entry(500, 'Internal error', 'gateway', 'proxy_configuration_error'),
  upgrade_not_supported: entry(501, 'Upgrade not supported', 'client', 'http_request_error'),
} as const satisfies Record<string, CauseEntry>;

/**
 * Why an attempt got no complete response from its backend. Where RFC 9209 §2.3 has an error type for it, the cause has
 * the same name.
 */
export type FailureCause = keyof typeof FAILURE_CAUSES;

/** Why the gateway itself refused a request. */
export type RejectionCause = keyof typeof REJECTION_CAUSES;

/** Why a client got no complete response of a backend. Logs, metrics and problem documents use these names. */
export type Cause = FailureCause | RejectionCause | 'client_abort';

/** The registry of causes: one entry for each, which owns all that belongs to it. */
export const CAUSES: Readonly<Record<Cause, CauseEntry>> = Object.freeze({
  ...FAILURE_CAUSES,
  ...REJECTION_CAUSES,
  client_abort: entry(499, 'Client closed request', 'client', 'http_request_error'),
});
