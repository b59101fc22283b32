import type { IncomingMessage } from 'node:http';

/** Most bytes of all chunk extensions and trailers of a request. Node allows as much for one chunk (RFC 9112 §7.1.1 requires a limit). */
const MOST_EXTENSION_BYTES = 16_384;
/** Bytes around the content of a chunk: up to eight digits, and two line ends. */
const CHUNK_FRAME_BYTES = 12;

/** Counts the bytes of a chunked request body that are not content: chunk extensions and trailers. */
export class ChunkOverhead {
  static readonly LIMIT = `Chunk extensions and trailers may have ${MOST_EXTENSION_BYTES} bytes in all.`;
  readonly #req: IncomingMessage;
  #bytes = 0;

  /** Create it when the parser has read the head, before it reads the body. */
  constructor(req: IncomingMessage) {
    this.#req = req;
    const { push } = req;
    req.push = (piece: Buffer | null) => {
      if (piece !== null) this.#bytes -= piece.length + CHUNK_FRAME_BYTES;
      return push.call(req, piece);
    };
  }

  get isTooLong(): boolean {
    return this.#bytes > MOST_EXTENSION_BYTES;
  }

  /**
   * Adds the bytes of a piece that the parser has read. The parser has passed on the content in it by then, which is subtracted. The last
   * piece of a request is not added, so one read may bring more than the limit.
   */
  add(bytes: number): void {
    // Node drops the body of a request that has its response, and no longer passes the content on.
    if ((this.#req as { readonly _dumped?: boolean })._dumped === true) return;
    this.#bytes = Math.max(0, this.#bytes + bytes);
  }
}
