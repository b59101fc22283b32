import type { Socket } from 'node:net';
import { foldAddress } from '../core/exchange.ts';
import type { Answers } from './connection-responses.ts';
import type { ConnectionWatcher } from './connection-watch.ts';
import type { HardenServerSettings } from './harden-server-options.ts';

/** The connections of one address. */
interface Peer {
  readonly address: string;
  open: number;
}

/** A connection, and under a key of the cap's own its peer: of one that is closed, nobody knows the address any more. */
type Counted = Socket & Record<symbol, Peer | undefined>;

/** Counts connections by the address at their other end, and closes those over the cap. */
export class ConnectionCap implements ConnectionWatcher {
  readonly #key = Symbol('expressway.peer');
  readonly #max: number;
  readonly #isUncapped: ((address: string) => boolean) | undefined;
  readonly #answers: Answers;
  /** Bounded by the open connections: an address without any has no entry. */
  readonly #byAddress = new Map<string, Peer>();

  constructor(
    { maxConnectionsPerAddress, isUncapped }: Pick<HardenServerSettings, 'maxConnectionsPerAddress' | 'isUncapped'>,
    answers: Answers,
  ) {
    this.#max = maxConnectionsPerAddress;
    this.#isUncapped = isUncapped;
    this.#answers = answers;
  }

  opened(socket: Socket): void {
    const address = foldAddress(socket.remoteAddress);
    // Gone already.
    if (address === undefined || this.#isUncapped?.(address) === true) return;
    const peer = this.#byAddress.get(address) ?? { address, open: 0 };
    if (peer.open >= this.#max) {
      // An answer would cost more than such a connection is worth.
      this.#answers.cut(socket, 'client_overload');
      return;
    }
    peer.open += 1;
    this.#byAddress.set(address, peer);
    (socket as Counted)[this.#key] = peer;
  }

  closed(socket: Socket): void {
    const peer = (socket as Counted)[this.#key];
    if (peer === undefined) return;
    peer.open -= 1;
    if (peer.open === 0) this.#byAddress.delete(peer.address);
  }
}
