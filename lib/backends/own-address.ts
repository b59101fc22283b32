import { networkInterfaces } from 'node:os';
import { foldAddress } from '../core/connection.ts';

/** The address of a server. */
export interface ListeningAddress {
  /** Address on which it listens, or to which a client connected; `0.0.0.0` and `::` stand for all addresses of the machine. */
  readonly address: string;
  readonly port: number;
}

/**
 * Whether a backend's URL is an address at which this server itself listens. Names other than `localhost` are not looked up; the
 * header `Via` finds such a loop when it happens.
 */
export function isOwnAddress(backend: string, { address, port }: ListeningAddress): boolean {
  const url = URL.parse(backend);
  if (url === null || Number(url.port || (url.protocol === 'https:' ? 443 : 80)) !== port) return false;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const isLocal = host === 'localhost' || host === '0.0.0.0' || host === '::' || isOfThisMachine(host);
  const own = foldAddress(address) ?? '';
  if (own === '0.0.0.0' || own === '::') return isLocal;
  return (
    host === own ||
    (host === 'localhost' && isLoopback(own)) ||
    ((host === '0.0.0.0' || host === '::') && isLoopback(own))
  );
}

const isLoopback = (address: string): boolean => address === '::1' || address.startsWith('127.');

function isOfThisMachine(host: string): boolean {
  if (isLoopback(host)) return true;
  return Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === host));
}
