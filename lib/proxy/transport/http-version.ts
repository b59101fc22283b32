import type { Socket } from 'node:net';
import { MOST_INFORMATIONAL } from '../response/informational.ts';
import { ProtocolError } from './failure.ts';

/** The parts of undici's parser that are used here. They are not public; a contract test checks that they exist. */
interface Parser {
  /** Its state, in the memory of llhttp. */
  readonly ptr: number;
  readonly llhttp: {
    llhttp_get_http_major(ptr: number): number;
    /** With 1, the parser reads on behind a message with `Connection: close`. */
    llhttp_set_lenient_keep_alive(ptr: number, on: 0 | 1): void;
  };
  statusCode: number;
  /** Whether the connection stays open after the response that is being read. */
  shouldKeepAlive: boolean;
  headers: Buffer[];
  headersSize: number;
  /** Called once per head, informational ones included, before undici uses it. */
  onHeadersComplete(status: number, upgrade: boolean, keepsAlive: boolean): number;
  /** Called for each piece of a reason phrase, one for each packet. */
  onStatus(bytes: Buffer): number;
  /** The reason phrase. Empty when a head begins. */
  statusText: string;
}

/** Result of `onHeadersComplete()` when no body follows. */
const NO_BODY = 1;

/**
 * Corrects how undici reads some response heads. Only its parser knows where a head begins, so the correction is there: it reads one
 * number per head. If a new version of undici has another parser, nothing is corrected.
 *
 * - A head in another version than HTTP/1 fails (RFC 9112 §2.3): undici lets 0.9 and 2.0 pass and reads them as 1.0.
 * - `100 Continue` is dropped (RFC 9110 §15.2): undici would close the connection. No request asks for it, because Node itself
 *   responds to `Expect`.
 * - `Connection: close` in an informational head, or HTTP/1.0, does not end the connection: the final response follows.
 *
 * @param socket One that undici uses.
 */
export function correctHeads(socket: Socket): void {
  const parser = parserOf(socket);
  if (parser === undefined) return;
  parser.onStatus = readReason;
  const complete = parser.onHeadersComplete;
  let informationals = 0;
  const fail = (message: string) => {
    socket.destroy(new ProtocolError(message));
    return -1;
  };
  parser.onHeadersComplete = function (this: Parser, status, upgrade, keepsAlive) {
    const { llhttp, ptr } = this;
    if (llhttp.llhttp_get_http_major(ptr) !== 1) {
      return fail('the backend responded in a version of HTTP that does not fit this connection');
    }
    if (status >= 200) {
      if (informationals > 0) llhttp.llhttp_set_lenient_keep_alive(ptr, 0);
      informationals = 0;
      return complete.call(this, status, upgrade, keepsAlive);
    }
    informationals += 1;
    if (informationals > MOST_INFORMATIONAL) return fail('the backend sent too many informational responses');
    llhttp.llhttp_set_lenient_keep_alive(ptr, 1);
    if (status !== 100) return complete.call(this, status, upgrade, keepsAlive);
    this.statusCode = status;
    this.headers = [];
    this.headersSize = 0;
    return NO_BODY;
  };
}

/** undici itself would decode the reason phrase as UTF-8, which changes its bytes, and keep only its last piece. */
function readReason(this: Parser, bytes: Buffer): number {
  this.statusText += bytes.toString('latin1');
  return 0;
}

/**
 * Makes undici treat a reset of this connection as an error. Otherwise it takes the reset for the end of a body that ends with the connection.
 *
 * @returns `false` if undici has another parser, or none any more.
 */
export function failsAtReset(socket: Socket): boolean {
  const parser = parserOf(socket);
  if (typeof parser?.shouldKeepAlive !== 'boolean') return false;
  parser.shouldKeepAlive = true;
  return true;
}

function parserOf(socket: Socket): Parser | undefined {
  const symbol = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'parser');
  const parser: Partial<Parser> | null | undefined = symbol && Reflect.get(socket, symbol);
  const isWhole =
    typeof parser?.llhttp?.llhttp_get_http_major === 'function' &&
    typeof parser.llhttp.llhttp_set_lenient_keep_alive === 'function' &&
    typeof parser.onHeadersComplete === 'function';
  return isWhole ? (parser as Parser) : undefined;
}
