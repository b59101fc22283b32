import type { Socket } from 'node:net';
import { answerFor, nonceIn } from '../harness/answer.ts';
import { contentLengthOf, MessageReader } from '../harness/message-reader.ts';
import { contentPiece, isContent, MOST_IN_ONE_PIECE, offsetOf, SIZED_PATH } from '../harness/sized.ts';

const TYPE = 'Content-Type: application/octet-stream\r\n';
const KEPT = 'Connection: keep-alive\r\nKeep-Alive: timeout=65\r\n\r\n';

/** One keep-alive connection of a backend that gives as much content as its path says, and checks the content it is sent. */
export class SizedBackendConnection {
  readonly #socket: Socket;
  readonly #served: () => void;
  readonly #reader: MessageReader;
  #nonce = '';
  #offset = 0;
  /** Of the answer: what it will have, and what it has already. */
  #bytes = 0;
  #sent = 0;
  #isWrong = false;

  constructor(socket: Socket, served: () => void) {
    this.#socket = socket;
    this.#served = served;
    this.#reader = new MessageReader({
      head: (head) => this.#head(head),
      content: (buffer, start, end, position) => {
        this.#isWrong ||= !isContent(this.#offset, position, buffer, start, end);
      },
      end: () => this.#answer(),
    });
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => {
      try {
        this.#reader.push(chunk);
      } catch {
        // The gateway sent what this cannot read: its client sees a 502.
        socket.destroy();
      }
    });
    socket.on('drain', () => this.#send());
    socket.on('error', () => socket.destroy());
  }

  #head(head: string): number {
    if (this.#sent < this.#bytes) throw new Error('a request before the last one was answered');
    this.#nonce = nonceIn(head);
    this.#offset = offsetOf(this.#nonce);
    this.#isWrong = false;
    this.#sent = 0;
    this.#bytes = head.startsWith('GET ') ? Number(new RegExp(`^GET ${SIZED_PATH}(\\d+) `).exec(head)?.[1] ?? 0) : 0;
    return contentLengthOf(head);
  }

  #answer(): void {
    this.#served();
    if (this.#bytes > 0) {
      this.#socket.write(`HTTP/1.1 200 OK\r\n${TYPE}Content-Length: ${this.#bytes}\r\n${KEPT}`, 'latin1');
      this.#send();
      return;
    }
    const status = this.#isWrong ? '500 Wrong Content' : '200 OK';
    const content = answerFor(this.#nonce);
    this.#socket.write(`HTTP/1.1 ${status}\r\nContent-Length: ${content.length}\r\n${KEPT}${content}`, 'latin1');
  }

  #send(): void {
    while (this.#sent < this.#bytes) {
      const to = Math.min(this.#bytes, this.#sent + MOST_IN_ONE_PIECE);
      const piece = contentPiece(this.#offset, this.#sent, to);
      this.#sent = to;
      if (!this.#socket.write(piece)) return;
    }
  }
}
