import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { TCHAR } from '../core/http.ts';
import type { RejectionCause } from '../core/outcome.ts';
import { MalformedRequest } from './http2/stream-request.ts';

interface ParserError extends Error {
  readonly code?: string;
  /** The part of the request that was being read. */
  readonly rawPacket?: Buffer;
}

/** The response to bytes that the parser rejects. */
export interface ParserRefusal {
  readonly cause: RejectionCause;
  readonly detail?: string;
}

const BAD_REQUEST: ParserRefusal = { cause: 'bad_request' };
const BAD_VERSION: ParserRefusal = { cause: 'version_not_supported' };
const BY_CODE: Readonly<Record<string, ParserRefusal>> = {
  ERR_HTTP_REQUEST_TIMEOUT: { cause: 'client_timeout' },
  HPE_CHUNK_EXTENSIONS_OVERFLOW: { cause: 'content_too_large', detail: 'The extensions of a chunk are too long.' },
  HPE_PAUSED_H2_UPGRADE: {
    cause: 'version_not_supported',
    detail: 'This is HTTP/2 without TLS (prior knowledge, h2c). This port speaks HTTP/1.1.',
  },
};

const REQUEST_LINE = new RegExp(`^${TCHAR}+ \\S+ HTTP/1\\.[01]\\r\\n`);
const OTHER_VERSION = /^[A-Z]+ \S+ HTTP\/\d+(?:\.\d+)?\r\n/;
/** A method, and a target that fills the rest of the packet. */
const ENDLESS_TARGET = /^[A-Z]+ [^\s]+(?: HTTP\/1\.[01])?(?:\r\n)?$/;

/**
 * The response for a server's `clientError`; `undefined` when the connection failed, so that no response is possible.
 */
export function parserRefusal(error: ParserError, socket: Duplex): ParserRefusal | undefined {
  if (error instanceof MalformedRequest) return { cause: error.refusal, detail: error.message };
  const { code = '', rawPacket } = error;
  if (!socket.writable || !(code in BY_CODE || code.startsWith('HPE_'))) return undefined;
  const known = BY_CODE[code];
  if (known !== undefined) return known;
  if (code === 'HPE_HEADER_OVERFLOW') {
    return { cause: starts(rawPacket, ENDLESS_TARGET) ? 'target_too_long' : 'head_too_large' };
  }
  // An unknown method (RFC 9110 §9.1). Other bytes are not HTTP.
  if (code === 'HPE_INVALID_METHOD' && starts(rawPacket, REQUEST_LINE)) return { cause: 'not_implemented' };
  if (code === 'HPE_INVALID_VERSION' && starts(rawPacket, OTHER_VERSION)) return BAD_VERSION;
  return BAD_REQUEST;
}

/** OpenSSL's error for a client without a certificate where one is required. */
const NO_CERTIFICATE = 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE';

/** Why a `tlsClientError` concerns the client's certificate; `undefined` for other failed handshakes. */
export function certificateRefusal({ code }: NodeJS.ErrnoException, socket: TLSSocket): string | undefined {
  if (code === NO_CERTIFICATE) return 'The client has no certificate.';
  const { authorizationError: reason } = socket;
  return reason ? `The client's certificate is not accepted: ${reason}.` : undefined;
}

/** OpenSSL's errors for the beginning of an HTTP request where a TLS handshake should be. */
const PLAIN_HTTP = new Set(['ERR_SSL_HTTP_REQUEST', 'ERR_SSL_HTTPS_PROXY_REQUEST']);

/** Whether a `tlsClientError` is that of a client that speaks HTTP without TLS. */
export const isPlainHttp = ({ code = '' }: NodeJS.ErrnoException): boolean => PLAIN_HTTP.has(code);

const starts = (packet: Buffer | undefined, what: RegExp): boolean =>
  packet !== undefined && what.test(packet.toString('latin1'));
