import { connect, type Socket } from 'node:net';
import { answerFor, NONCE_FIELD, nonceOf, PATH } from '../harness/answer.ts';
import { AnswerReader } from './answer-reader.ts';

const BUFFER_BYTES = 65_536;
const RETRY_MS = 20;

/** What all connections of one load count together. */
export interface Tally {
  requests: number;
  errors: number;
  firstError: string | undefined;
  /** Makes nonces unique over all connections. */
  sent: number;
}

/** A closed loop on one connection: the next request leaves when the answer of the last one is checked. */
export class RawConnection {
  /** Good answers; a connection where this stands still is stuck. */
  answered = 0;
  readonly #tally: Tally;
  readonly #port: number;
  readonly #head: string;
  // One buffer for the life of the connection: Node would else make a new one per read.
  readonly #buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  #socket: Socket | undefined;
  readonly #refuses: boolean;
  #reader: AnswerReader;
  #expected = '';
  #retry: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param refuses Whether the right answer is a 429, with some content. */
  constructor(port: number, tally: Tally, refuses = false) {
    this.#port = port;
    this.#refuses = refuses;
    this.#reader = this.#newReader();
    this.#tally = tally;
    this.#head = `GET ${PATH} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUser-Agent: expressway-bench\r\nAccept: application/json\r\nConnection: keep-alive\r\n${NONCE_FIELD}: `;
    this.#open();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#socket?.destroy();
  }

  #open(): void {
    this.#reader = this.#newReader();
    const onread = {
      buffer: this.#buffer,
      callback: (bytes: number) => {
        this.#received(bytes);
        return true;
      },
    };
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true, onread });
    this.#socket = socket;
    socket.once('connect', () => this.#send());
    socket.once('error', (error) => this.#failed(error.message));
    socket.once('end', () => this.#failed('connection closed by the gateway'));
  }

  #send(): void {
    const nonce = nonceOf(this.#tally.sent++);
    this.#expected = answerFor(nonce);
    this.#socket?.write(`${this.#head}${nonce}\r\n\r\n`, 'latin1');
  }

  #received(bytes: number): void {
    try {
      const content = this.#reader.push(this.#buffer.toString('latin1', 0, bytes));
      if (content === undefined) return;
      if (this.#refuses ? content === '' : content !== this.#expected)
        throw new Error(`wrong content: ${content.slice(0, 80)}`);
    } catch (error) {
      this.#failed((error as Error).message);
      return;
    }
    this.#tally.requests++;
    this.answered++;
    this.#send();
  }

  #newReader(): AnswerReader {
    return new AnswerReader(this.#refuses ? '429' : '200');
  }

  #failed(why: string): void {
    if (this.#closed) return;
    this.#tally.errors++;
    this.#tally.firstError ??= why;
    this.#socket?.destroy();
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#open(), RETRY_MS);
  }
}
