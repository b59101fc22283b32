import { describe, expect, test } from '@jest/globals';
import { nonceOf } from '../../../bench/harness/answer.ts';
import { contentLengthOf, MessageReader } from '../../../bench/harness/message-reader.ts';
import { contentPiece, isContent, MOST_IN_ONE_PIECE, offsetOf } from '../../../bench/harness/sized.ts';

/** Content of a request, copied so that it can be spoiled. */
function contentOf(nonce: string, bytes: number): Buffer {
  const pieces: Buffer[] = [];
  for (let from = 0; from < bytes; from += MOST_IN_ONE_PIECE) {
    pieces.push(contentPiece(offsetOf(nonce), from, Math.min(bytes, from + MOST_IN_ONE_PIECE)));
  }
  return Buffer.concat(pieces);
}

describe('content of a given size', () => {
  const BYTES = 500_000;
  const nonce = nonceOf(17);
  const offset = offsetOf(nonce);

  test('is known again, whole and in pieces of any length', () => {
    const content = contentOf(nonce, BYTES);
    expect(content).toHaveLength(BYTES);
    expect(isContent(offset, 0, content, 0, BYTES)).toBe(true);
    for (let at = 0; at < BYTES; at += 12_345) {
      expect(isContent(offset, at, content, at, Math.min(BYTES, at + 12_345))).toBe(true);
    }
  });

  test('is not known again with one byte changed, wherever it is', () => {
    for (const at of [0, 65_520, 65_521, 196_563, BYTES - 1]) {
      const content = contentOf(nonce, BYTES);
      content[at] = (content[at] as number) ^ 1;
      expect(isContent(offset, 0, content, 0, BYTES)).toBe(false);
    }
  });

  test.each([1, 1_024, 4_096, 16_384, 65_536])('is not known again when %d bytes were left out', (left) => {
    const content = contentOf(nonce, BYTES);
    expect(isContent(offset, 0, content, left, BYTES)).toBe(false);
  });

  test('is another one for another request', () => {
    const content = contentOf(nonceOf(18), BYTES);
    expect(isContent(offset, 0, content, 0, BYTES)).toBe(false);
  });
});

describe('MessageReader', () => {
  const messages = Buffer.from(
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 204 No\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:3\r\n\r\nend',
  );

  function read(pieceBytes: number): string[] {
    const told: string[] = [];
    let content = '';
    const reader = new MessageReader({
      head: (head) => {
        told.push(head.slice(0, head.indexOf('\r')));
        content = '';
        return contentLengthOf(head);
      },
      content: (buffer, start, end, position) => {
        expect(position).toBe(content.length);
        content += buffer.toString('latin1', start, end);
      },
      end: () => told.push(content),
    });
    for (let at = 0; at < messages.length; at += pieceBytes) reader.push(messages.subarray(at, at + pieceBytes));
    return told;
  }

  test('reads the same result from any pieces', () => {
    const whole = ['HTTP/1.1 200 OK', 'hello', 'HTTP/1.1 204 No', '', 'HTTP/1.1 200 OK', 'end'];
    for (let pieceBytes = 1; pieceBytes <= messages.length; pieceBytes += 1) expect(read(pieceBytes)).toEqual(whole);
  });

  test('refuses chunks, which it does not read', () => {
    expect(() => contentLengthOf('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n')).toThrow('chunked');
  });

  test('refuses a head without an end', () => {
    const reader = new MessageReader({ head: () => 0, content: () => {}, end: () => {} });
    expect(() => {
      for (let i = 0; i < 100; i += 1) reader.push(Buffer.alloc(1_000, 'x'));
    }).toThrow('head too large');
  });
});
