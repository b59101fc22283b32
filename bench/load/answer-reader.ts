const HEAD_END = '\r\n\r\n';

/** Reads the answers of one connection that never has more than one request under way. */
export class AnswerReader {
  readonly #status: string;
  #pending = '';

  /** @param status The only one that is right. */
  constructor(status = '200') {
    this.#status = status;
  }

  /**
   * Takes what was received.
   *
   * @returns the content when the answer is whole, `undefined` before that.
   * @throws {Error} for any other status, framing that it does not know, and bytes behind the answer.
   */
  push(text: string): string | undefined {
    const all = this.#pending === '' ? text : this.#pending + text;
    const end = all.indexOf(HEAD_END);
    if (end !== -1) {
      const content = this.#content(all, end);
      if (content !== undefined) {
        this.#pending = '';
        return content;
      }
    }
    this.#pending = all;
    return undefined;
  }

  #content(all: string, end: number): string | undefined {
    const status = all.slice(9, 12);
    if (status !== this.#status) throw new Error(`status ${status}`);
    const head = all.slice(0, end);
    const start = end + HEAD_END.length;
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    if (length === undefined) {
      if (/\r\ntransfer-encoding: *chunked/i.test(head)) return chunked(all, start);
      throw new Error('answer without content-length or chunks');
    }
    const missing = start + Number(length) - all.length;
    if (missing < 0) throw new Error('bytes behind the answer');
    return missing > 0 ? undefined : all.slice(start);
  }
}

function chunked(all: string, start: number): string | undefined {
  let content = '';
  let at = start;
  for (;;) {
    const lineEnd = all.indexOf('\r\n', at);
    if (lineEnd === -1) return undefined;
    const size = Number.parseInt(all.slice(at, lineEnd), 16);
    if (Number.isNaN(size)) throw new Error('bad chunk');
    const next = lineEnd + 2 + size + 2;
    if (next > all.length) return undefined;
    if (size === 0) {
      if (next < all.length) throw new Error('bytes behind the answer');
      return content;
    }
    content += all.slice(lineEnd + 2, next - 2);
    at = next;
  }
}
