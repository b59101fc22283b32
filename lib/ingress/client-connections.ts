import type { Server } from 'node:http';
import type { Socket } from 'node:net';
import { clientNetwork } from '../core/address-key.ts';
import { foldAddress } from '../core/connection.ts';
import { notPromise } from '../core/http.ts';
import { warnOfThrow } from '../core/warnings.ts';
import type { ConnectionResponses } from './connection-responses.ts';
import type { HardenServerSettings } from './harden-server-options.ts';

/** Gets each connection, when it opens and when it closes. */
export interface ConnectionWatcher {
  opened(socket: Socket): void;
  closed(socket: Socket): void;
}

/**
 * Notifies watchers of a server's connections, with one listener on each connection. An idle connection must cost little memory, and with the
 * third listener for an event, V8 reserves space for 16 more.
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

/** The connections of one client. */
interface Peer {
  readonly client: string;
  open: number;
}

/** A connection with the count of its peer. Node no longer knows the address once a connection is closed. */
type Counted = Socket & Record<symbol, Peer | undefined>;

/** Counts connections by the address of the peer, or by its IPv6 network, and closes new ones above the cap. */
export class ConnectionCap implements ConnectionWatcher {
  readonly #key = Symbol('expressway.peer');
  readonly #max: number;
  readonly #isUncapped: ((address: string) => boolean) | undefined;
  readonly #responses: ConnectionResponses;
  /** Only clients with open connections have an entry. */
  readonly #byClient = new Map<string, Peer>();

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
    // The peer has left already.
    if (address === undefined || this.#exempts(address)) return;
    const client = clientNetwork(address) ?? address;
    const peer = this.#byClient.get(client) ?? { client, open: 0 };
    if (peer.open >= this.#max) {
      // Without a response, because that would cost too much.
      this.#responses.cut(
        socket,
        'client_connection_limit',
        `Connections allowed of one address: ${this.#max} (maxConnectionsPerAddress, MAX_CONNECTIONS_PER_ADDRESS).`,
      );
      return;
    }
    peer.open += 1;
    this.#byClient.set(client, peer);
    (socket as Counted)[this.#key] = peer;
  }

  #exempts(address: string): boolean {
    const isUncapped = this.#isUncapped;
    if (isUncapped === undefined) return false;
    try {
      return notPromise(isUncapped(address), 'isUncapped') === true;
    } catch (error) {
      warnOfThrow(isUncapped, 'WARN_EXPRESSWAY_LISTENER', 'isUncapped of hardenServer() threw, the cap applies', error);
      return false;
    }
  }

  closed(socket: Socket): void {
    const peer = (socket as Counted)[this.#key];
    if (peer === undefined) return;
    peer.open -= 1;
    if (peer.open === 0) this.#byClient.delete(peer.client);
  }
}
