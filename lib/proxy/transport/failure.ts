import { shortageOf } from '../../backends/health/gateway-resources.ts';
import type { FailureCause } from '../../core/outcome.ts';

interface CodedError extends Error {
  readonly code?: string;
}

/** A backend's answer is none, in a way that the transport lets pass. */
export class ProtocolError extends Error {
  readonly code = 'ERR_EXPRESSWAY_PROTOCOL';
}

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
  EPROTO: 'tls_protocol_error',
};

/** Which row of the status map an error of undici or Node belongs to. */
export function failureCause(error: CodedError, headReceived: boolean): FailureCause {
  const code = codeOf(error);
  // A backend that dies in the middle of its content is one cause, however the death looked.
  if (headReceived)
    return BY_CODE[code] === 'connection_read_timeout' ? 'connection_read_timeout' : 'http_response_incomplete';
  const known = BY_CODE[code];
  if (known !== undefined) return known;
  // undici's own parser errors carry their llhttp code in some versions only.
  if (code.startsWith('HPE_') || error.name === 'HTTPParserError') return 'http_protocol_error';
  if (/^(?:CERT_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|ERR_TLS_CERT)/.test(code)) return 'tls_certificate_error';
  if (/^(?:ERR_SSL_|ERR_TLS_)/.test(code)) return 'tls_protocol_error';
  // What undici says of 100 and 101 that were not asked for.
  if (code === 'UND_ERR_SOCKET' && /^bad (?:response|upgrade)$/.test(error.message)) return 'http_protocol_error';
  return 'connection_terminated';
}

/** Where several addresses were tried, what one of them said of the backend. */
function codeOf(error: CodedError & { readonly errors?: readonly CodedError[] }): string {
  const told = error.errors?.find((one) => shortageOf(one) === undefined) ?? error;
  return told.code ?? '';
}

/** undici refuses some requests before it opens a connection: the app's fault, since Node's parser has let the client's head pass. */
export function isRefusedRequest(error: CodedError): boolean {
  return error.code === 'UND_ERR_INVALID_ARG' || error.code === 'UND_ERR_NOT_SUPPORTED';
}
