import type { Socket } from 'node:net';

/** What is used of undici's parser of one connection. None of it is public; contract tests check that it exists. */
export interface Parser {
  /** Its state, in the memory of llhttp; nothing once undici has let go of the connection. */
  readonly ptr: number | null;
  readonly llhttp: {
    llhttp_get_http_major(ptr: number | null): number;
    /** With 1, the parser reads on behind a message with `Connection: close`. */
    llhttp_set_lenient_keep_alive(ptr: number | null, on: 0 | 1): void;
  };
  statusCode: number;
  headers: Buffer[];
  headersSize: number;
  /** Whether it takes no bytes: the client is slower than the backend. */
  readonly paused: boolean;
  /** Called once per head, informational ones included, before undici uses it. */
  onHeadersComplete(status: number, upgrade: boolean, keepsAlive: boolean): number;
  /** Called for each piece of a reason phrase, one for each packet. */
  onStatus(bytes: Buffer): number;
  /** The reason phrase. Empty when a head begins. */
  statusText: string;
  /** Reads the next bytes of the connection, and keeps parts of them. */
  execute(bytes: Buffer): void;
}

/** The parser of a socket that undici uses. If a new version of undici has another parser, there is none. */
export function parserOf(socket: Socket): Parser | undefined {
  const symbol = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'parser');
  if (symbol === undefined) return undefined;
  const parser: Partial<Parser> | null | undefined = Reflect.get(socket, symbol);
  const isWhole =
    typeof parser?.llhttp?.llhttp_get_http_major === 'function' &&
    typeof parser.llhttp.llhttp_set_lenient_keep_alive === 'function' &&
    typeof parser.onHeadersComplete === 'function' &&
    typeof parser.execute === 'function' &&
    typeof parser.paused === 'boolean';
  return isWhole ? (parser as Parser) : undefined;
}
