import type { Duplex } from 'node:stream';
import type { RejectionCause } from '../core/outcome.ts';

interface ParserError extends Error {
  readonly code?: string;
  /** What was being read. */
  readonly rawPacket?: Buffer;
}

const BY_CODE: Readonly<Record<string, RejectionCause>> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'client_timeout',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'content_too_large',
};

const REQUEST_LINE = /^[\w!#$%&'*+.^`|~-]+ \S+ HTTP\/1\.[01]\r\n/;
const OTHER_VERSION = /^[A-Z]+ \S+ HTTP\/\d\.\d\r\n/;
/** A method, and a target that has no end. */
const ENDLESS_TARGET = /^[A-Z]+ [^\s]+(?: HTTP\/1\.[01])?(?:\r\n)?$/;

/**
 * Why a server's `clientError` came, as the client is told; nothing when it is the connection that failed, and there is
 * nobody to tell.
 */
export function parserErrorCause(error: ParserError, socket: Duplex): RejectionCause | undefined {
  const { code = '', rawPacket } = error;
  if (!socket.writable || !(code in BY_CODE || code.startsWith('HPE_'))) return undefined;
  const known = BY_CODE[code];
  if (known !== undefined) return known;
  if (code === 'HPE_HEADER_OVERFLOW') return starts(rawPacket, ENDLESS_TARGET) ? 'target_too_long' : 'head_too_large';
  // A method that this server's parser does not know (RFC 9110 §9.1); anything else that looks like none is no HTTP.
  if (code === 'HPE_INVALID_METHOD' && starts(rawPacket, REQUEST_LINE)) return 'not_implemented';
  if (code === 'HPE_INVALID_VERSION' && starts(rawPacket, OTHER_VERSION)) return 'version_not_supported';
  return 'bad_request';
}

const starts = (packet: Buffer | undefined, what: RegExp): boolean =>
  packet !== undefined && what.test(packet.toString('latin1'));
