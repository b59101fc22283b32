import { type Framing, framingOf, readContent } from './content-reader.ts';
import { type Field, INCOMPLETE, members, ReadError, readHead, skipLineEnds } from './head-reader.ts';

export interface ReadResponse {
  readonly status: number;
  readonly reason: string;
  readonly fields: readonly Field[];
  readonly content: Buffer;
  readonly complete: boolean;
  /** Nothing may follow on this connection. */
  readonly close: boolean;
}

export interface ResponseReading {
  readonly interim: readonly number[];
  readonly finals: readonly ReadResponse[];
  readonly end: 'clean' | 'incomplete' | 'error' | 'upgrade';
  readonly why?: string;
  /** Where the first byte that belongs to no whole answer is. */
  readonly next: number;
}

export interface ResponseReadingOptions {
  /** Of the requests, in order; GET for those after them. */
  readonly methods: readonly string[];
  /** The connection has come to an orderly end. */
  readonly ended: boolean;
  /** Read no more answers than that. Default: all. */
  readonly most?: number;
  /** 101 is an answer. Default: an error. */
  readonly upgrades?: boolean;
}

/** Reads what a server sent on one connection, without any leniency. */
export function readResponses(bytes: Buffer, options: ResponseReadingOptions): ResponseReading {
  const { methods, ended, most = Number.POSITIVE_INFINITY, upgrades = false } = options;
  const interim: number[] = [];
  const finals: ReadResponse[] = [];
  let at = 0;
  const reading = (end: ResponseReading['end'], why?: string): ResponseReading => ({
    interim,
    finals,
    end,
    next: at,
    ...(why === undefined ? {} : { why }),
  });
  while (at < bytes.length && finals.length < most) {
    try {
      const head = responseHead(bytes, skipLineEnds(bytes, at));
      if (head === INCOMPLETE) return reading('incomplete');
      const { status, reason, fields } = head;
      if (status === 101 && upgrades) {
        finals.push({ status, reason, fields, content: Buffer.alloc(0), complete: true, close: true });
        at = head.next;
        return reading('upgrade');
      }
      if (status < 200) {
        if (status === 101) throw new ReadError('101 without being asked');
        interim.push(status);
        at = head.next;
        continue;
      }
      const empty = methods[finals.length] === 'HEAD' || status === 204 || status === 304;
      // RFC 9112 §6.1 lets a client read an HTTP/1.0 answer in chunks, if it closes the connection then; and an answer of
      // more bytes than can be counted will never be whole.
      const declared = framingOf(fields, { faulty: false, longest: 2 ** 64 });
      const framing: Framing = empty ? { kind: 'none' } : declared;
      const untilEnd = !empty && declared.kind === 'none';
      const close = untilEnd || members(fields, 'connection').includes('close');
      if (untilEnd) {
        finals.push({ status, reason, fields, content: bytes.subarray(head.next), complete: ended, close });
        at = bytes.length;
        return reading(ended ? 'clean' : 'incomplete');
      }
      const part = { status, reason, fields, close };
      try {
        const { content, complete, next } = readContent(bytes, head.next, framing);
        finals.push({ ...part, content, complete });
        if (!complete) return reading('incomplete');
        at = next;
      } catch (error) {
        finals.push({ ...part, content: Buffer.alloc(0), complete: false });
        return reading('error', (error as ReadError).message);
      }
    } catch (error) {
      return reading('error', (error as ReadError).message);
    }
  }
  return reading('clean');
}

function responseHead(bytes: Buffer, at: number) {
  const head = readHead(bytes, at);
  if (head === INCOMPLETE) return INCOMPLETE;
  const line = /^HTTP\/\d\.\d (\d{3})(?: (.*))?$/s.exec(head.startLine);
  if (line === null) throw new ReadError('a status line that is none');
  const status = Number(line[1]);
  // RFC 9110 §15: what is over 599 is read as a 5xx.
  if (status < 100) throw new ReadError('a status that is none');
  return { ...head, status, reason: line[2] ?? '' };
}
