import { framingOf, readContent } from './content-reader.ts';
import {
  all,
  CONTROL,
  type Field,
  INCOMPLETE,
  members,
  nonceOf,
  ReadError,
  readHead,
  skipLineEnds,
} from './head-reader.ts';

export interface ReadRequest {
  readonly method: string;
  readonly target: string;
  readonly version: string;
  readonly fields: readonly Field[];
  readonly nonce: string;
  readonly content: Buffer;
  readonly complete: boolean;
  /** What follows the head belongs to another protocol, if the server agrees. */
  readonly upgrade: boolean;
}

export interface RequestReading {
  readonly requests: readonly ReadRequest[];
  /** How the bytes end: between two messages, after the last one, in another protocol, in the middle, or in nonsense. */
  readonly end: 'clean' | 'closed' | 'upgrade' | 'incomplete' | 'error';
  readonly why?: string;
  /** What follows an upgrade, read as HTTP: requests if the server does not agree, and none if it does. */
  readonly behindUpgrade?: readonly ReadRequest[];
  /** Where the first byte that belongs to no whole request is. */
  readonly next: number;
}

/** Reads what a client sent on one connection as the strictest of servers would: what it refuses, nobody may forward. */
export function readRequests(bytes: Buffer): RequestReading {
  const requests: ReadRequest[] = [];
  let at = 0;
  for (;;) {
    at = skipLineEnds(bytes, at);
    if (at === bytes.length) return { requests, end: 'clean', next: at };
    let head: ReturnType<typeof requestHead>;
    try {
      head = requestHead(bytes, at);
    } catch (error) {
      return { requests, end: 'error', why: (error as ReadError).message, next: at };
    }
    if (head === INCOMPLETE) return { requests, end: 'incomplete', next: at };
    const { framing, next, close, ...rest } = head;
    try {
      const content = readContent(bytes, next, framing);
      requests.push({ ...rest, content: content.content, complete: content.complete });
      if (rest.upgrade) {
        const behindUpgrade = readRequests(bytes.subarray(content.next)).requests;
        return { requests, end: 'upgrade', next, behindUpgrade };
      }
      if (!content.complete) return { requests, end: 'incomplete', next: at };
      at = content.next;
    } catch (error) {
      requests.push({ ...rest, content: Buffer.alloc(0), complete: false });
      return { requests, end: rest.upgrade ? 'upgrade' : 'error', why: (error as ReadError).message, next: at };
    }
    if (close) return { requests, end: 'closed', next: at };
  }
}

function requestHead(bytes: Buffer, at: number) {
  const head = readHead(bytes, at);
  if (head === INCOMPLETE) return INCOMPLETE;
  const { startLine, fields, next } = head;
  // More than one space is allowed by RFC 9112 §3, and no two readers differ in what they make of it.
  const line = /^([\w!#$%&'*+.^`|~-]+) +([^ \t]+) +HTTP\/(1\.[01])$/.exec(startLine);
  if (line === null || CONTROL.test(startLine)) throw new ReadError('a request line that is none');
  const [, method = '', target = '', version = ''] = line;
  if (method === 'CONNECT') throw new ReadError('CONNECT');
  const hosts = all(fields, 'host');
  if (hosts.length > 1 || (hosts.length === 0 && version === '1.1')) throw new ReadError('not one Host');
  const framing = framingOf(fields, { faulty: version === '1.0', longest: Number.MAX_SAFE_INTEGER });
  const connection = members(fields, 'connection');
  // In HTTP/1.0, Node goes by `keep-alive` when both are there. What follows is a request of the same client's all the same.
  const close = version === '1.0' ? !connection.includes('keep-alive') : connection.includes('close');
  const upgrade = connection.includes('upgrade') && all(fields, 'upgrade').length > 0;
  return { method, target, version, fields, nonce: nonceOf(fields), framing, close, upgrade, next };
}

/** The path and query that a gateway forwards of a target. */
export function pathOf(target: string): string {
  const absolute = /^https?:\/\/[^/?#]*(.*)$/i.exec(target);
  if (absolute === null) return target;
  return absolute[1]?.startsWith('/') ? absolute[1] : `/${absolute[1] ?? ''}`;
}
