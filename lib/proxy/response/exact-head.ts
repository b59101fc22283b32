import type { OutgoingMessage } from 'node:http';
import { STATUS_CODES } from '../../core/node-http.ts';

/** The parts of Node's response that are used here. Names with `_` are not public; a contract test checks that they exist. */
interface Storing {
  readonly statusCode: number;
  readonly _header: string | null;
  readonly _headerSent: boolean;
  /** Makes the text of the head. */
  _storeHeader(startLine: string, headers: unknown): void;
  /** Sends part of the body, with the head before the first one. */
  _send: Send;
  getHeader(name: string): unknown;
  getRawHeaderNames(): string[];
}

type Send = (this: Storing, data: unknown, encoding?: unknown, callback?: unknown, byteLength?: unknown) => boolean;

const NOT_ASCII = /[^\t\x20-\x7e]/;
const HAS_HIGH_BYTES = /[\x80-\xff]/;

/**
 * Makes Node send the head of this response (or request) byte for byte as it was set. Node itself changes three things, after it has
 * checked the values:
 *
 * - It decodes `Content-Disposition` as UTF-8 when it knows the length of the body (nodejs/node#58240). The bytes `C4 8D C4 8A`
 *   of a file name become CR LF, so that a file name could add headers, or a whole response (response splitting).
 * - It writes the whole head as UTF-8 when `flushHeaders()`, or text as the first part of the body, sends it.
 * - It joins several `Cookie` lines into one.
 *
 * @param withoutReason Whether the response has an empty reason phrase, which Node would replace by its own.
 */
export function sendHeadExactly(message: OutgoingMessage, withoutReason?: unknown): void {
  const storing = message as unknown as Storing;
  storing._storeHeader = withoutReason === true ? storeWithoutReason : storeExactly;
  storing._send = sendExactly;
}

function storeExactly(this: Storing, startLine: string, headers: unknown): void {
  const disposition = this.getHeader('content-disposition');
  const isChanged = disposition !== undefined && NOT_ASCII.test(String(disposition));
  if (isChanged || Array.isArray(this.getHeader('cookie'))) storeLines(this, startLine);
  else prototypeOf(this)._storeHeader.call(this, startLine, headers);
}

function storeLines(res: Storing, startLine: string): void {
  let head = startLine;
  const lines: [string, unknown][] = [];
  for (const name of res.getRawHeaderNames()) {
    for (const value of [res.getHeader(name)].flat()) {
      // Node takes the start line as it is. `setHeader()` has checked the value.
      if (name.toLowerCase() === 'content-disposition') head += `${name}: ${value}\r\n`;
      else lines.push([name, value]);
    }
  }
  prototypeOf(res)._storeHeader.call(res, head, lines);
}

function storeWithoutReason(this: Storing, startLine: string, headers: unknown): void {
  const isNodes = startLine === `HTTP/1.1 ${this.statusCode} ${STATUS_CODES[this.statusCode] ?? 'unknown'}\r\n`;
  storeExactly.call(this, isNodes ? `HTTP/1.1 ${this.statusCode} \r\n` : startLine, headers);
}

const sendExactly: Send = function (data, encoding, callback, byteLength) {
  const send = prototypeOf(this)._send;
  // Node writes the head in the encoding of this text.
  const isMixed = !this._headerSent && typeof data === 'string' && encoding !== 'latin1';
  if (isMixed && HAS_HIGH_BYTES.test(this._header ?? '')) send.call(this, '', 'latin1');
  return send.call(this, data, encoding, callback, byteLength);
};

/** The names of the headers as they were set. Node's types do not know the method. */
export const rawHeaderNames = (message: OutgoingMessage): string[] =>
  (message as OutgoingMessage & Pick<Storing, 'getRawHeaderNames'>).getRawHeaderNames();

const prototypeOf = (res: Storing): Storing => Object.getPrototypeOf(res);
