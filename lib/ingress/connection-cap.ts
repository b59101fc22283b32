import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { foldAddress } from '../core/exchange.ts';
import type { Answers } from './answers.ts';
import type { HardenServerSettings } from './harden-server-options.ts';

/** Counts connections by the address at their other end, and closes those over the cap. */
export class ConnectionCap {
  readonly #max: number;
  readonly #isUncapped: ((address: string) => boolean) | undefined;
  readonly #answers: Answers;
  /** Bounded by the open connections: an address without any has no entry. */
  readonly #byAddress = new Map<string, number>();

  constructor(
    { maxConnectionsPerAddress, isUncapped }: Pick<HardenServerSettings, 'maxConnectionsPerAddress' | 'isUncapped'>,
    answers: Answers,
  ) {
    this.#max = maxConnectionsPerAddress;
    this.#isUncapped = isUncapped;
    this.#answers = answers;
  }

  attach(server: Server): void {
    server.on('connection', (socket) => this.#connected(socket));
  }

  #connected(socket: Socket): void {
    const address = foldAddress(socket.remoteAddress);
    // Gone already.
    if (address === undefined || this.#isUncapped?.(address) === true) return;
    const open = this.#byAddress.get(address) ?? 0;
    if (open >= this.#max) {
      // An answer would cost more than such a connection is worth.
      this.#answers.cut(socket, 'client_overload');
      return;
    }
    this.#byAddress.set(address, open + 1);
    socket.once('close', () => this.#closed(address));
  }

  #closed(address: string): void {
    const open = this.#byAddress.get(address) ?? 0;
    if (open > 1) this.#byAddress.set(address, open - 1);
    else this.#byAddress.delete(address);
  }
}
