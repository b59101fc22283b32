import type { Socket } from 'node:net';
import { TCHAR } from '../../core/http.ts';

/** The parts of a connection to a backend that are used here. */
interface Bindable {
  readonly isDropped: boolean;
  retire(): void;
}

/** NTLM and Negotiate authenticate the connection, not the request (RFC 4559 §6): it must not carry another client's. */
const SCHEME = new RegExp(`(?:^|,)[\\t ]*(?:NTLM|Negotiate)(?!${TCHAR})`, 'i');

/** Whether a backend asks for credentials, or confirms credentials, that are valid for the connection. */
export function asksForConnection(challenge: string | readonly string[]): boolean {
  return typeof challenge === 'string' ? SCHEME.test(challenge) : challenge.some((line) => SCHEME.test(line));
}

/** @param fields Names and values of a request's headers in turn. */
export function authenticatesConnection(fields: readonly string[]): boolean {
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    if (name.length === 13 && name.toLowerCase() === 'authorization' && SCHEME.test(fields[i + 1] as string))
      return true;
  }
  return false;
}

/**
 * Connections to backends that belong to one client connection each, because the client authenticated on them. They end
 * together with the client's connection, and no other client gets one.
 */
export class BoundConnections<C extends Bindable> {
  /** The connection to each backend, by identity; the one that was bound last comes last. */
  readonly #clients = new Map<Socket, Map<string, C>>();

  bind(client: Socket, backend: string, connection: C): void {
    if (client.destroyed) {
      connection.retire();
      return;
    }
    let bound = this.#clients.get(client);
    if (bound === undefined) {
      bound = new Map();
      this.#clients.set(client, bound);
      client.once('close', () => this.#ended(client));
    }
    const before = bound.get(backend);
    // A client has one connection here. Those of its other pipelined requests carry no further request.
    if (before !== undefined && before !== connection && !before.isDropped) {
      connection.retire();
      return;
    }
    bound.delete(backend);
    bound.set(backend, connection);
  }

  /** The connection of a client to a backend. */
  find(client: Socket, backend: string): C | undefined {
    if (this.#clients.size === 0) return undefined;
    const connection = this.#clients.get(client)?.get(backend);
    return connection?.isDropped === true ? undefined : connection;
  }

  /** The backend at which the client authenticated last. */
  backendOf(client: Socket): string | undefined {
    if (this.#clients.size === 0) return undefined;
    return [...(this.#clients.get(client)?.keys() ?? [])].at(-1);
  }

  #ended(client: Socket): void {
    for (const connection of this.#clients.get(client)?.values() ?? []) connection.retire();
    this.#clients.delete(client);
  }
}
