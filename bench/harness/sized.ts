/** A request or an answer with content of a given size. */
export interface SizedExchange {
  readonly method: 'GET' | 'POST';
  /** Of the answer to a GET, of the request of a POST. */
  readonly bytes: number;
}

/** A GET of this path and a number of bytes is answered with that much content. */
export const SIZED_PATH = '/sized/';

/** Prime, so that no chunk, page or buffer is a multiple of it: a chunk left out or sent twice shows. */
const PERIOD = 65_521;
const REPEATS = 4;
/** So much can be cut out of the pattern in one piece, wherever it starts. */
export const MOST_IN_ONE_PIECE = PERIOD * (REPEATS - 1);

const pattern = randomBytes();

/** Where the content of a request begins in the pattern: elsewhere for each nonce. */
export function offsetOf(nonce: string): number {
  return (Number(nonce) * 7_919) % PERIOD;
}

/** Bytes `from` to `to` of the content, at most `MOST_IN_ONE_PIECE`, without a copy. */
export function contentPiece(offset: number, from: number, to: number): Buffer {
  const start = (offset + from) % PERIOD;
  return pattern.subarray(start, start + to - from);
}

/** Whether `buffer` from `start` to `end` is the content from its byte `position` on. */
export function isContent(offset: number, position: number, buffer: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; ) {
    const from = (offset + position + at - start) % PERIOD;
    const length = Math.min(end - at, MOST_IN_ONE_PIECE);
    if (buffer.compare(pattern, from, from + length, at, at + length) !== 0) return false;
    at += length;
  }
  return true;
}

/** The same bytes in each process. A linear congruential generator, of which the high bits are used. */
function randomBytes(): Buffer {
  const bytes = Buffer.alloc(PERIOD * REPEATS);
  let state = 1;
  for (let i = 0; i < PERIOD; i += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  for (let i = 1; i < REPEATS; i += 1) bytes.copy(bytes, i * PERIOD, 0, PERIOD);
  return bytes;
}
