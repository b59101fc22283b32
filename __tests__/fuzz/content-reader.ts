import { all, CONTROL, type Field, INCOMPLETE, members, ReadError, readHead } from './head-reader.ts';

export type Framing =
  | { readonly kind: 'none' }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'length'; readonly length: number };

export interface FramingRules {
  /** A transfer coding makes it so, whatever it says. */
  readonly faulty: boolean;
  readonly longest: number;
}

export interface Content {
  readonly content: Buffer;
  readonly complete: boolean;
  readonly next: number;
}

const NOTHING = Buffer.alloc(0);

/** How a message says that its content ends (RFC 9112 §6.3); two ways of saying it are one too many. */
export function framingOf(fields: readonly Field[], { faulty, longest }: FramingRules): Framing {
  const lengths = all(fields, 'content-length');
  if (all(fields, 'transfer-encoding').length > 0) {
    if (lengths.length > 0) throw new ReadError('framed in two ways');
    if (faulty) throw new ReadError('a transfer coding in HTTP/1.0');
    if (members(fields, 'transfer-encoding').join() !== 'chunked') throw new ReadError('a transfer coding but chunked');
    return { kind: 'chunked' };
  }
  const [length] = lengths;
  if (length === undefined) return { kind: 'none' };
  if (lengths.length > 1) throw new ReadError('more than one length');
  if (!/^\d+$/.test(length) || Number(length) > longest) throw new ReadError('a length that is none');
  return { kind: 'length', length: Number(length) };
}

/** @throws {ReadError} in chunked content; `soFar` tells what came before. */
export function readContent(bytes: Buffer, at: number, framing: Framing): Content {
  if (framing.kind === 'none') return { content: NOTHING, complete: true, next: at };
  if (framing.kind === 'chunked') return readChunks(bytes, at);
  const next = Math.min(bytes.length, at + framing.length);
  return { content: bytes.subarray(at, next), complete: next === at + framing.length, next };
}

function readChunks(bytes: Buffer, start: number): Content {
  const parts: Buffer[] = [];
  const result = (complete: boolean, next: number) => ({ content: Buffer.concat(parts), complete, next });
  let at = start;
  for (;;) {
    const lineEnd = bytes.indexOf('\r\n', at);
    if (lineEnd === -1) return result(false, bytes.length);
    const line = bytes.toString('latin1', at, lineEnd);
    const size = /^([\da-f]+)(?:[ \t]*;.*)?$/i.exec(line)?.[1];
    if (size === undefined || CONTROL.test(line)) throw new ReadError('a chunk size that is none');
    const length = Number.parseInt(size, 16);
    if (!Number.isSafeInteger(length)) throw new ReadError('a chunk size that cannot be counted');
    if (length === 0) {
      const next = readTrailers(bytes, lineEnd);
      return next === INCOMPLETE ? result(false, bytes.length) : result(true, next);
    }
    const dataEnd = lineEnd + 2 + length;
    parts.push(bytes.subarray(lineEnd + 2, dataEnd));
    if (bytes.length < dataEnd + 2) return result(false, bytes.length);
    if (bytes.toString('latin1', dataEnd, dataEnd + 2) !== '\r\n') throw new ReadError('a chunk longer than it says');
    at = dataEnd + 2;
  }
}

function readTrailers(bytes: Buffer, lastLineEnd: number): number | typeof INCOMPLETE {
  if (bytes.toString('latin1', lastLineEnd, lastLineEnd + 4) === '\r\n\r\n') return lastLineEnd + 4;
  // Trailers have the form of a head whose start line was the last chunk's.
  const trailers = readHead(bytes, lastLineEnd);
  return trailers === INCOMPLETE ? INCOMPLETE : trailers.next;
}
