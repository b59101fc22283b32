import { answerFor, NONCE_FIELD, nonceOf } from '../harness/answer.ts';
import { contentLengthOf, MessageReader } from '../harness/message-reader.ts';
import {
  contentPiece,
  isContent,
  MOST_IN_ONE_PIECE,
  offsetOf,
  SIZED_PATH,
  type SizedExchange,
} from '../harness/sized.ts';
import { RetryingSocket, type Tally } from './retrying-socket.ts';

/** A closed loop of requests with large content, each way checked to the last byte: the backend checks what is posted. */
export class SizedConnection {
  answered = 0;
  readonly #tally: Tally;
  readonly #port: number;
  readonly #exchange: SizedExchange;
  readonly #socket: RetryingSocket;
  #reader = this.#newReader();
  #nonce = '';
  #offset = 0;
  #sent = 0;
  #small = '';

  constructor(port: number, tally: Tally, exchange: SizedExchange) {
    this.#port = port;
    this.#tally = tally;
    this.#exchange = exchange;
    this.#socket = new RetryingSocket(port, tally, {
      connected: () => {
        this.#reader = this.#newReader();
        this.#ask();
      },
      received: (buffer, bytes) => this.#reader.push(buffer, bytes),
      drained: () => this.#sendContent(),
    });
  }

  close(): void {
    this.#socket.close();
  }

  #ask(): void {
    const { method, bytes } = this.#exchange;
    this.#nonce = nonceOf(this.#tally.sent++);
    this.#offset = offsetOf(this.#nonce);
    const fields = `Host: 127.0.0.1:${this.#port}\r\nConnection: keep-alive\r\n${NONCE_FIELD}: ${this.#nonce}\r\n`;
    if (method === 'GET') {
      this.#sent = 0;
      this.#socket.write(`GET ${SIZED_PATH}${bytes} HTTP/1.1\r\n${fields}\r\n`);
      return;
    }
    const type = 'Content-Type: application/octet-stream';
    this.#socket.write(`POST ${SIZED_PATH} HTTP/1.1\r\n${fields}${type}\r\nContent-Length: ${bytes}\r\n\r\n`);
    this.#sent = 0;
    this.#sendContent();
  }

  #sendContent(): void {
    const { method, bytes } = this.#exchange;
    if (method === 'GET') return;
    while (this.#sent < bytes) {
      const to = Math.min(bytes, this.#sent + MOST_IN_ONE_PIECE);
      const piece = contentPiece(this.#offset, this.#sent, to);
      this.#sent = to;
      if (!this.#socket.write(piece)) return;
    }
  }

  #newReader(): MessageReader {
    return new MessageReader({
      head: (head) => {
        const status = head.slice(9, 12);
        if (status !== '200') throw new Error(`status ${status}`);
        const length = contentLengthOf(head);
        const { method, bytes } = this.#exchange;
        if (method === 'GET' && length !== bytes) throw new Error(`${length} bytes instead of ${bytes}`);
        this.#small = '';
        return length;
      },
      content: (buffer, start, end, position) => {
        if (this.#exchange.method === 'POST') this.#small += buffer.toString('latin1', start, end);
        else if (!isContent(this.#offset, position, buffer, start, end))
          throw new Error(`wrong content near byte ${position}`);
      },
      end: () => {
        if (this.#exchange.method === 'POST' && this.#small !== answerFor(this.#nonce))
          throw new Error(`wrong content: ${this.#small.slice(0, 80)}`);
        this.#tally.requests++;
        this.answered++;
        this.#ask();
      },
    });
  }
}
