import type { GatewayEvents } from '../core/events.ts';
import type { Exchange } from '../core/exchange.ts';
import { reject } from '../core/reject.ts';
import { AddressList } from './address-list.ts';

/** The addresses that are never limited, and those that are refused. */
export class AddressGate {
  readonly #allow: AddressList | undefined;
  readonly #deny: AddressList | undefined;

  constructor(allow: readonly string[], deny: readonly string[]) {
    this.#allow = allow.length > 0 ? new AddressList(allow) : undefined;
    this.#deny = deny.length > 0 ? new AddressList(deny) : undefined;
  }

  /** Deny wins: to be in the other list means only not to be counted. */
  judge({ clientAddress }: Exchange): 'allowed' | 'denied' | 'limited' {
    if (clientAddress === undefined) return 'limited';
    if (this.#deny?.has(clientAddress)) return 'denied';
    return this.#allow?.has(clientAddress) ? 'allowed' : 'limited';
  }
}

/** Answers a client of the deny list. */
export function deny(exchange: Exchange, events: GatewayEvents): void {
  reject(exchange, { kind: 'rejected', cause: 'client_denied' }, events);
}
