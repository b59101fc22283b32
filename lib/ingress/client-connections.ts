import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { foldAddress } from '../core/connection.ts';
import type { ConnectionResponses } from './connection-responses.ts';
import type { HardenServerSettings } from './harden-server-options.ts';

/** Hears of each connection, and of its end. */
export interface ConnectionWatcher {
  opened(socket: Socket): void;
  closed(socket: Socket): void;
}

/**
 * Tells watchers of a server's connections, through one listener on each: an idle connection is to cost little, and the third
 * listener of an event makes V8 keep room for 16 more of them.
 */
export function watchConnections(
  server: Server,
  event: 'connection' | 'secureConnection',
  watchers: readonly ConnectionWatcher[],
): void {
  if (watchers.length === 0) return;
  function closed(this: Socket): void {
    for (const watcher of watchers) watcher.closed(this);
  }
  server.on(event, (socket: Socket) => {
    socket.on('close', closed);
    for (const watcher of watchers) watcher.opened(socket);
  });
}

/** The connections of one address. */
interface Peer {
  readonly address: string;
  open: number;
}

/** A connection with its peer under a key of the cap's own: Node no longer knows the address of a closed connection. */
type Counted = Socket & Record<symbol, Peer | undefined>;

/** Counts connections by the address at their other end, and closes those over the cap. */
export class ConnectionCap implements ConnectionWatcher {
  readonly #key = Symbol('expressway.peer');
  readonly #max: number;
  readonly #isUncapped: ((address: string) => boolean) | undefined;
  readonly #responses: ConnectionResponses;
  /** Bounded by the open connections: an address without any has no entry. */
  readonly #byAddress = new Map<string, Peer>();

  constructor(
    { maxConnectionsPerAddress, isUncapped }: Pick<HardenServerSettings, 'maxConnectionsPerAddress' | 'isUncapped'>,
    responses: ConnectionResponses,
  ) {
    this.#max = maxConnectionsPerAddress;
    this.#isUncapped = isUncapped;
    this.#responses = responses;
  }

  opened(socket: Socket): void {
    const address = foldAddress(socket.remoteAddress);
    // Gone already.
    if (address === undefined || this.#isUncapped?.(address) === true) return;
    const peer = this.#byAddress.get(address) ?? { address, open: 0 };
    if (peer.open >= this.#max) {
      // A response would cost more than such a connection is worth.
      this.#responses.cut(socket, 'client_overload');
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
