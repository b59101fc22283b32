import type { Socket } from 'node:net';
import { MOST_INFORMATIONAL } from '../response/informational.ts';
import { ProtocolError } from './failure.ts';

/** What is used of undici's parser for one connection. None of it is public: a contract test says that it is there. */
interface Parser {
  /** Its state, in the memory of llhttp. */
  readonly ptr: number;
  readonly llhttp: {
    llhttp_get_http_major(ptr: number): number;
    /** 1 to read on behind a message with `Connection: close`. */
    llhttp_set_lenient_keep_alive(ptr: number, on: 0 | 1): void;
  };
  statusCode: number;
  headers: Buffer[];
  headersSize: number;
  /** Called once per head, informational ones too, before anything is made of it. */
  onHeadersComplete(status: number, upgrade: boolean, keepsAlive: boolean): number;
  /** Called for each piece of a reason phrase; as many as packets that it came in. */
  onStatus(bytes: Buffer): number;
  /** The reason phrase. Empty when a head begins. */
  statusText: string;
}

/** What `onHeadersComplete()` returns when no content follows. */
const NO_CONTENT = 1;

/**
 * Corrects what undici's parser makes of some response heads. Only the parser knows where a head begins, so it is asked
 * there, once per head: one number is read, no byte is looked at again. Of a parser that cannot be asked, what it says is
 * taken.
 *
 * - A head in another version than HTTP/1 fails (RFC 9112 §2.3): undici lets 0.9 and 2.0 pass and reads them as 1.0.
 * - `100 Continue` is dropped (RFC 9110 §15.2): undici closes the connection. No request asks for it, because Node has
 *   answered `Expect` already.
 * - `Connection: close` in an informational head, or HTTP/1.0, does not end the connection: the final response follows.
 *
 * @param socket One that undici has been given.
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
      return fail('the backend answered in a version of HTTP that does not go over this connection');
    }
    if (status >= 200) {
      if (informationals > 0) llhttp.llhttp_set_lenient_keep_alive(ptr, 0);
      informationals = 0;
      return complete.call(this, status, upgrade, keepsAlive);
    }
    informationals += 1;
    if (informationals > MOST_INFORMATIONAL) return fail('the backend sent too many informational answers');
    llhttp.llhttp_set_lenient_keep_alive(ptr, 1);
    if (status !== 100) return complete.call(this, status, upgrade, keepsAlive);
    this.statusCode = status;
    this.headers = [];
    this.headersSize = 0;
    return NO_CONTENT;
  };
}

/** undici would decode the reason phrase as UTF-8, which changes its bytes, and keep only the last piece of it. */
function readReason(this: Parser, bytes: Buffer): number {
  this.statusText += bytes.toString('latin1');
  return 0;
}

function parserOf(socket: Socket): Parser | undefined {
  const symbol = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'parser');
  if (symbol === undefined) return undefined;
  const parser = (socket as unknown as Record<symbol, Partial<Parser> | null>)[symbol];
  const isWhole =
    typeof parser?.llhttp?.llhttp_get_http_major === 'function' &&
    typeof parser.llhttp.llhttp_set_lenient_keep_alive === 'function' &&
    typeof parser.onHeadersComplete === 'function';
  return isWhole ? (parser as Parser) : undefined;
}
