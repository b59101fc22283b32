import { randomBytes } from 'node:crypto';
import { isAuthority } from '../../core/authority.ts';
import { TCHAR } from '../../core/http.ts';
import type { RejectionCause } from '../../core/outcome.ts';

/** How the content of a request is framed in HTTP/1.1; `tunnel` for CONNECT, whose bytes are another protocol. */
export type Framing = 'none' | 'length' | 'chunked' | 'tunnel';

/** A request of an HTTP/2 stream, as the head of an HTTP/1.1 request. */
export interface StreamRequest {
  readonly head: Buffer;
  readonly method: string;
  readonly framing: Framing;
  /** Bytes of content that the client announced, with the framing `length`. */
  readonly length: number;
  /** Whether the client accepts trailers: a field `te: trailers`. */
  readonly acceptsTrailers: boolean;
  /** `Sec-WebSocket-Key` of the handshake that stands for an extended CONNECT (RFC 8441). */
  readonly webSocketKey: string | undefined;
}

/** A malformed request (RFC 9113 §8.1.1). None of its bytes reach the HTTP/1.1 parser. */
export class MalformedRequest extends Error {
  readonly code = 'ERR_EXPRESSWAY_HTTP2_REQUEST';
  readonly refusal: RejectionCause;

  constructor(detail: string, refusal: RejectionCause = 'bad_request') {
    super(detail);
    this.name = 'MalformedRequest';
    this.refusal = refusal;
  }
}

