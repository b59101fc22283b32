import type { Socket } from 'node:net';
import { ProtocolError } from './failure.ts';

/** What is used of undici's parser for one connection. None of it is public: a contract test says that it is there. */
interface Parser {
  /** Its state, in the memory of llhttp. */
  readonly ptr: number;
  readonly llhttp: { llhttp_get_http_major(ptr: number): number };
  /** Called once per head, informational ones too, before anything is made of it. */
  onHeadersComplete(status: number, upgrade: boolean, keepsAlive: boolean): number;
  /** Called for each piece of a reason phrase; as many as packets that it came in. */
  onStatus(bytes: Buffer): number;
  /** The reason phrase. Empty when a head begins. */
  statusText: string;
}

/**
 * Fails an answer whose head is not in HTTP/1 (RFC 9112 §2.3): of the other versions, undici's parser lets 0.9 and 2.0 pass,
 * reads them as 1.0 and tells nobody. Only the parser knows where a head begins, so it is asked there, once per head: one
 * number is read, no byte is looked at again. Of a parser that cannot be asked, what it says is taken.
 *
 * @param socket One that undici has been given.
 */
export function refuseOtherVersions(socket: Socket): void {
  const parser = parserOf(socket);
  if (parser === undefined) return;
  parser.onStatus = readReason;
  const complete = parser.onHeadersComplete;
  parser.onHeadersComplete = function (this: Parser, status, upgrade, keepsAlive) {
    if (this.llhttp.llhttp_get_http_major(this.ptr) === 1) return complete.call(this, status, upgrade, keepsAlive);
    socket.destroy(
      new ProtocolError('the backend answered in a version of HTTP that does not go over this connection'),
    );
    return -1;
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
    typeof parser?.llhttp?.llhttp_get_http_major === 'function' && typeof parser.onHeadersComplete === 'function';
  return isWhole ? (parser as Parser) : undefined;
}
