import { connect, type Socket } from 'node:net';
import { answerFor, nonceOf, requestHead } from '../harness/answer.ts';
import { AnswerReader } from './answer-reader.ts';

const BUFFER_BYTES = 65_536;

export interface PacedListener {
  /** It may be asked. */
  idle(connection: PacedConnection): void;
  /** The right answer to the request that was due then. */
  answered(dueAt: number): void;
  failed(why: string): void;
}

/** A connection that sends a request when it is told to. */
export class PacedConnection {
  readonly #listener: PacedListener;
  readonly #head: string;
  readonly #buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  readonly #reader = new AnswerReader();
  readonly #socket: Socket;
  #expected = '';
  #dueAt = 0;

  constructor(port: number, listener: PacedListener) {
    this.#listener = listener;
    this.#head = requestHead(port);
    const callback = (bytes: number): boolean => {
      this.#received(bytes);
      return true;
    };
    const onread = { buffer: this.#buffer, callback };
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true, onread });
    this.#socket.once('connect', () => listener.idle(this));
    this.#socket.once('error', (error) => listener.failed(error.message));
    this.#socket.once('end', () => listener.failed('connection closed by the gateway'));
  }

  ask(count: number, dueAt: number): void {
    const nonce = nonceOf(count);
    this.#dueAt = dueAt;
    this.#expected = answerFor(nonce);
    this.#socket.write(`${this.#head}${nonce}\r\n\r\n`, 'latin1');
  }

  close(): void {
    this.#socket.removeAllListeners();
    this.#socket.destroy();
  }

  #received(bytes: number): void {
    try {
      const content = this.#reader.push(this.#buffer.toString('latin1', 0, bytes));
      if (content === undefined) return;
      if (content !== this.#expected) throw new Error(`wrong content: ${content.slice(0, 80)}`);
    } catch (error) {
      this.#listener.failed((error as Error).message);
      this.#socket.destroy();
      return;
    }
    this.#listener.answered(this.#dueAt);
    this.#listener.idle(this);
  }
}
