import { answerFor, nonceOf, requestHead } from '../harness/answer.ts';
import { AnswerReader } from './answer-reader.ts';
import { RetryingSocket, type Tally } from './retrying-socket.ts';

/** A closed loop on one connection: the next request leaves when the answer of the last one is checked. */
export class RawConnection {
  /** Good answers; a connection where this stands still is stuck. */
  answered = 0;
  readonly #tally: Tally;
  readonly #head: string;
  readonly #socket: RetryingSocket;
  readonly #refuses: boolean;
  #reader: AnswerReader;
  #expected = '';

  /** @param refuses Whether the right answer is a 429, with some content. */
  constructor(port: number, tally: Tally, refuses = false) {
    this.#refuses = refuses;
    this.#reader = this.#newReader();
    this.#tally = tally;
    this.#head = requestHead(port);
    this.#socket = new RetryingSocket(port, tally, {
      connected: () => {
        this.#reader = this.#newReader();
        this.#send();
      },
      received: (buffer, bytes) => this.#received(buffer, bytes),
    });
  }

  close(): void {
    this.#socket.close();
  }

  #send(): void {
    const nonce = nonceOf(this.#tally.sent++);
    this.#expected = answerFor(nonce);
    this.#socket.write(`${this.#head}${nonce}\r\n\r\n`);
  }

  #received(buffer: Buffer, bytes: number): void {
    const content = this.#reader.push(buffer.toString('latin1', 0, bytes));
    if (content === undefined) return;
    if (this.#refuses ? content === '' : content !== this.#expected)
      throw new Error(`wrong content: ${content.slice(0, 80)}`);
    this.#tally.requests++;
    this.answered++;
    this.#send();
  }

  #newReader(): AnswerReader {
    return new AnswerReader(this.#refuses ? '429' : '200');
  }
}
