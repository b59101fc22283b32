import type { Socket } from 'node:net';
import { SharedReadBuffer } from '../../ingress/shared-read-buffer.ts';
import { type Parser, parserOf } from './undici-parser.ts';

const kParser = Symbol('expressway.parser');

type Parsed = Socket & { [kParser]?: Parser };

/**
 * Gives what backends send to undici's parser as soon as it is read. By itself undici takes it out of the stream of the socket, which
 * costs each response two ticks, and 64 KiB of memory for its read.
 */
export class DirectReads {
  readonly #buffer = new SharedReadBuffer(deliver, true);

  /** @param socket One that undici uses. TLS connections stay as they are. */
  use(socket: Socket): void {
    const parser = parserOf(socket);
    if (parser === undefined) return;
    (socket as Parsed)[kParser] = parser;
    this.#buffer.use(socket);
  }
}

/** Gives whether to go on reading. What the parser does not take now waits in the stream, as it would without this. */
function deliver(this: Socket, bytes: Buffer): boolean {
  const parser = (this as Parsed)[kParser] as Parser;
  if (parser.ptr === null || parser.paused || this.readableLength > 0 || this.destroyed) return this.push(bytes);
  parser.execute(bytes);
  return true;
}
