import { connect, type Socket } from 'node:net';
import { answerFor, nonceOf, requestHead } from '../harness/answer.ts';

const BUFFER_BYTES = 16_384;

/** How a request ended: `good` is the right response, `rejected` a 503, `bad` any other one. */
export type Ending = 'good' | 'rejected' | 'bad' | 'broken';

export interface OpenListener {
  idle(connection: OpenConnection): void;
  /** @param dueAt When the request should have been sent. */
  ended(ending: Ending, dueAt: number, why?: string): void;
  /** The connection is gone. */
  closed(connection: OpenConnection): void;
}

/** A connection that sends a request when it is told to, and takes whatever comes. */
export class OpenConnection {
  readonly #listener: OpenListener;
  readonly #head: string;
  readonly #buffer = Buffer.allocUnsafe(BUFFER_BYTES);
  readonly #socket: Socket;
  #pending = '';
  #expected = '';
  #dueAt: number | undefined;

  constructor(port: number, listener: OpenListener) {
    this.#listener = listener;
    this.#head = requestHead(port);
    const callback = (bytes: number): boolean => {
      this.#received(this.#buffer.toString('latin1', 0, bytes));
      return true;
    };
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true, onread: { buffer: this.#buffer, callback } });
    this.#socket.once('error', (error) => this.#broke(error.message));
    this.#socket.once('close', () => {
      this.#broke('closed');
      listener.closed(this);
    });
  }

  /** May be called before it is connected. */
  ask(count: number, dueAt: number): void {
    const nonce = nonceOf(count);
    this.#dueAt = dueAt;
    this.#expected = answerFor(nonce);
    this.#socket.write(`${this.#head}${nonce}\r\n\r\n`, 'latin1');
  }

  close(): void {
    this.#socket.removeAllListeners();
    this.#socket.on('error', () => {});
    this.#socket.destroy();
  }

  #received(text: string): void {
    this.#pending += text;
    const end = this.#pending.indexOf('\r\n\r\n');
    if (end === -1) return;
    const head = this.#pending.slice(0, end);
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
    if (this.#pending.length < end + 4 + length) return;
    const content = this.#pending.slice(end + 4, end + 4 + length);
    this.#pending = '';
    this.#end(head, content);
    if (/\r\nconnection: *close/i.test(head)) this.#socket.end();
    else this.#listener.idle(this);
  }

  #end(head: string, content: string): void {
    const status = head.slice(9, 12);
    if (status === '200' && content === this.#expected) this.#tell('good');
    else if (status === '503') this.#tell('rejected');
    else this.#tell('bad', `status ${status}: ${content.slice(0, 80)}`);
  }

  #broke(why: string): void {
    this.#tell('broken', why);
  }

  #tell(ending: Ending, why?: string): void {
    const dueAt = this.#dueAt;
    this.#dueAt = undefined;
    if (dueAt !== undefined) this.#listener.ended(ending, dueAt, why);
  }
}
