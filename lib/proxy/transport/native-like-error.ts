import type { Failed } from '../../core/outcome.ts';

/** An error with the code that `node:http` gives it; the cause is what undici said. */
export class NativeError extends Error {
  readonly code: string;

  constructor(message: string, code: string, cause?: Error) {
    super(message, cause && { cause });
    this.code = code;
  }
}

/** Errors of undici and of the transport, and what `node:http` says in their place. */
const BY_CODE: Readonly<Record<string, readonly [code: string, message: string]>> = {
  UND_ERR_SOCKET: ['ECONNRESET', 'socket hang up'],
  ERR_EXPRESSWAY_RESET: ['ECONNRESET', 'read ECONNRESET'],
  UND_ERR_CONNECT_TIMEOUT: ['ETIMEDOUT', 'connect ETIMEDOUT'],
  UND_ERR_HEADERS_OVERFLOW: ['HPE_HEADER_OVERFLOW', 'Parse Error: Header overflow'],
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: ['HPE_INVALID_CONTENT_LENGTH', 'Parse Error: Invalid Content-Length'],
  ERR_EXPRESSWAY_PROTOCOL: ['HPE_INVALID_CONSTANT', 'Parse Error: Invalid response'],
};

/** undici's parser gives a reason without a code. */
const BY_REASON: readonly (readonly [reason: RegExp, code: string])[] = [
  [/expected CR/i, 'HPE_CR_EXPECTED'],
  [/expected LF/i, 'HPE_LF_EXPECTED'],
  [/content-length/i, 'HPE_INVALID_CONTENT_LENGTH'],
  [/transfer-encoding/i, 'HPE_INVALID_TRANSFER_ENCODING'],
  [/chunk/i, 'HPE_INVALID_CHUNK_SIZE'],
  [/header/i, 'HPE_INVALID_HEADER_TOKEN'],
  [/status/i, 'HPE_INVALID_STATUS'],
  [/version/i, 'HPE_INVALID_VERSION'],
];

/** The error that users of http-proxy-middleware know: the default status depends on its code. */
export function nativeLikeError({ cause, error, headSent }: Failed): Error {
  const { code = '' } = error as NodeJS.ErrnoException;
  // undici names its parser's errors so; they have no code.
  if (error.name === 'HTTPParserError')
    return new NativeError(`Parse Error: ${error.message}`, parserCode(error), error);
  if (headSent) return new NativeError('aborted', 'ECONNRESET', error);
  // There, `proxyTimeout` destroys the request.
  if (cause === 'http_response_timeout') return new NativeError('socket hang up', 'ECONNRESET', error);
  if (code.startsWith('ERR_SSL_')) return new NativeError(`write EPROTO ${error.message}`, 'EPROTO', error);
  const native = BY_CODE[code];
  return native === undefined ? error : new NativeError(native[1], native[0], error);
}

function parserCode({ message }: Error): string {
  const reason = /\((.*)\)$/.exec(message)?.[1] ?? '';
  return BY_REASON.find(([pattern]) => pattern.test(reason))?.[1] ?? 'HPE_INVALID_CONSTANT';
}
