import { isIPv4, isIPv6, SocketAddress } from 'node:net';

/** The origin of a connection, according to a load balancer. */
export interface ProxySource {
  readonly address: string;
  readonly port: number;
  readonly family: 'IPv4' | 'IPv6';
}

/** A complete header. */
export interface ProxyHeader {
  /** Length in bytes. The bytes after it come from the client. */
  readonly length: number;
  /** `undefined` for a connection of the load balancer itself (LOCAL), and if it does not know the client (UNKNOWN, UNSPEC, Unix sockets). */
  readonly source: ProxySource | undefined;
}

/** Longest header in bytes. Receivers of version 2 need not accept longer ones. */
export const MOST_HEADER_BYTES = 536;

/** §2.1; includes the line end. */
const MOST_V1_BYTES = 107;
const V1_START = Buffer.from('PROXY ');
/** §2.2. */
const V2_START = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const V2_HEAD_BYTES = 16;
const V1_LINE =
  /^PROXY (TCP4|TCP6) ([\d.]{7,15}|[\da-fA-F:.]{2,45}) ([\d.]{7,15}|[\da-fA-F:.]{2,45}) (\d{1,5}) (\d{1,5})$/;

/** Families of version 2 over a stream, with the length of their addresses: two addresses, and two ports if there are any. */
const V2_FAMILIES: Readonly<Record<number, { readonly family?: 'IPv4' | 'IPv6'; readonly bytes: number }>> = {
  0: { bytes: 0 },
  17: { family: 'IPv4', bytes: 12 },
  33: { family: 'IPv6', bytes: 36 },
  49: { bytes: 216 },
};

/**
 * Reads the header that a connection begins with, in version 1 or 2 of the PROXY protocol
 * (https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt).
 *
 * @returns `more` while the header is incomplete, `invalid` for bytes that are no header.
 */
export function readProxyHeader(bytes: Buffer): ProxyHeader | 'more' | 'invalid' {
  if (beginsLike(bytes, V2_START)) return bytes.length < V2_HEAD_BYTES ? 'more' : readV2(bytes);
  return beginsLike(bytes, V1_START) ? readV1(bytes) : 'invalid';
}

function beginsLike(bytes: Buffer, start: Buffer): boolean {
  const length = Math.min(bytes.length, start.length);
  return bytes.subarray(0, length).equals(start.subarray(0, length));
}

function readV1(bytes: Buffer): ProxyHeader | 'more' | 'invalid' {
  const text = bytes.toString('latin1', 0, MOST_V1_BYTES);
  const end = text.indexOf('\n');
  if (end === -1) return text.length < MOST_V1_BYTES ? 'more' : 'invalid';
  if (text[end - 1] !== '\r') return 'invalid';
  const line = text.slice(0, end - 1);
  const length = end + 1;
  // §2.1: receivers ignore the rest of the line.
  if (/^PROXY UNKNOWN(?: |$)/.test(line)) return { length, source: undefined };
  const [, protocol, from = '', to = '', port, toPort] = V1_LINE.exec(line) ?? [];
  if (protocol === undefined) return 'invalid';
  const isAddress = protocol === 'TCP4' ? isIPv4 : isIPv6;
  if (!isAddress(from) || !isAddress(to) || !isPort(port) || !isPort(toPort)) return 'invalid';
  return { length, source: sourceOf(from, Number(port), protocol === 'TCP4' ? 'IPv4' : 'IPv6') };
}

const isPort = (digits = ''): boolean => /^(?:0|[1-9]\d*)$/.test(digits) && Number(digits) <= 65_535;

function readV2(bytes: Buffer): ProxyHeader | 'more' | 'invalid' {
  const [command, kind] = [bytes[12], bytes[13] as number];
  const length = V2_HEAD_BYTES + bytes.readUInt16BE(14);
  if ((command !== 0x20 && command !== 0x21) || length > MOST_HEADER_BYTES) return 'invalid';
  const isLocal = command === 0x20;
  const known = V2_FAMILIES[kind];
  // §2.2: receivers ignore the family of a LOCAL connection.
  if (!isLocal && (known === undefined || length < V2_HEAD_BYTES + known.bytes)) return 'invalid';
  if (bytes.length < length) return 'more';
  const { family } = known ?? {};
  if (isLocal || family === undefined) return { length, source: undefined };
  const size = family === 'IPv4' ? 4 : 16;
  const address = textOf(bytes.subarray(V2_HEAD_BYTES, V2_HEAD_BYTES + size));
  return { length, source: sourceOf(address, bytes.readUInt16BE(V2_HEAD_BYTES + 2 * size), family) };
}

const textOf = (bytes: Buffer): string =>
  bytes.length === 4 ? bytes.join('.') : (bytes.toString('hex').match(/.{4}/g) as string[]).join(':');

/** The address in Node's spelling, which limits and logs use. */
function sourceOf(given: string, port: number, family: 'IPv4' | 'IPv6'): ProxySource {
  const { address } = new SocketAddress({ address: given, family: family === 'IPv4' ? 'ipv4' : 'ipv6' });
  return { address, port, family };
}
