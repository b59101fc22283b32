import { TCHAR } from '../core/http.ts';

/** A request that was read from its bytes, without Node's parser. */
export interface PlainRequest {
  readonly method: string;
  readonly target: string;
  /** The lines of its headers, with their line ends. */
  readonly fields: string;
}

/** White space around a value (RFC 9110 §5.5). */
const AROUND = /^[ \t]+|[ \t]+$/g;
/** Longest head in bytes. The parser reads longer ones. */
const MOST_BYTES = 8_192;
const BLANK_LINE = Buffer.from('\r\n\r\n');

const VALUE = '[\\t\\x20-\\x7e\\x80-\\xff]*';
/** Headers that determine the end of a request or the state of its connection. The parser reads such requests. */
const FRAMING = [
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'proxy-connection',
  'upgrade',
  'expect',
].map(anyCase);
const KEEP_ALIVE = `${anyCase('connection')}:[ \\t]*${anyCase('keep-alive')}[ \\t]*`;
const FIELDS = `(?:(?!(?:${FRAMING.join('|')}):)${TCHAR}+:${VALUE}\\r\\n|${KEEP_ALIVE}\\r\\n)*`;
const HOST = `${anyCase('host')}:${VALUE}\\r\\n`;
const LENGTH = `${anyCase('content-length')}:[ \\t]*(\\d{1,5})[ \\t]*\\r\\n`;
const LINE = '^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[\\x21-\\x7e]*) HTTP/1\\.1\\r\\n';
/** Methods without a body. */
const ALONE = new RegExp(`${LINE}(${FIELDS}${HOST}${FIELDS})\\r\\n$`);
const WITH_CONTENT = new RegExp(
  `${LINE}(${FIELDS}(?:${HOST}${FIELDS}${LENGTH}|${LENGTH}${FIELDS}${HOST})${FIELDS})\\r\\n$`,
);

/**
 * Reads the bytes of a request if they are certainly one complete request: a well-formed head, either no body or one of a declared length,
 * and no further bytes. Returns `undefined` for all others, which need a parser.
 */
export function plainRequest(bytes: Buffer): PlainRequest | undefined {
  // The pattern also finds the end of the head, which is cheaper than to look for it before.
  const alone = bytes.length > MOST_BYTES ? null : ALONE.exec(bytes.toString('latin1'));
  if (alone !== null) return { method: alone[1] as string, target: alone[2] as string, fields: alone[3] as string };
  const end = bytes.indexOf(BLANK_LINE) + BLANK_LINE.length;
  if (end < BLANK_LINE.length || end > MOST_BYTES) return undefined;
  const found = WITH_CONTENT.exec(bytes.toString('latin1', 0, end));
  if (found === null) return undefined;
  const [, method = '', target = '', fields = '', length = found[5]] = found;
  return Number(length) === bytes.length - end ? { method, target, fields } : undefined;
}

/** The headers by name in lower case, as in Node; `undefined` if a name is repeated, because Node joins some of those and drops others. */
export function simpleHeaders({ fields }: PlainRequest): Readonly<Record<string, string>> | undefined {
  const headers: Record<string, string> = Object.create(null);
  let at = 0;
  for (let end = fields.indexOf('\r\n'); end !== -1; end = fields.indexOf('\r\n', at)) {
    const colon = fields.indexOf(':', at);
    const name = fields.slice(at, colon).toLowerCase();
    if (name in headers) return undefined;
    headers[name] = fields.slice(colon + 1, end).replace(AROUND, '');
    at = end + 2;
  }
  return headers;
}

/** A pattern for a name in any case. The flag `i` for the whole expression would take twice as long. */
function anyCase(name: string): string {
  return name.replace(/[a-z]/g, (letter) => `[${letter}${letter.toUpperCase()}]`);
}
