import { connect, type Socket } from 'node:net';
import { answerFor, NONCE_FIELD, nonceOf, PATH } from '../harness/answer.ts';
import { AnswerReader } from './answer-reader.ts';

/** A connection that asks once and then stays open and silent. */
export class IdleConnection {
  isOpen = false;
  readonly #socket: Socket;
  readonly #answered: Promise<void>;

  /** @param localAddress Where it comes from: one address has too few ports, and gateways have caps per address. */
  constructor(port: number, localAddress: string, count: number) {
    const nonce = nonceOf(count);
    const reader = new AnswerReader();
    const socket = connect({ port, host: '127.0.0.1', localAddress, noDelay: true });
    this.#socket = socket;
    socket.setEncoding('latin1');
    this.#answered = new Promise((resolve, reject) => {
      socket.on('connect', () => {
        socket.write(
          `GET ${PATH} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: keep-alive\r\n${NONCE_FIELD}: ${nonce}\r\n\r\n`,
        );
      });
      socket.on('data', (text: string) => {
        try {
          const content = reader.push(text);
          if (content === undefined) return;
          if (content !== answerFor(nonce)) throw new Error(`wrong content: ${content.slice(0, 80)}`);
          this.isOpen = true;
          resolve();
        } catch (error) {
          socket.destroy(error as Error);
        }
      });
      socket.on('error', reject);
      socket.on('close', () => {
        this.isOpen = false;
        reject(new Error('connection closed by the gateway'));
      });
    });
  }

  /** @throws {Error} when the answer was wrong, or never came. */
  answered(): Promise<void> {
    return this.#answered;
  }

  close(): void {
    this.#socket.destroy();
  }
}
