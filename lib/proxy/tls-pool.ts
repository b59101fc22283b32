import { isIP } from 'node:net';
import { type buildConnector, type Dispatcher, Pool } from 'undici';

/**
 * Connections under TLS to a backend that must prove one name. undici would take the name from the `Host` field of each
 * request: the client would choose what the certificate is checked for, and a request for another host would find
 * every connection closed.
 */
export class TlsPool extends Pool {
  readonly #serverName: string;

  /** @param serverName The name, or the address, that the certificate must be for. */
  constructor(origin: string, serverName: string, options: Pool.Options & { connect: buildConnector.connector }) {
    const bare = serverName.replace(/^\[(.*)\]$/, '$1');
    const { connect } = options;
    // An address is proved as such, and never sent as the name asked for (RFC 6066 §3).
    const servername = isIP(bare) ? '' : bare;
    super(origin, { ...options, connect: (target, callback) => connect({ ...target, servername }, callback) });
    this.#serverName = bare;
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    // The same for all, whatever it is: a change of it costs the connection.
    return super.dispatch(Object.assign(options, { servername: this.#serverName }), handler);
  }
}