/** RFC 9113 §8.2.1: a token without upper case. */
const FIELD_NAME = /^[a-z\d!#$%&'*+.^_`|~-]+$/;
/** RFC 9110 §5.5. Space and tab are allowed inside a value. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it finds control characters.
const BAD_IN_VALUE = /[\0-\x08\x0a-\x1f\x7f]|[^\0-\xff]/;
const BAD_AT_EDGE = /^[ \t]|[ \t]$/;
/** Characters that cannot end a request target or a request line. */
const TARGET = /^[\x21-\x7e\x80-\xff]+$/;
const METHOD = new RegExp(`^${TCHAR}+$`);
const LENGTH = /^\d{1,15}$/;

/** Connection-specific fields, which HTTP/2 forbids (RFC 9113 §8.2.2). */
const CONNECTION_SPECIFIC = new Set([
  'connection',
  'proxy-connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]);

const WEBSOCKET_KEY_BYTES = 16;

/** The pseudo-header fields of a request (RFC 9113 §8.3.1, RFC 8441 §4). */
interface Pseudo {
  ':method'?: string;
  ':scheme'?: string;
  ':authority'?: string;
  ':path'?: string;
  ':protocol'?: string;
}
const PSEUDO = new Set([':method', ':scheme', ':authority', ':path', ':protocol']);

const refuse = (detail: string, refusal?: RejectionCause): never => {
  throw new MalformedRequest(detail, refusal);
};

/**
 * Writes the HTTP/1.1 head of a request that came on an HTTP/2 stream. It checks everything first, although nghttp2 checks most of it.
 * Otherwise a line end in a name or value would start another field in HTTP/1.1, and a second length another request (request smuggling).
 *
 * @param raw Names and values in turn, as they came.
 * @param isWhole Whether no content follows: END_STREAM.
 * @throws {MalformedRequest}
 */
export function readStreamRequest(raw: readonly string[], isWhole: boolean): StreamRequest {
  const pseudo: Pseudo = {};
  let lines = '';
  let cookies: string | undefined;
  let host: string | undefined;
  let length: string | undefined;
  let acceptsTrailers = false;
  let arePseudoOver = false;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    if (BAD_IN_VALUE.test(value) || BAD_AT_EDGE.test(value)) refuse('A header has an invalid value.');
    if (name.startsWith(':')) {
      if (arePseudoOver) refuse('A pseudo-header field comes after other fields.');
      if (!PSEUDO.has(name)) refuse('A pseudo-header field is unknown.');
      if (pseudo[name as keyof Pseudo] !== undefined) refuse('A pseudo-header field is repeated.');
      pseudo[name as keyof Pseudo] = value;
      continue;
    }
    arePseudoOver = true;
    if (!FIELD_NAME.test(name)) refuse('A header has an invalid name.');
    if (CONNECTION_SPECIFIC.has(name)) refuse('HTTP/2 does not allow connection headers.');
    switch (name) {
      case 'te':
        if (value.toLowerCase() !== 'trailers') refuse('The header te may only be trailers.');
        acceptsTrailers = true;
        break;
      case 'host':
        if (host !== undefined) refuse('The header host is repeated.');
        host = value;
        continue;
      case 'content-length':
        if (length !== undefined || !LENGTH.test(value)) refuse('The header content-length is invalid.');
        length = value;
        break;
      case 'cookie':
        // RFC 9113 §8.2.3: HTTP/1.1 has only one cookie field.
        cookies = cookies === undefined ? value : `${cookies}; ${value}`;
        continue;
    }
    lines += `${name}: ${value}\r\n`;
  }
  if (cookies !== undefined) lines += `cookie: ${cookies}\r\n`;
  const authority = authorityOf(pseudo, host);
  if (authority !== undefined) lines = `host: ${authority}\r\n${lines}`;
  return pseudo[':method'] === 'CONNECT'
    ? connectRequest(pseudo, authority, lines, length)
    : plainRequest(pseudo, lines, length, isWhole, acceptsTrailers);
}

/** RFC 9113 §8.3.1: `Host` must not name another authority than `:authority` does. */
function authorityOf({ ':authority': authority }: Pseudo, host: string | undefined): string | undefined {
  if (authority === undefined) return host;
  if (!isAuthority(authority)) refuse('The pseudo-header field :authority is invalid.');
  if (host !== undefined && host.toLowerCase() !== authority.toLowerCase()) {
    refuse('The header host differs from :authority.');
  }
  return authority;
}

function plainRequest(
  pseudo: Pseudo,
  lines: string,
  length: string | undefined,
  isWhole: boolean,
  acceptsTrailers: boolean,
): StreamRequest {
  const method = methodOf(pseudo);
  const target = targetOf(pseudo, method);
  if (pseudo[':protocol'] !== undefined) refuse('The pseudo-header field :protocol needs the method CONNECT.');
  if (isWhole && length !== undefined && Number(length) > 0) refuse('The content is shorter than content-length.');
  const framing = isWhole ? 'none' : length === undefined ? 'chunked' : 'length';
  const coding = framing === 'chunked' ? 'transfer-encoding: chunked\r\n' : '';
  return {
    head: Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines}${coding}\r\n`, 'latin1'),
    method,
    framing,
    length: framing === 'length' ? Number(length) : 0,
    acceptsTrailers,
    webSocketKey: undefined,
  };
}

function connectRequest(
  pseudo: Pseudo,
  authority: string | undefined,
  lines: string,
  length: string | undefined,
): StreamRequest {
  const { ':protocol': protocol } = pseudo;
  if (authority === undefined) refuse('CONNECT has no :authority.');
  // RFC 9110 §9.3.6: bytes of a tunnel are no content.
  if (length !== undefined) refuse('CONNECT has no content.');
  let head: string;
  let webSocketKey: string | undefined;
  if (protocol === undefined) {
    if (pseudo[':scheme'] !== undefined || pseudo[':path'] !== undefined) {
      refuse('CONNECT has neither :scheme nor :path.');
    }
    head = `CONNECT ${authority} HTTP/1.1\r\n${lines}\r\n`;
  } else {
    const target = targetOf(pseudo, 'GET');
    // RFC 8441 defines only WebSocket. RFC 9220 §3 has the status for other protocols.
    if (protocol !== 'websocket')
      refuse('WebSocket is the only protocol that a stream can switch to.', 'not_implemented');
    webSocketKey = randomBytes(WEBSOCKET_KEY_BYTES).toString('base64');
    head =
      `GET ${target} HTTP/1.1\r\n${lines.replace(/^sec-websocket-key: .*\r\n/gm, '')}` +
      `connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ${webSocketKey}\r\n\r\n`;
  }
  const method = protocol === undefined ? 'CONNECT' : 'GET';
  return {
    head: Buffer.from(head, 'latin1'),
    method,
    framing: 'tunnel',
    length: 0,
    acceptsTrailers: false,
    webSocketKey,
  };
}

function methodOf({ ':method': method }: Pseudo): string {
  if (method === undefined || !METHOD.test(method)) refuse('The pseudo-header field :method is invalid.');
  return method as string;
}

/** RFC 9113 §8.3.1: a path, or the asterisk of OPTIONS. HTTP/2 has no other forms. */
function targetOf({ ':scheme': scheme, ':path': path }: Pseudo, method: string): string {
  // A proxy in front may send `http`, the scheme of its own client.
  if (scheme !== 'https' && scheme !== 'http') refuse('The pseudo-header field :scheme is invalid.');
  const isTarget =
    path !== undefined && TARGET.test(path) && (path.startsWith('/') || (path === '*' && method === 'OPTIONS'));
  if (!isTarget) refuse('The pseudo-header field :path is invalid.');
  return path as string;
}

/**
 * Writes the trailers of a request as HTTP/1.1 has them, after the last chunk.
 *
 * @throws {MalformedRequest}
 */
export function trailerLines(raw: readonly string[]): string {
  let lines = '';
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    const isBad =
      !FIELD_NAME.test(name) || CONNECTION_SPECIFIC.has(name) || BAD_IN_VALUE.test(value) || BAD_AT_EDGE.test(value);
    if (isBad) refuse('A trailer is invalid.');
    lines += `${name}: ${value}\r\n`;
  }
  return lines;
}
