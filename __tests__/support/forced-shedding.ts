import type { Socket } from 'node:net';
import { SheddingGate } from '../../lib/ingress/shedding-gate.ts';

/** What all load shedders do while it is open: a real overload would decide differently on each machine. */
export class ForcedShedding {
  isShedding = false;
  rejects = true;
  readonly #names = ['isShedding', 'admits'] as const;
  readonly #real = this.#names.map((name) => Object.getOwnPropertyDescriptor(SheddingGate.prototype, name));

  constructor() {
    const isShedding = () => this.isShedding;
    const admits = () => !this.isShedding || !this.rejects;
    Object.defineProperty(SheddingGate.prototype, 'isShedding', { configurable: true, get: isShedding });
    Object.defineProperty(SheddingGate.prototype, 'admits', { configurable: true, value: admits });
  }

  close(): void {
    for (const [index, name] of this.#names.entries()) {
      Object.defineProperty(SheddingGate.prototype, name, this.#real[index] as PropertyDescriptor);
    }
  }
}

/** Gives a server bytes of a connection as if it had just read them. @returns whether it responds at once. */
export function respondsAtOnce(socket: Socket, bytes: string): boolean {
  const { bytesWritten } = socket;
  socket.emit('data', Buffer.from(bytes));
  return socket.bytesWritten > bytesWritten;
}

/** Ends the client's side of a connection of a server as if the server had just read that. */
export function endsNow(socket: Socket): void {
  socket.push(null);
  socket.read(0);
}
