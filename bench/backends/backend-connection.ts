import type { Socket } from 'node:net';
import { answerFor, nonceIn } from '../harness/answer.ts';

const HEAD_END = '\r\n\r\n';
const MAX_HEAD = 16_384;

/**
 * One keep-alive connection of a minimal HTTP/1.1 backend: answers every request, also pipelined ones, and
 * skips content by its length. node:http would do, but it would cost the load side more than it leaves for
 * the faster gateways on a machine with two cores.
 */
export class BackendConnection {
  readonly #socket: Socket;
  readonly #served: () => void;
  #pending = '';
  #contentLeft = 0;

  constructor(socket: Socket, served: () => void) {
    this.#socket = socket;
    this.#served = served;
    socket.setNoDelay(true);
    // latin1: one byte is one character, so lengths stay true.
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => this.#received(text));
    socket.on('error', () => socket.destroy());
  }

  #received(text: string): void {
    let rest = this.#pending === '' ? text : this.#pending + text;
    let answers = '';
    for (;;) {
      const skipped = Math.min(this.#contentLeft, rest.length);
      if (skipped > 0) {
        this.#contentLeft -= skipped;
        rest = rest.slice(skipped);
      }
      const end = rest.indexOf(HEAD_END);
      if (end === -1) break;
      const head = rest.slice(0, end + 2);
      rest = rest.slice(end + HEAD_END.length);
      if (/\r\ntransfer-encoding:/i.test(head)) {
        this.#refuse(answers, '501 Not Implemented');
        return;
      }
      this.#contentLeft = contentLength(head);
      answers += answer(head);
      this.#served();
    }
    if (rest.length > MAX_HEAD) {
      this.#refuse(answers, '431 Request Header Fields Too Large');
      return;
    }
    this.#pending = rest;
    if (answers !== '') this.#socket.write(answers, 'latin1');
  }

  #refuse(answers: string, status: string): void {
    this.#socket.end(`${answers}HTTP/1.1 ${status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`, 'latin1');
  }
}

function contentLength(head: string): number {
  // Most requests have no content: the cheap question first.
  if (head.startsWith('GET ')) return 0;
  return Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
}

function answer(head: string): string {
  const content = answerFor(nonceIn(head));
  // The fields of a node:http backend, so that a gateway has its usual work with them.
  const fields = `Content-Type: application/json; charset=utf-8\r\nContent-Length: ${content.length}\r\n${date()}Connection: keep-alive\r\nKeep-Alive: timeout=65\r\n\r\n`;
  return `HTTP/1.1 200 OK\r\n${fields}${head.startsWith('HEAD ') ? '' : content}`;
}

const cachedDate = { second: 0, field: '' };

function date(): string {
  const second = Math.floor(Date.now() / 1000);
  if (second !== cachedDate.second) {
    cachedDate.second = second;
    cachedDate.field = `Date: ${new Date(second * 1000).toUTCString()}\r\n`;
  }
  return cachedDate.field;
}
