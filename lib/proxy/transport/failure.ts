import { describeShortage, shortageOf } from '../../backends/health/gateway-resources.ts';
import type { GatewayEvents } from '../../core/gateway-events.ts';
import type { FailureCause, Rejected } from '../../core/outcome.ts';
import { warnOnceOf } from '../../core/warnings.ts';

interface CodedError extends Error {
  readonly code?: string;
}

/** A backend's response is invalid, although undici accepts it. */
export class ProtocolError extends Error {
  readonly code = 'ERR_EXPRESSWAY_PROTOCOL';
}

/** The backend has not processed a request over HTTP/2, and will not: another backend may get it, whatever its method (RFC 9113 §8.7). */
export class UnprocessedError extends Error {
  readonly code = 'ERR_EXPRESSWAY_UNPROCESSED';
  /** Whether the backend was closing the connection, for which it is not to blame. */
  readonly isLeaving: boolean;

  constructor(isLeaving: boolean) {
    super(isLeaving ? 'the backend is closing the connection' : 'the backend refused the stream');
    this.isLeaving = isLeaving;
  }
}

/** A request has a longer head than HTTP/2 can carry. No backend has seen it. */
export class HeadTooLargeError extends Error {
  constructor(mostBytes: number) {
    super(`Longest head to this service: ${mostBytes} bytes.`);
  }
}

/** The gateway cut a request to a backend that is no longer in the list. */
export class RemovedError extends Error {}

const BY_CODE: Readonly<Record<string, FailureCause>> = {
  ENOTFOUND: 'dns_error',
  EAI_AGAIN: 'dns_error',
  EAI_FAIL: 'dns_error',
  ECONNREFUSED: 'connection_refused',
  EHOSTUNREACH: 'destination_ip_unroutable',
  ENETUNREACH: 'destination_ip_unroutable',
  ETIMEDOUT: 'connection_timeout',
  UND_ERR_CONNECT_TIMEOUT: 'connection_timeout',
  UND_ERR_HEADERS_TIMEOUT: 'http_response_timeout',
  UND_ERR_BODY_TIMEOUT: 'connection_read_timeout',
  UND_ERR_HEADERS_OVERFLOW: 'http_response_header_section_size',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'http_protocol_error',
  ERR_INVALID_CHAR: 'http_protocol_error',
  ERR_HTTP_INVALID_HEADER_VALUE: 'http_protocol_error',
  ERR_INVALID_HTTP_TOKEN: 'http_protocol_error',
  ERR_EXPRESSWAY_PROTOCOL: 'http_protocol_error',
  ERR_HTTP2_ERROR: 'http_protocol_error',
  EPROTO: 'tls_protocol_error',
};

/** The cause for an error of undici or Node. */
export function failureCause(error: CodedError, headReceived: boolean): FailureCause {
  if (error instanceof RemovedError) return 'drain_timeout';
  const code = codeOf(error);
  // A backend that dies in the middle of a body is one cause, whatever the error is.
  if (headReceived)
    return BY_CODE[code] === 'connection_read_timeout' ? 'connection_read_timeout' : 'http_response_incomplete';
  const known = BY_CODE[code];
  if (known !== undefined) return known;
  // undici's own parser errors carry their llhttp code in some versions only.
  if (code.startsWith('HPE_') || error.name === 'HTTPParserError') return 'http_protocol_error';
  if (/^(?:CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS_CERT)/.test(code)) return 'tls_certificate_error';
  if (/^(?:ERR_SSL_|ERR_TLS_)/.test(code)) return 'tls_protocol_error';
  // The errors of undici for 100 and 101 responses without a request for them.
  if (code === 'UND_ERR_SOCKET' && /^bad (?:response|upgrade)$/.test(error.message)) return 'http_protocol_error';
  return 'connection_terminated';
}

/** The code of an error. If several addresses were tried, that of the first error about the backend. */
function codeOf(error: CodedError & { readonly errors?: readonly CodedError[] }): string {
  const found = error.errors?.find((one) => shortageOf(one) === undefined) ?? error;
  return found.code ?? '';
}

/** Whether undici rejected a request before it opened a connection. The app is the cause, because Node's parser has checked the client's head. */
export function isRefusedRequest(error: CodedError): boolean {
  return error.code === 'UND_ERR_INVALID_ARG';
}

/** `Retry-After` in milliseconds: other connections end in the meantime. */
const RETRY_AFTER_MS = 1_000;
/** Milliseconds between two events for the same shortage. */
const REPORT_EVERY_MS = 10_000;

/** The outcome of an attempt that failed because of the request, or because the gateway lacks a resource; `undefined` for other errors. */
export function rejection(error: Error): Rejected | undefined {
  if (error instanceof HeadTooLargeError) return { kind: 'rejected', cause: 'head_too_large', detail: error.message };
  if (shortageOf(error) === undefined) return undefined;
  return { kind: 'rejected', cause: 'gateway_resources', retryAfterMs: RETRY_AFTER_MS, error };
}

/** Reports resources that the gateway lacks, at a limited rate. */
export class ResourceShortages {
  readonly #events: GatewayEvents;
  readonly #service: string;
  /** `Date.now()` of the last report, by code. */
  readonly #reportedAt = new Map<string, number>();

  /** @param service Name of the service. */
  constructor(events: GatewayEvents, service: string) {
    this.#events = events;
    this.#service = service;
  }

  noticed(error: Error): void {
    const code = shortageOf(error);
    if (code === undefined) return;
    const description = describeShortage(code);
    const message = `The gateway could not connect to a backend, and responded with 503 (gateway_resources). ${description}`;
    warnOnceOf(this, 'WARN_EXPRESSWAY_RESOURCES', message, code);
    const now = Date.now();
    if (Math.abs(now - (this.#reportedAt.get(code) ?? 0)) < REPORT_EVERY_MS) return;
    this.#reportedAt.set(code, now);
    this.#events.emit('resourceShortage', { service: this.#service, code, description, error });
  }
}
