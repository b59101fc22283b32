import { isIP } from 'node:net';
import { domainToASCII } from 'node:url';
import { shownText } from '../../core/shown-value.ts';

/** A DNS name whose addresses are backends. */
export interface DiscoveryName {
  /** The text of the user, which events show. It also identifies the name in the next list. */
  readonly url: string;
  /** `dns`: every A and AAAA address, all on one port. `srv`: every address of every server that the SRV records name. */
  readonly kind: 'dns' | 'srv';
  readonly name: string;
  /** `undefined` for `srv`: the records have the port. */
  readonly port: number | undefined;
  readonly protocol: 'http:' | 'https:';
  /** Multiplies the weight of each backend; for `srv`, whose records have weights, 0 or 1. */
  readonly weight: number;
  /** `false` if each request has its own connection. */
  readonly keepAlive?: boolean;
}

const SHAPE = /^(dns|dns\+https|srv|srv\+https):\/\/([^/?#@:[\]]+)(?::(\d*))?\/?$/i;

/** Whether the text names something to look up, valid or not. */
export function looksDiscovered(text: string): boolean {
  return /^(?:dns|srv)(?:\+\w*)?:/i.test(text);
}

/** Reads `dns://name:port`, `dns+https://name:port` or `srv://name`; returns the problem as text when it is invalid. */
export function readDiscoveryName(text: string, weight: number, keepAlive = true): DiscoveryName | string {
  const name = readName(text, weight);
  return keepAlive || typeof name === 'string' ? name : { ...name, keepAlive };
}

function readName(text: string, weight: number): DiscoveryName | string {
  // Not echoed: the error must not show the password.
  if (text.includes('@')) return 'a backend URL must not carry credentials';
  const shown = shownText(text);
  const [, scheme = '', host = '', port] = SHAPE.exec(text) ?? [];
  const name = domainToASCII(host).replace(/\.$/, '');
  if (name === '') return `${shown} must be like dns://name:port, dns+https://name:port or srv://name, without path`;
  if (isIP(name)) return `${shown} names an address: write it as http://${name}:${port ?? 80}`;
  const [kind = '', tls] = scheme.toLowerCase().split('+');
  if (kind === 'dns') {
    const number = Number(port);
    if (!(number >= 1 && number <= 65_535)) return `${shown} must have a port from 1 to 65535, like dns://${name}:8080`;
    const protocol = tls === undefined ? 'http:' : 'https:';
    return { url: `${scheme.toLowerCase()}://${name}:${number}`, kind, name, port: number, protocol, weight };
  }
  // The certificate would be checked for a name from DNS. An attacker who forges the record may have a certificate for that name
  // (RFC 9525 §6.1).
  if (tls !== undefined) return `${shown}: TLS is not offered for srv://, only for dns+https://name:port`;
  if (port !== undefined) return `${shown} must not have a port: the SRV records say it`;
  if (weight > 1) return `${shown} must not have a weight of ${weight}: the SRV records say it (0 takes them all out)`;
  return { url: `srv://${name}`, kind: 'srv', name, port: undefined, protocol: 'http:', weight };
}
